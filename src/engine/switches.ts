/**
 * Owns the switches that a person turns: pauses, working offline, signing in and out, settings, a run now, an id named by hand.
 */
import { HoldfastError } from "../errors.ts";
import { State } from "../operation.ts";
import { limits } from "../shapes.ts";
import type { Input, Output } from "../verbs.ts";
import { acceptCredentials, closeGate, freshCredentials, isWorkingOffline, openGate, readGates } from "./gates.ts";
import { record } from "./history.ts";
import { getAlias, referrersOf } from "./ids.ts";
import { laneHeadOf } from "./lane-rows.ts";
import { activate } from "./lanes.ts";
import { matching } from "./list.ts";
import { retryOperations } from "./manage.ts";
import { listChannels, setSettings } from "./meta.ts";
import { askForProbe, getReachability } from "./network.ts";
import { getBrief, hastenCredentials, hastenRetries, setSchedule } from "./queue.ts";
import { stopAwaiting } from "./references.ts";
import { nameMentions } from "./renaming.ts";
import { channelCounter } from "./schema.ts";
import { countByStatus } from "./status.ts";
import type { Store } from "./store.ts";
import { readCount } from "./store.ts";
import { openRun } from "./sync.ts";

const pausesOf = (store: Store): Output<"queue.pause"> => ({ paused: [...readGates(store).pauses] });

const nameOf = (scope: Input<"queue.pause">["scope"]): string => (scope.kind === "all" ? "" : scope.name);

export function pauseScope(store: Store, input: Input<"queue.pause">): Output<"queue.pause"> {
  const name = nameOf(input.scope);
  const isNew = closeGate(store, input.scope.kind, name, input.reason ?? "");
  if (input.scope.kind === "lane") holdLane(store, name);
  if (isNew)
    record(store, {
      op: 0,
      id: null,
      kind: "paused",
      status: null,
      detail: { kind: input.scope.kind, name, reason: input.reason ?? "" },
    });
  return pausesOf(store);
}

/** The head of a paused lane is taken out of the ready ones; the others wait behind it anyway. */
function holdLane(store: Store, lane: string): void {
  const head = laneHeadOf(store, lane);
  if (head?.state === State.ready) setSchedule(store, head.seq, { state: State.held, reason: "paused", due: head.due });
}

export function resumeScope(store: Store, input: Input<"queue.resume">): Output<"queue.resume"> {
  const name = nameOf(input.scope);
  const wasClosed = openGate(store, input.scope.kind, name);
  const head = input.scope.kind === "lane" ? laneHeadOf(store, name) : null;
  if (head?.state === State.held) activate(store, head);
  if (wasClosed)
    record(store, { op: 0, id: null, kind: "resumed", status: null, detail: { kind: input.scope.kind, name } });
  return pausesOf(store);
}

export function workOffline(store: Store): Output<"network.offline"> {
  if (closeGate(store, "offline", "", ""))
    record(store, { op: 0, id: null, kind: "network", status: null, detail: { isWorkingOffline: true } });
  return { isWorkingOffline: true };
}

export function workOnline(store: Store): Output<"network.online"> {
  if (openGate(store, "offline", "")) {
    record(store, { op: 0, id: null, kind: "network", status: null, detail: { isWorkingOffline: false } });
    lookAgain(store);
  }
  return { isWorkingOffline: false };
}

/** Remotes that were believed to be unreachable are probed at once, and what waited for its next attempt goes now. */
function lookAgain(store: Store): void {
  hastenRetries(store);
  for (const remote of new Set(listChannels(store).map((channel) => channel.remote))) {
    if (remote !== "" && getReachability(store, remote).status === "offline") askForProbe(store, remote);
  }
}

function pendingOf(store: Store, subject: string): number {
  return listChannels(store).reduce(
    (sum, channel) => (channel.subject === subject ? sum + readCount(store, channelCounter(channel.id)) : sum),
    0,
  );
}

export function signIn(store: Store, input: Input<"subject.signIn">): Output<"subject.signIn"> {
  const { subject } = input;
  const wasOut = openGate(store, "subject", subject);
  const wasRefused = freshCredentials(store, subject);
  const hasLacked = hastenCredentials(store, subject) > 0;
  if (wasOut || wasRefused || hasLacked)
    record(store, { op: 0, id: null, kind: "subject", status: null, detail: { subject, state: "signed_in" } });
  return { subject, pending: pendingOf(store, subject) };
}

export function signOut(store: Store, input: Input<"subject.signOut">): Output<"subject.signOut"> {
  const { subject } = input;
  if (closeGate(store, "subject", subject, "signed out")) {
    record(store, { op: 0, id: null, kind: "subject", status: null, detail: { subject, state: "signed_out" } });
  }
  return { subject, pending: pendingOf(store, subject) };
}

export function changeSettings(store: Store, input: Input<"settings.set">): Output<"settings.set"> {
  const after = setSettings(store, input as Partial<Output<"settings.set">>);
  record(store, { op: 0, id: null, kind: "settings", status: null, detail: { changed: Object.keys(input) } });
  return after;
}

export function runSync(store: Store, input: Input<"sync.run">): Output<"sync.run"> {
  // A refusal of credentials is looked at once more: the remote may have been told of them meanwhile.
  for (const { subject, remote } of readGates(store).auth) {
    acceptCredentials(store, subject, remote);
    hastenCredentials(store, subject);
  }
  const failed = input.retryFailed === true ? matching(store, { status: ["failed"] }).map((op) => op.id) : [];
  if (failed.length > 0) retryOperations(store, { ids: failed });
  // Drafts, and what has failed, are unsent as well, and no run sends them.
  const counts = countByStatus(store);
  const pending = counts.pending + counts.in_progress;
  if (isWorkingOffline(store)) {
    return {
      pending,
      isOffline: true,
      sentence: "You work offline: nothing is sent. `holdfast network online` ends that.",
    };
  }
  openRun(store, pending);
  lookAgain(store);
  const what = pending === 0 ? "Nothing to send." : `Sending ${pending} ${pending === 1 ? "operation" : "operations"}.`;
  const left = failed.length < limits.matched ? 0 : counts.failed;
  const sentence = left === 0 ? what : `${what} ${left} that failed are left for the next time.`;
  return { pending, isOffline: false, sentence };
}

function requireAlias(store: Store, localId: string) {
  const alias = getAlias(store, localId);
  if (alias !== null) return alias;
  throw new HoldfastError(
    "not_found",
    `no operation creates the local id "${localId}"`,
    "see `creates` in `holdfast queue list`",
  );
}

export function findId(store: Store, input: Input<"ids.get">): Output<"ids.get"> {
  const alias = requireAlias(store, input.localId);
  return { localId: alias.local, serverId: alias.server, operation: alias.op };
}

/** Names the server's id by hand and lets everything go that was parked for want of it. */
export function assignId(store: Store, input: Input<"ids.assign">): Output<"ids.assign"> {
  const alias = requireAlias(store, input.localId);
  if (alias.server !== null && alias.server !== input.serverId) {
    throw new HoldfastError(
      "refused_by_state",
      `"${alias.local}" is "${alias.server}" on the server already`,
      "a server's id never changes",
    );
  }
  const creator = getBrief(store, alias.seq);
  if (creator !== null && creator.state !== State.done) {
    throw new HoldfastError(
      "refused_by_state",
      `operation ${creator.id} has not created "${alias.local}" yet`,
      "wait for it, or cancel it first",
    );
  }
  const referrers = referrersOf(store, alias.local);
  const rewritten = nameMentions(store, alias.local, input.serverId);
  stopAwaiting(store, alias, referrers);
  record(store, {
    op: alias.seq,
    id: alias.op,
    kind: "resolved",
    status: null,
    detail: { localId: alias.local, serverId: input.serverId },
  });
  return { localId: alias.local, serverId: input.serverId, rewritten };
}
