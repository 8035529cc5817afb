/**
 * Owns the report on the whole queue. It is made of facts only: counters, gates, reachability, the oldest unsent operation;
 * green is shown only when nothing is unsent and nothing failed.
 */
import type { Json } from "../operation.ts";
import { State } from "../operation.ts";
import type { Output, QueueStatus, RemoteView } from "../verbs.ts";
import { canRun, closedBy, readyChannels } from "./claim.ts";
import type { Gates } from "./gates.ts";
import { readGates } from "./gates.ts";
import { getMeta, getSettings, listChannels } from "./meta.ts";
import { askForProbe, getReachability, nextProbeAt, remoteGate, viewRemotes } from "./network.ts";
import { viewPokes } from "./pokes.ts";
import { countUnsent, warnShare } from "./retention.ts";
import { Counter, channelCounter } from "./schema.ts";
import type { Channel, Store } from "./store.ts";
import { integer, integerOrNull, readCount } from "./store.ts";
import { nextRunAt } from "./sync.ts";

const oldestUnsent = "SELECT seq, created FROM op WHERE state < 8 AND seq >= ? ORDER BY seq LIMIT 1";
const lastLanded =
  "SELECT settled FROM op WHERE state = 8 AND outcome IN ('applied', 'duplicate') ORDER BY settled DESC LIMIT 1";
const soonestDue = "SELECT min(due) AS due FROM op WHERE state = 2";
const isLaneOpen = "lane NOT IN (SELECT name FROM gate WHERE kind = 'lane')";
const soonestFree = `SELECT due FROM op WHERE state = 2 AND ${isLaneOpen} ORDER BY due LIMIT 1`;
const soonestFreeOf = `SELECT due FROM op WHERE state = 2 AND channel = ? AND ${isLaneOpen} ORDER BY due LIMIT 1`;
/** What waits for credentials is tried by itself now and then, which is no movement. */
const soonestOpenDue = "SELECT due FROM op WHERE state = 2 AND (reason IS NOT 'auth' OR due <= ?) ORDER BY due LIMIT 1";
const soonestExpiry =
  "SELECT min(expires) AS expires FROM op WHERE expires IS NOT NULL AND state < 8 AND state <> 3 AND reason IS NOT 'corrupt'";
const conflictCount = "SELECT count(*) AS n FROM op WHERE state IN (5, 6) AND reason = 'conflict'";

/** Whether some process holds the drainer's lock, as far as this one can tell. */
export function isDrained(store: Store): boolean {
  return store.memory.epoch !== 0 || (getMeta(store, "drainer") ?? "") !== "";
}

/** When anything moves next by itself: `null` when everything waits for somebody. */
export function nextMoveAt(store: Store): number | null {
  const now = store.world.now();
  const gates = readGates(store);
  if (gates.isWorkingOffline || gates.isAllPaused) return null;
  const times: (number | null)[] = [soonestMove(store, gates), nextRunAt(store)];
  for (const channel of readyChannels(store)) times.push(channelOpensAt(store, channel, gates));
  const known = times.filter((time) => time !== null);
  return known.length === 0 ? null : Math.max(now, Math.min(...known));
}

/** When the first operation goes that waits for its time: one whose lane or channel is closed does not go then. */
function soonestMove(store: Store, gates: Gates): number | null {
  const now = store.world.now();
  const used = listChannels(store).filter(({ id }) => readCount(store, channelCounter(id)) > 0);
  // Another process sends, and which types it knows is not known here.
  const isStrange = (type: string): boolean =>
    store.memory.epoch === 0 && isDrained(store) && !canRun(store.types.get(type));
  const openings = used.map((channel) => ({
    id: channel.id,
    opensAt: isStrange(channel.type) ? now : channelOpensAt(store, channel, gates),
  }));
  if (openings.every(({ opensAt }) => opensAt !== null && opensAt <= now))
    return integerOrNull(store.db.prepare(soonestFree).get()?.due);
  const times = openings.flatMap(({ id, opensAt }) => {
    const due = opensAt === null ? null : integerOrNull(store.db.prepare(soonestFreeOf).get(id)?.due);
    return opensAt === null || due === null ? [] : [Math.max(opensAt, due)];
  });
  return times.length === 0 ? null : Math.min(...times);
}

/** When a channel lets something through: now, at a known time, or `null` when somebody has to act. */
export function channelOpensAt(store: Store, channel: Channel, gates: Gates): number | null {
  const closed = closedBy(store, channel, gates, getSettings(store));
  if (closed === null) return store.world.now();
  if (closed === "auth")
    return gates.auth.find((gate) => gate.subject === channel.subject && gate.remote === channel.remote)?.until ?? null;
  if (closed === "network") return remoteGate(store, channel.remote).opensAt;
  return closed === "sync_mode" ? nextRunAt(store) : null;
}

export function queueStatus(store: Store): QueueStatus {
  const counts = countByStatus(store);
  const unsent = countUnsent(store);
  const settings = getSettings(store);
  const gates = readGates(store);
  const pending = new Map<number, number>(
    listChannels(store).map((channel) => [channel.id, readCount(store, channelCounter(channel.id))]),
  );
  const pendingWhere = (fits: (channel: Channel) => boolean): number =>
    listChannels(store).reduce((sum, channel) => (fits(channel) ? sum + (pending.get(channel.id) ?? 0) : sum), 0);
  const remotes = viewRemotes(store, (remote) => pendingWhere((channel) => channel.remote === remote));
  const bytes = readCount(store, Counter.bytes);
  const used = Math.max(unsent / settings.maxOperations, bytes / settings.maxBytes);
  const isOffline = gates.isWorkingOffline || isCutOff(remotes);
  const hasLost = hasLostWork(store);
  const light = counts.failed > 0 || hasLost ? "warning" : isOffline ? "red" : unsent > 0 ? "yellow" : "green";
  return {
    light,
    sentence: sentenceOf({ light, counts, unsent, hasLost, isWorkingOffline: gates.isWorkingOffline }),
    counts,
    unsent,
    bytes,
    oldestUnsentAt: unsent === 0 ? null : oldestUnsentAt(store),
    nextAttemptAt: unsent === 0 ? null : nextMoveAt(store),
    lastLandedAt: integerOrNull(store.db.prepare(lastLanded).get()?.settled),
    conflicts: integer(store.db.prepare(conflictCount).get()?.n),
    isWorkingOffline: gates.isWorkingOffline,
    isDraining: store.memory.epoch !== 0,
    drainer: getMeta(store, "drainer") || null,
    isReadOnly: store.db.isReadOnly,
    isDiskFull: store.memory.isDiskFull || store.world.disk.freeBytes() < settings.minFreeBytes,
    paused: [...gates.pauses],
    unknownTypes: unknownTypes(store, pending),
    signedOut: signedOut(gates, pendingWhere),
    limits: {
      maxOperations: settings.maxOperations,
      maxBytes: settings.maxBytes,
      usedPercent: Math.round(used * 1000) / 10,
      isWarning: used >= warnShare,
    },
    remotes: [...remotes],
  };
}

/** What has ended stays ended, so the search begins where the last one found something: else it would pass by all that is kept. */
function oldestUnsentAt(store: Store): number | null {
  const row = store.db.prepare(oldestUnsent).get(store.memory.oldestUnsent);
  store.memory.oldestUnsent = integer(row?.seq);
  return integerOrNull(row?.created);
}

export function countByStatus(store: Store): QueueStatus["counts"] {
  const of = (...states: number[]): number => states.reduce((sum, state) => sum + readCount(store, state), 0);
  return {
    draft: of(State.draft),
    pending: of(State.ready, State.waiting, State.scheduled, State.held),
    in_progress: of(State.inFlight),
    completed: readCount(store, Counter.completed),
    failed: of(State.parked, State.aside),
    cancelled: readCount(store, Counter.cancelled),
    expired: readCount(store, Counter.expired),
  };
}

function unknownTypes(store: Store, pending: ReadonlyMap<number, number>): QueueStatus["unknownTypes"] {
  // Only the process that sends knows which types it can send.
  if (store.memory.epoch === 0) return [];
  const byType = new Map<string, number>();
  for (const channel of listChannels(store)) {
    const waiting = pending.get(channel.id) ?? 0;
    if (waiting > 0 && !canRun(store.types.get(channel.type)))
      byType.set(channel.type, (byType.get(channel.type) ?? 0) + waiting);
  }
  return [...byType].map(([type, count]) => ({ type, pending: count }));
}

function signedOut(
  gates: Gates,
  pendingWhere: (fits: (channel: Channel) => boolean) => number,
): QueueStatus["signedOut"] {
  const out = [...gates.signedOut].map(([subject, since]) => ({
    subject,
    remote: "",
    reason: "signed out",
    code: "signed_out",
    since,
    pending: pendingWhere((channel) => channel.subject === subject),
  }));
  const refused = gates.auth.map((gate) => ({
    subject: gate.subject,
    remote: gate.remote,
    reason: gate.reason,
    code: gate.code,
    since: gate.since,
    pending: pendingWhere((channel) => channel.subject === gate.subject && channel.remote === gate.remote),
  }));
  return [...out, ...refused];
}

/**
 * Whether damage of the store has cost operations of which nobody can say that they had landed: no light is green over that. It is told
 * as long as a finished operation would be kept, or until the damaged file that was set aside has been deleted.
 */
function hasLostWork(store: Store): boolean {
  const { recovery } = store;
  if (typeof recovery !== "object" || recovery === null || Array.isArray(recovery)) return false;
  const { at, lostSequences } = recovery as { readonly [name: string]: Json };
  const isRecent = typeof at === "number" && store.world.now() - at < getSettings(store).retainMs;
  return isRecent && Array.isArray(lostSequences) && lostSequences.length > 0;
}

type Told = Pick<QueueStatus, "light" | "counts" | "unsent" | "isWorkingOffline"> & { readonly hasLost: boolean };

function sentenceOf(of: Told): string {
  const waiting = `${of.unsent} unsent`;
  if (of.hasLost) {
    const failed = of.counts.failed === 0 ? "" : `${of.counts.failed} failed; `;
    return `Damage of the store has cost operations, see \`holdfast doctor\`; ${failed}${waiting} in all.`;
  }
  switch (of.light) {
    case "green":
      return "Everything has landed.";
    case "yellow":
      return `Online: ${waiting}.`;
    case "red":
      return of.isWorkingOffline ? `Working offline: ${waiting}, kept safely.` : `Offline: ${waiting}, kept safely.`;
    case "warning":
      return `${of.counts.failed} failed and ${of.counts.failed === 1 ? "needs" : "need"} attention; ${waiting} in all.`;
  }
}

/** Whether something waits for a remote that does not answer; with nothing to wait for, whether none that was asked answers. */
function isCutOff(remotes: readonly RemoteView[]): boolean {
  const awaited = remotes.filter(({ pending }) => pending > 0);
  if (awaited.length > 0) return awaited.some(({ status }) => status === "offline");
  return remotes.some(({ status }) => status === "offline") && !remotes.some(({ status }) => status === "online");
}

export function networkStatus(store: Store): Output<"network.status"> {
  const gates = readGates(store);
  const remotes = viewRemotes(store, (remote) =>
    listChannels(store).reduce(
      (sum, channel) => (channel.remote === remote ? sum + readCount(store, channelCounter(channel.id)) : sum),
      0,
    ),
  );
  const has = (status: string): boolean => remotes.some((remote) => remote.status === status);
  const status =
    gates.isWorkingOffline || isCutOff(remotes)
      ? "offline"
      : has("checking")
        ? "checking"
        : has("online")
          ? "online"
          : "unknown";
  const looked = remotes.flatMap((view) => {
    const { lastSuccessAt, lastFailureAt } = getReachability(store, view.remote);
    return [lastSuccessAt ?? 0, lastFailureAt ?? 0];
  });
  const lastCheckAt = looked.reduce((most, at) => Math.max(most, at), 0);
  return {
    status,
    isWorkingOffline: gates.isWorkingOffline,
    lastCheckAt: lastCheckAt === 0 ? null : lastCheckAt,
    remotes: [...remotes],
    pokes: viewPokes(store),
  };
}

/**
 * When the loop has to look again at the latest. Open channels do not count: a claim has just taken what they could give, and
 * what is left goes when an answer frees a slot. What was open is judged by the instant of that claim: a gate that has opened
 * since, while the claim was written, was closed to it and would be slept through.
 */
export function nextWakeAt(present: Store, claimedAt: number): number | null {
  const store: Store = { ...present, world: { ...present.world, now: () => claimedAt } };
  const gates = readGates(store);
  const settings = getSettings(store);
  const closed = readyChannels(store).filter((channel) => closedBy(store, channel, gates, settings) !== null);
  const times = [
    integerOrNull(store.db.prepare(soonestDue).get()?.due),
    integerOrNull(store.db.prepare(soonestExpiry).get()?.expires),
    nextRunAt(store),
    nextProbeAt(store),
    ...closed.map((channel) => channelOpensAt(store, channel, gates)),
  ].filter((time) => time !== null);
  return times.length === 0 ? null : Math.min(...times);
}

/**
 * Whether anything will move by itself before `until`; a run stays open for that. A remote that is believed to be offline counts
 * only until it was looked at once since the run began: what was found out before must not end a run that a person asked for.
 */
export function movesBefore(store: Store, span: { readonly startedAt: number; readonly until: number }): boolean {
  const due = integerOrNull(store.db.prepare(soonestOpenDue).get(store.world.now())?.due);
  if (due !== null && due <= span.until) return true;
  const gates = readGates(store);
  return readyChannels(store).some((channel) => {
    // Credentials that are refused are a person's to renew, whatever is tried by itself later.
    if (closedBy(store, channel, gates, getSettings(store)) === "auth") return false;
    const opens = channelOpensAt(store, channel, gates);
    if (opens === null || opens > span.until) return false;
    const isOffline = channel.remote !== "" && remoteGate(store, channel.remote).kind === "offline";
    return !isOffline || !wasLookedAt(store, channel.remote, span.startedAt);
  });
}

function wasLookedAt(store: Store, remote: string, since: number): boolean {
  // A run that seems to begin later than now was begun before the clock went back: nothing can be measured from it.
  return since > store.world.now() || (getReachability(store, remote).lastProbeAt ?? 0) >= since;
}

export function checkNetwork(store: Store, remote: string | undefined): Output<"network.check"> {
  return { checking: [...askForProbe(store, remote ?? null)] };
}
