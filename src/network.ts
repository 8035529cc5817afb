/**
 * Owns what is believed of one remote's reachability and how evidence changes that belief: hysteresis, probe back-off,
 * circuit breaker, jittered reconnect. Who keeps it is `engine/network.ts`; who gathers evidence are real attempts and probes.
 */
import type { Answer } from "./operation.ts";
import { retryDelayMs } from "./retry.ts";
import type { networkStatuses } from "./shapes.ts";

export type NetworkStatus = (typeof networkStatuses)[number];

/** Why nothing is sent before `opensAt`. */
export type Closing = "paced" | "breaker" | "reconnect";

/** What is believed of one remote. All instants are wall-clock milliseconds; `null` means never or not planned. */
export type Reachability = {
  readonly status: NetworkStatus;
  /** The status in words, e.g. "no answer: ECONNREFUSED". */
  readonly reason: string;
  readonly since: number;
  readonly lastSuccessAt: number | null;
  readonly lastFailureAt: number | null;
  /** Attempts and probes in a row without any answer. */
  readonly silences: number;
  /** Answers in a row that were the remote's own failures (5xx); the circuit breaker counts them. */
  readonly serverErrors: number;
  /** Probes in a row that found nothing; the back-off counts them. */
  readonly probes: number;
  /** Times in a row that the circuit breaker opened without a good answer between. */
  readonly trips: number;
  /** False after a breaker or a reconnect until one operation was answered: so long, one is in flight at a time. */
  readonly isProven: boolean;
  readonly lastProbeAt: number | null;
  readonly nextProbeAt: number | null;
  /** Nothing is sent before this instant: Retry-After, an open circuit breaker, or the jittered first reconnect. */
  readonly opensAt: number | null;
  /** When and why `opensAt` was set; what began before `closedAt` is older news and does not undo it. */
  readonly closedAt: number | null;
  readonly closedBy: Closing | null;
};

/** One observation. `at` is when the attempt or probe began, so that old news cannot undo newer news. */
export type Evidence =
  | { readonly kind: "answered"; readonly at: number }
  | { readonly kind: "silent"; readonly at: number; readonly reason: string }
  | { readonly kind: "server_error"; readonly at: number; readonly reason: string }
  | { readonly kind: "paced"; readonly at: number; readonly afterMs: number; readonly reason: string }
  | { readonly kind: "probe_started"; readonly at: number }
  | { readonly kind: "probed"; readonly at: number; readonly isReachable: boolean; readonly reason: string }
  /** The operating system or a person says so: a hint, it only makes the next probe come sooner. */
  | { readonly kind: "hint"; readonly at: number };

/** The limits of every wait in this file, in milliseconds or counts. */
export type NetworkPolicy = {
  /** Silences in a row that turn a remote offline. One answer turns it online again. */
  readonly silencesToOffline: number;
  /** When a first silence is checked by a probe. */
  readonly confirmMs: number;
  readonly probeInitialMs: number;
  readonly probeMaxMs: number;
  /** Share of a probe's or breaker's delay that is random, 0 to 1. */
  readonly jitter: number;
  /** Probes in a row at the pace above; after them one every `probeIdleMs`, which saves battery and data (pain 19). */
  readonly probeBudget: number;
  readonly probeIdleMs: number;
  /** How long one probe may take; the next is planned after it even if the prober dies. */
  readonly probeTimeoutMs: number;
  /** A hint brings no probe closer than this to the last one. */
  readonly hintSpacingMs: number;
  /** After so many vain probes one operation is let through: a broken probe endpoint must not hold a queue for ever. */
  readonly trialEvery: number;
  readonly reconnectJitterMs: number;
  readonly serverErrorsToTrip: number;
  readonly breakerInitialMs: number;
  readonly breakerMaxMs: number;
  readonly pacedMaxMs: number;
};

export const networkPolicy: NetworkPolicy = {
  silencesToOffline: 2,
  confirmMs: 1_000,
  probeInitialMs: 5_000,
  probeMaxMs: 60_000,
  jitter: 0.5,
  probeBudget: 60,
  probeIdleMs: 300_000,
  probeTimeoutMs: 5_000,
  hintSpacingMs: 1_000,
  trialEvery: 8,
  reconnectJitterMs: 2_000,
  serverErrorsToTrip: 5,
  breakerInitialMs: 5_000,
  breakerMaxMs: 60_000,
  pacedMaxMs: 86_400_000,
};

/** What `observe` needs besides the state and the evidence; `random` is in [0, 1). */
export type ObserveContext = { readonly now: number; readonly random: number; readonly policy: NetworkPolicy };

/** What may be sent to a remote now. `maxInFlight` is `null` where there is no limit of ours. */
export type Gate = {
  readonly isOpen: boolean;
  readonly maxInFlight: number | null;
  /** When it opens, or when the next probe may open it; `null` when it is open. */
  readonly opensAt: number | null;
  readonly kind: "offline" | "paced" | null;
  readonly reason: string;
};

/** How far a wall clock may step back before a planned instant is no longer believed. */
const clockSlackMs = 1_000;

/** A remote of which nothing is known yet: it is simply tried. */
export function initialReachability(now: number): Reachability {
  return {
    status: "unknown",
    reason: "not tried yet",
    since: now,
    lastSuccessAt: null,
    lastFailureAt: null,
    silences: 0,
    serverErrors: 0,
    probes: 0,
    trips: 0,
    isProven: true,
    lastProbeAt: null,
    nextProbeAt: null,
    opensAt: null,
    closedAt: null,
    closedBy: null,
  };
}

/**
 * Changes the belief by one observation. Never throws, and every state that it returns moves again by itself: offline
 * always has a next probe, a closed gate always an instant at which it opens (pain 17).
 * @example
 * observe(initialReachability(0), { kind: "answered", at: 0 }, { now: 20, random: 0.5, policy: networkPolicy }).status // "online"
 */
export function observe(state: Reachability, evidence: Evidence, context: ObserveContext): Reachability {
  const known = withoutFuture(state, context);
  // An attempt cannot begin after its end; when it seems so, the clock was set back meanwhile.
  const at = Math.min(evidence.at, context.now);
  switch (evidence.kind) {
    case "answered":
      return contacted(known, at, context);
    case "server_error":
      return failedThere(known, { at, reason: evidence.reason }, context);
    case "paced":
      return paced(known, { afterMs: evidence.afterMs, reason: evidence.reason }, context);
    case "silent":
      return silent(known, { at, reason: evidence.reason }, context);
    case "probe_started":
      return probing(known, context);
    case "probed":
      return evidence.isReachable
        ? reachable(known, evidence.reason, context)
        : silent(known, { at, reason: evidence.reason }, context);
    case "hint": {
      const earliest = Math.max(
        context.now,
        (known.lastProbeAt ?? Number.NEGATIVE_INFINITY) + context.policy.hintSpacingMs,
      );
      return { ...known, nextProbeAt: Math.min(known.nextProbeAt ?? earliest, earliest) };
    }
  }
}

/** Tells what may be sent now. Reads only: safe to ask as often as one likes, under any clock. */
export function gateOf(state: Reachability, now: number, policy: NetworkPolicy = networkPolicy): Gate {
  if (isCutOff(state, policy)) {
    const isTrial = state.status === "offline" && state.probes > 0 && state.probes % policy.trialEvery === 0;
    if (isTrial) return open(1, `offline (${state.reason}); one operation is let through as a test`);
    return {
      isOpen: false,
      maxInFlight: 0,
      opensAt: nextProbeOf(state, now, policy),
      kind: "offline",
      reason: state.reason,
    };
  }
  if (isClosedBy(state, now))
    return { isOpen: false, maxInFlight: 0, opensAt: state.opensAt, kind: "paced", reason: state.reason };
  if (!state.isProven) return open(1, "one operation at a time until one is answered");
  if (state.silences > 0) return open(1, `one operation at a time: ${state.reason}`);
  return open(null, state.reason);
}

/**
 * When the next probe is due: `null` when none is planned, `now` when one is overdue, and `now` as well when the planned
 * instant is further away than any plan of ours, because then the wall clock was set back.
 */
export function nextProbeOf(state: Reachability, now: number, policy: NetworkPolicy = networkPolicy): number | null {
  if (state.nextProbeAt === null) return isCutOff(state, policy) ? now : null;
  return state.nextProbeAt - now > longestProbeMs(policy) + clockSlackMs ? now : Math.max(now, state.nextProbeAt);
}

/** The longest time from any moment to the next probe of an offline remote. */
export function longestProbeMs(policy: NetworkPolicy): number {
  return (
    Math.max(policy.confirmMs, policy.probeMaxMs, policy.probeIdleMs, policy.probeInitialMs) + policy.probeTimeoutMs
  );
}

/** The longest time that a gate stays closed for this reason. */
export function longestClosedMs(closing: Closing, policy: NetworkPolicy): number {
  if (closing === "paced") return policy.pacedMaxMs;
  return closing === "breaker" ? Math.max(policy.breakerInitialMs, policy.breakerMaxMs) : policy.reconnectJitterMs;
}

/** Problems that say nothing of the remote: they arose on this machine. */
export const localCodes: ReadonlySet<string> = new Set([
  "stopped",
  "credential_missing",
  "credential_refused",
  "token_failed",
  "file_missing",
  "file_changed",
  "request_unusable",
  "blocked_port",
  "out_of_sockets",
]);

/** What an attempt's answer tells of its remote; `null` when it tells nothing because it never left this machine. */
export function evidenceOf(answer: Answer, at: number): Evidence | null {
  if (answer.kind === "applied" || answer.kind === "duplicate") return { kind: "answered", at };
  const { code, message, status } = answer.problem;
  if (localCodes.has(code)) return null;
  if (answer.kind === "unknown") return { kind: "silent", at, reason: message };
  if (answer.kind !== "retry") return { kind: "answered", at };
  if (answer.scope === "remote" && answer.afterMs !== undefined)
    return { kind: "paced", at, afterMs: answer.afterMs, reason: message };
  if (status !== undefined && status >= 500) return { kind: "server_error", at, reason: message };
  return { kind: "answered", at };
}

function open(maxInFlight: number | null, reason: string): Gate {
  return { isOpen: true, maxInFlight, opensAt: null, kind: null, reason };
}

/** True while the remote counts as offline, a probe under way included. */
function isCutOff(state: Reachability, policy: NetworkPolicy): boolean {
  return state.status === "offline" || (state.status === "checking" && state.silences >= policy.silencesToOffline);
}

/** True before `opensAt`, unless the clock stands before the closing itself: then the wait cannot be measured and is over. */
function isClosedBy(state: Reachability, now: number): boolean {
  return state.opensAt !== null && now < state.opensAt && now >= (state.closedAt ?? now) - clockSlackMs;
}

/** Pulls instants back that the wall clock has not reached yet, and plans that are too far away to be ours. */
function withoutFuture(state: Reachability, { now, policy }: ObserveContext): Reachability {
  const past = (instant: number | null) => (instant === null ? null : Math.min(instant, now));
  const longest = state.closedBy === null ? 0 : longestClosedMs(state.closedBy, policy);
  // What counts is how long the gate was to stay closed; a clock set back must not stretch that.
  const closedMs = Math.min(longest, Math.max(0, (state.opensAt ?? now) - (state.closedAt ?? now)));
  return {
    ...state,
    since: Math.min(state.since, now),
    lastSuccessAt: past(state.lastSuccessAt),
    lastFailureAt: past(state.lastFailureAt),
    lastProbeAt: past(state.lastProbeAt),
    closedAt: past(state.closedAt),
    nextProbeAt: state.nextProbeAt === null ? null : Math.min(state.nextProbeAt, now + longestProbeMs(policy)),
    opensAt: state.opensAt === null ? null : Math.min(state.opensAt, now + closedMs),
  };
}

/** An operation was answered. The answer proves the moment at which it came, so it always ends online. */
function contacted(state: Reachability, at: number, context: ObserveContext): Reachability {
  const next = reachable(state, "answered", context);
  const isOlder = next.closedAt !== null && at < next.closedAt;
  // A concurrent attempt that began before Retry-After or the breaker does not undo them.
  if (isOlder) return { ...next, isProven: next.closedBy === "breaker" ? next.isProven : true };
  return { ...next, isProven: true, serverErrors: 0, trips: 0, opensAt: null, closedAt: null, closedBy: null };
}

/** The network reaches the remote; after an outage the first operation waits a random while and goes alone (pain 18). */
function reachable(state: Reachability, reason: string, { now, random, policy }: ObserveContext): Reachability {
  const wasCutOff = isCutOff(state, policy);
  const online: Reachability = {
    ...state,
    status: "online",
    reason: state.opensAt !== null && state.opensAt > now ? state.reason : reason,
    since: state.status === "online" ? state.since : now,
    lastSuccessAt: now,
    silences: 0,
    probes: 0,
    nextProbeAt: null,
  };
  if (!wasCutOff) return online;
  const opensAt = now + Math.round(policy.reconnectJitterMs * random);
  if (state.opensAt !== null && state.opensAt >= opensAt) return { ...online, isProven: false };
  return { ...online, isProven: false, reason: "reachable again", opensAt, closedAt: now, closedBy: "reconnect" };
}

/** The remote answered that it failed itself: reachable, but one failure too many opens the circuit breaker. */
function failedThere(
  state: Reachability,
  news: { readonly at: number; readonly reason: string },
  context: ObserveContext,
): Reachability {
  const { now, random, policy } = context;
  const next: Reachability = { ...reachable(state, news.reason, context), lastFailureAt: now };
  // A whole burst fails together; only what began after the breaker opened is news to it.
  if (next.closedBy === "breaker" && next.closedAt !== null && news.at < next.closedAt) return next;
  const serverErrors = next.serverErrors + 1;
  const isHalfOpen = next.trips > 0 && !next.isProven;
  if (serverErrors < policy.serverErrorsToTrip && !isHalfOpen) return { ...next, serverErrors };
  const trips = next.trips + 1;
  const coolOff = {
    maxAttempts: 1,
    initialMs: policy.breakerInitialMs,
    maxMs: policy.breakerMaxMs,
    jitter: policy.jitter,
  };
  const opensAt = now + retryDelayMs(coolOff, trips, random);
  const reason = `${serverErrors} failures of the remote in a row, the last: ${news.reason}`;
  const counted: Reachability = { ...next, serverErrors, trips, isProven: false, reason };
  if (next.opensAt !== null && next.opensAt > opensAt) return counted;
  return { ...counted, opensAt, closedAt: now, closedBy: "breaker" };
}

/** The remote names a time. It counts from the arrival of its answer; the longer of two waits holds. */
function paced(
  state: Reachability,
  news: { readonly afterMs: number; readonly reason: string },
  context: ObserveContext,
): Reachability {
  const { now, policy } = context;
  const next = reachable(state, news.reason, context);
  const afterMs = Number.isFinite(news.afterMs)
    ? Math.min(Math.max(0, news.afterMs), policy.pacedMaxMs)
    : policy.pacedMaxMs;
  const opensAt = Math.ceil(now + afterMs);
  if (next.opensAt !== null && next.opensAt > opensAt) return next;
  return { ...next, reason: news.reason, opensAt, closedAt: now, closedBy: "paced" };
}

/** Nothing came back. What began before the last proof of contact is old news. */
function silent(
  state: Reachability,
  news: { readonly at: number; readonly reason: string },
  context: ObserveContext,
): Reachability {
  const { now, policy } = context;
  if (state.lastSuccessAt !== null && news.at < state.lastSuccessAt && state.status === "online") return state;
  const wasCutOff = isCutOff(state, policy);
  // A burst fails together: what began before the outage was noticed must not stretch the probes' back-off.
  if (wasCutOff && news.at < state.since) return { ...state, status: "offline" };
  const silences = state.silences + 1;
  const isOffline = silences >= policy.silencesToOffline;
  const status: NetworkStatus = isOffline ? "offline" : state.status === "online" ? "online" : "unknown";
  // A vain attempt of an offline remote counts as a probe, so a test operation is followed by probes again.
  const probes = isOffline ? state.probes + 1 : state.probes;
  const delay = isOffline ? probeDelayMs(probes, context) : policy.confirmMs;
  return {
    ...state,
    status,
    reason: news.reason,
    since: isOffline === wasCutOff ? state.since : now,
    lastFailureAt: now,
    silences,
    probes,
    nextProbeAt: now + delay,
  };
}

function probing(state: Reachability, context: ObserveContext): Reachability {
  const { now, policy } = context;
  return {
    ...state,
    status: state.status === "online" ? "online" : "checking",
    lastProbeAt: now,
    // Planned at once: should the prober die now, the next probe comes all the same.
    nextProbeAt: now + policy.probeTimeoutMs + probeDelayMs(state.probes + 1, context),
  };
}

function probeDelayMs(probes: number, { random, policy }: ObserveContext): number {
  const maxMs = probes > policy.probeBudget ? policy.probeIdleMs : policy.probeMaxMs;
  const initialMs = probes > policy.probeBudget ? policy.probeIdleMs : policy.probeInitialMs;
  return retryDelayMs({ maxAttempts: 1, initialMs, maxMs, jitter: policy.jitter }, probes, random);
}
