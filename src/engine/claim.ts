/**
 * Owns claiming: which ready operations go out now. A claim is committed before anything reaches the wire, so that a crash is seen.
 * It costs the same at any queue length, because readiness is kept by `lanes.ts`; here only gates and slots are asked.
 */
import type { Row } from "../database.ts";
import { HoldfastError } from "../errors.ts";
import type { Evidence } from "../network.ts";
import type { Json, Operation } from "../operation.ts";
import { State } from "../operation.ts";
import { recordWriteType } from "../record.ts";
import type { Settings } from "../shapes.ts";
import type { OperationType } from "../world.ts";
import type { Gates } from "./gates.ts";
import { readGates } from "./gates.ts";
import { record } from "./history.ts";
import { referencesOf } from "./ids.ts";
import { followOperation } from "./landing.ts";
import { laneAfter } from "./lane-rows.ts";
import { leaveLane, restingPlace, settleInto } from "./lanes.ts";
import { channelFor, getChannel, getSettings } from "./meta.ts";
import { noteEvidence, remoteGate, waitingForNetwork } from "./network.ts";
import { toOperation } from "./operations.ts";
import type { Brief } from "./queue.ts";
import { changeChannel, failOperation, getBrief, getRow, leaseOperation, setSchedule, toBrief } from "./queue.ts";
import { corruptProblem, isGenuine } from "./row-hash.ts";
import type { Channel, Store } from "./store.ts";
import { integer, text } from "./store.ts";
import { isRunOpen } from "./sync.ts";

/** Scheduled operations woken per claim; the rest follows in the next one. */
export const wakeLimit = 500;

/** Less of a slot than any batch's member takes is what adding up parts leaves over. */
export const leastShare = 1e-6;

// A loose scan over the first column of the partial index: one seek per channel, whatever the number of operations.
const readyChannelIds = `WITH RECURSIVE open(channel) AS (
  SELECT min(channel) FROM op WHERE state = 0
  UNION ALL SELECT (SELECT min(channel) FROM op WHERE state = 0 AND channel > open.channel) FROM open WHERE open.channel IS NOT NULL
) SELECT channel FROM open WHERE channel IS NOT NULL`;
const readyOf = "SELECT seq, rank FROM op WHERE state = 0 AND channel = ? ORDER BY rank, seq LIMIT +?";
const dueNow = "SELECT seq, lane FROM op WHERE state = 2 AND due <= ? ORDER BY due LIMIT +?";

export type Claimed = {
  readonly seq: number;
  readonly channel: Channel;
  readonly epoch: number;
  /** By the monotonic clock. */
  readonly claimedAt: number;
  readonly operation: Operation;
  readonly type: OperationType;
};

/** How much may go out: free slots in all, for bulk types, and what is in flight for each remote. */
export type Capacity = {
  readonly slots: number;
  readonly bulkSlots: number;
  /** Requests under way to a remote, the bulk ones counted or not. */
  readonly inFlight: (remote: string, isBulkCounted: boolean) => number;
  /** For a claim ahead of the wire, in place of the room on it: what a channel may have ahead. */
  readonly roomAhead?: (channel: Channel) => number;
};

type Candidate = {
  readonly seq: number;
  readonly rank: number;
  readonly channel: Channel;
  readonly type: OperationType;
};

/** What closes a channel. */
export type Closure = "paused" | "work_offline" | "signed_out" | "auth" | "unknown_type" | "sync_mode" | "network";

/** Why a channel is closed at the moment; `null` when it is open. Shared with `why.ts`, so that both tell the same. */
export function closedBy(store: Store, channel: Channel, gates: Gates, settings: Settings): Closure | null {
  if (gates.isAllPaused || gates.types.has(channel.type)) return "paused";
  if (channel.remote !== "" && gates.remotes.has(channel.remote)) return "paused";
  if (gates.isWorkingOffline) return "work_offline";
  if (gates.signedOut.has(channel.subject)) return "signed_out";
  const now = store.world.now();
  const auth = gates.auth.find((gate) => gate.subject === channel.subject && gate.remote === channel.remote);
  // A gate further away than it can have been set is a clock that went back.
  if (auth !== undefined && auth.until > now && auth.since <= now) return "auth";
  if (!canRun(store.types.get(channel.type))) return "unknown_type";
  if (settings.syncMode !== "eager" && !isRunOpen(store)) return "sync_mode";
  if (channel.remote !== "" && !remoteGate(store, channel.remote).isOpen) return "network";
  return null;
}

export function canRun(type: OperationType | undefined): type is OperationType {
  return type?.run !== undefined || type?.runBatch !== undefined;
}

/** Moves scheduled operations whose time has come to ready. */
export function wakeDue(store: Store): number {
  const due = store.db.prepare(dueNow).all(store.world.now(), wakeLimit);
  for (const row of due)
    setSchedule(store, integer(row.seq), { ...restingPlace(store, { lane: text(row.lane), due: 0 }), due: 0 });
  return due.length;
}

/** What requests have told of their remotes, booked with their answers. */
export type Observed = { readonly remote: string; readonly evidence: Evidence };

/** Keeps what was observed; what waited only for an answer of its remote goes, once for all answers of that one. */
export function bookEvidence(store: Store, observed: readonly Observed[]): void {
  const answered = new Set<string>();
  for (const { remote, evidence } of observed) {
    noteEvidence(store, remote, evidence);
    if (evidence.kind === "answered") answered.add(remote);
  }
  for (const remote of answered) freeWaiting(store, remote);
}

/** A remote answers again: what waited only for that goes as soon as its gate lets it. */
export function freeWaiting(store: Store, remote: string): void {
  for (const seq of waitingForNetwork(store, remote)) {
    const op = getBrief(store, seq);
    if (op === null) continue;
    setSchedule(store, seq, { state: State.waiting, reason: "lane", due: 0 });
    settleInto(store, seq);
  }
}

/** Claims what may go out now; their rows say "in flight" when the transaction commits. */
export function claimNext(store: Store, capacity: Capacity): readonly Claimed[] {
  if (Math.max(capacity.slots, capacity.bulkSlots) < leastShare) return [];
  const claiming: Claiming = {
    capacity,
    settings: getSettings(store),
    taken: { small: new Map(), bulk: new Map() },
    trials: new Map(),
    claimed: [],
    derived: 0,
    slots: capacity.slots,
    bulkSlots: capacity.bulkSlots,
  };
  // A candidate that had to be parked may have given its lane to an older one than the rest, and one whose remote has become known
  // has other gates: look again, in the right order.
  while (claimPass(store, claiming) === "changed" && claiming.derived < wakeLimit);
  return claiming.claimed;
}

type Claiming = {
  readonly capacity: Capacity;
  readonly settings: Settings;
  readonly taken: { readonly small: Map<string, number>; readonly bulk: Map<string, number> };
  /** What goes out to remotes that have to prove themselves. */
  readonly trials: Map<string, Trial>;
  readonly claimed: Claimed[];
  /** Operations whose remote was found out on the way. */
  derived: number;
  slots: number;
  bulkSlots: number;
};

/** The one request that a remote gets which has to prove itself. */
type Trial = { readonly channel: number; readonly members: number };

function claimPass(store: Store, claiming: Claiming): "changed" | "done" {
  const { capacity, settings, taken, claimed, derived } = claiming;
  for (const candidate of candidates(store, capacity, settings)) {
    const isBulk = candidate.type.isBulk === true;
    if ((isBulk ? claiming.bulkSlots : claiming.slots) < leastShare) continue;
    const { remote } = candidate.channel;
    if (remote !== "" && claiming.derived > derived) continue;
    // What may not be claimed ahead takes the next free slot, so nothing behind it may be claimed before it.
    const isOvertaking = capacity.roomAhead !== undefined && !isBulk;
    const room = roomFor(store, claiming, candidate);
    if (room === 0) {
      if (isOvertaking) break;
      continue;
    }
    const run = claimRun(store, candidate, { room, isAhead: capacity.roomAhead !== undefined });
    if (run.length === 0) {
      const now = getBrief(store, candidate.seq);
      if (isParked(now)) return "changed";
      if (now !== null && now.channel !== candidate.channel.id) claiming.derived += 1;
      if (isOvertaking) break;
      continue;
    }
    claimed.push(...run);
    // A batch is one request, so its members share one slot.
    const share = candidate.type.runBatch === undefined ? run.length : run.length / candidate.type.runBatch.max;
    if (isBulk) claiming.bulkSlots -= share;
    else claiming.slots -= share;
    const counted = isBulk ? taken.bulk : taken.small;
    counted.set(remote, (counted.get(remote) ?? 0) + share);
    const members = (claiming.trials.get(remote)?.members ?? 0) + run.length;
    claiming.trials.set(remote, { channel: candidate.channel.id, members });
  }
  return claiming.derived > derived ? "changed" : "done";
}

const isParked = (op: Brief | null): boolean => op !== null && (op.state === State.parked || op.state === State.aside);

/**
 * How many operations of a candidate's lane may go, itself included; 0 when it has no room. Bytes under way do not take the room of small
 * operations; only a remote that has to prove itself gets one request in all.
 */
function roomFor(store: Store, claiming: Claiming, { channel, type }: Candidate): number {
  const { capacity, settings, taken } = claiming;
  const { remote } = channel;
  const isBulk = type.isBulk === true;
  const batch = type.runBatch?.max ?? 1;
  const small = taken.small.get(remote) ?? 0;
  const isOnTrial = remote !== "" && remoteGate(store, remote).maxInFlight !== null;
  if (capacity.roomAhead !== undefined)
    return !(isBulk || isOnTrial) && capacity.roomAhead(channel) - small >= leastShare ? batch : 0;
  if (remote === "") return batch;
  if (isOnTrial) {
    if (capacity.inFlight(remote, true) > 0) return 0;
    const { channel: chosen, members } = claiming.trials.get(remote) ?? { channel: channel.id, members: 0 };
    return chosen === channel.id ? batch - members : 0;
  }
  return isBulk || capacity.inFlight(remote, false) + small < settings.concurrencyPerRemote ? batch : 0;
}

/** Channels in which something is ready. */
export function readyChannels(store: Store): readonly Channel[] {
  return store.db
    .prepare(readyChannelIds)
    .all()
    .map((row) => getChannel(store, integer(row.channel)));
}

function candidates(store: Store, capacity: Capacity, settings: Settings): readonly Candidate[] {
  const gates = readGates(store);
  const found: Candidate[] = [];
  for (const channel of readyChannels(store)) {
    const type = store.types.get(channel.type);
    if (type === undefined || closedBy(store, channel, gates, settings) !== null) continue;
    const batch = type.runBatch?.max ?? 1;
    // Members of a batch take parts of a slot, and a limit has to be a whole number.
    const room = Math.min(Math.max(capacity.slots, capacity.bulkSlots), capacity.roomAhead?.(channel) ?? Infinity);
    const limit = Math.max(capacity.roomAhead === undefined ? 0 : 1, Math.ceil(room * batch));
    if (limit === 0) continue;
    for (const ready of store.db.prepare(readyOf).all(channel.id, limit)) {
      found.push({ seq: integer(ready.seq), rank: integer(ready.rank), channel, type });
    }
  }
  // Small ones first, so that a remote's only trial is not a transfer that takes an hour.
  const size = (candidate: Candidate): number => (candidate.type.isBulk === true ? 1 : 0);
  return found.sort((a, b) => size(a) - size(b) || a.rank - b.rank || a.seq - b.seq);
}

/** Claims one operation and, for a type that sends batches, what follows it in its lane and could go with it: `room` at most. */
function claimRun(
  store: Store,
  candidate: Candidate,
  { room, isAhead }: { readonly room: number; readonly isAhead: boolean },
): readonly Claimed[] {
  const row = getRow(store, candidate.seq);
  const head = toBrief(row);
  if (head.state !== State.ready) return [];
  // A crash would ask a person about something that was never sent.
  if (isAhead && head.options.onCrash === "ask") return [];
  const first = claimOne(store, { row, op: head }, candidate.type);
  if (first === null) return [];
  if (room === 1 || head.lane === "") return [first];
  const run: Claimed[] = [first];
  for (const next of laneAfter(store, head.lane, head.position, room - 1)) {
    const canFollow =
      next.state === State.waiting &&
      next.waits === 0 &&
      !(isAhead && next.options.onCrash === "ask") &&
      next.channel === head.channel &&
      next.due <= store.world.now();
    const claimed = canFollow ? claimOne(store, { row: getRow(store, next.seq), op: next }, candidate.type) : null;
    if (claimed === null) break;
    run.push(claimed);
  }
  return run;
}

type Found = { readonly row: Row; readonly op: Brief };

function claimOne(store: Store, { row, op }: Found, type: OperationType): Claimed | null {
  if (!isGenuine(store, row)) {
    parkUnusable(store, op, "corrupt", corruptProblem.message);
    return null;
  }
  const [local] = referencesOf(store, op.seq);
  if (local !== undefined) {
    // It was detached from the creation, or that was given up: the remote would not know what the local id means.
    parkUnusable(store, op, "no_server_id", `it mentions "${local}", which has no id on the server`);
    return null;
  }
  const current = upcast(store, op, row, type);
  if (current === null || isMovedToRemote(store, op, { type, payload: current.payload })) return null;
  leaseOperation(store, op, store.memory.epoch);
  const operation: Operation = {
    ...current,
    status: "in_progress",
    reason: null,
    attempts: op.attempts + 1,
    since: store.world.now(),
  };
  const { epoch } = store.memory;
  const claimedAt = store.world.monotonic();
  return { seq: op.seq, channel: getChannel(store, op.channel), epoch, claimedAt, operation, type };
}

/** What was queued before its type was known stands under no remote; from now on the gates of its own one hold for it. */
function isMovedToRemote(
  store: Store,
  op: Brief,
  { type, payload }: { readonly type: OperationType; readonly payload: Json },
): boolean {
  const { remote, subject } = getChannel(store, op.channel);
  if (remote !== "" || type.remoteOf === undefined) return false;
  try {
    const derived = type.remoteOf(payload);
    if (derived === "") return false;
    changeChannel(store, op.seq, channelFor(store, derived, op.type, subject).id);
  } catch (error) {
    parkUnusable(store, op, "rejected", error instanceof Error ? error.message : String(error));
  }
  return true;
}

/** Brings an older payload to the type's version; a payload that cannot be brought forward is parked, never dropped. */
function upcast(store: Store, op: Brief, row: Row, type: OperationType): Operation | null {
  const operation = toOperation(store, row, op);
  const version = type.version ?? 1;
  if (operation.version === version) return operation;
  try {
    if (type.upcast === undefined || operation.version > version) {
      throw new HoldfastError(
        "invalid_input",
        `its payload has version ${operation.version}, the type "${op.type}" knows ${version}`,
        "",
      );
    }
    return { ...operation, version, payload: type.upcast(operation.payload, operation.version) };
  } catch (error) {
    parkUnusable(store, op, "rejected", error instanceof Error ? error.message : String(error));
    return null;
  }
}

const unusable = {
  corrupt: corruptProblem,
  rejected: { code: "payload_version", hint: "edit its payload, or cancel it" },
  no_server_id: { code: "no_server_id", hint: "give the id by hand (`holdfast ids assign`), or edit its payload" },
} as const;

function parkUnusable(store: Store, op: Brief, reason: keyof typeof unusable, message: string): void {
  const isSkipped = op.options.onFailure === "skip";
  failOperation(store, op.seq, {
    state: isSkipped ? State.aside : State.parked,
    reason,
    due: 0,
    failures: op.failures,
    streak: op.streak,
    isUnsure: op.isUnsure,
    problem: { ...unusable[reason], message },
    remoteVersion: null,
  });
  record(store, { op: op.seq, id: op.id, kind: "parked", status: "failed", detail: { reason, message } });
  if (op.type === recordWriteType) followOperation(store, op);
  if (isSkipped) leaveLane(store, op);
}
