// Owns a small queue in memory that answers every verb, for tests of what stands in front of an engine.
// Leaves durability, lanes and sending to the real engine and its own tests.
import type { Engine } from "../../src/engine/engine.ts";
import { HoldfastError } from "../../src/errors.ts";
import { retryPresets } from "../../src/retry.ts";
import type { Settings } from "../../src/shapes.ts";
import { defaultSettings } from "../../src/shapes.ts";
import type { AddInput, HoldfastEvent, Input, Output, QueueStatus, Receipt, Verb } from "../../src/verbs.ts";
import { isVerb, parseInput } from "../../src/verbs.ts";

type Operation = Output<"queue.get">;

export type MemoryEngine = Engine & {
  readonly operations: readonly Operation[];
  readonly isClosed: () => boolean;
  readonly emit: (event: Omit<HoldfastEvent, "at">) => void;
  /** Forgets the feed up to a sequence. */
  readonly prune: (sequence: number) => void;
  readonly settings: () => Settings;
};

/** Opens an empty queue. */
export function openMemoryEngine(initial: Partial<Settings> = {}): MemoryEngine {
  const operations: Operation[] = [];
  const feed: HoldfastEvent[] = [];
  const listeners = new Set<(event: HoldfastEvent) => void>();
  const state = { sequence: 0, pruned: 0, isClosed: false, settings: { ...defaultSettings, ...initial } };

  const tell = (event: HoldfastEvent): void => {
    if (event.sequence > 0) feed.push(event);
    for (const listener of listeners) listener(event);
  };
  const find = (id: string): Operation => {
    const found = operations.filter((each) => each.id.startsWith(id) || each.id.endsWith(id));
    if (found[0] === undefined) throw new HoldfastError("not_found", `there is no operation ${id}`, "list them");
    return found[0];
  };
  const add = (input: AddInput): Receipt => {
    state.sequence += 1;
    const operation = operationOf(input, state.sequence);
    operations.push(operation);
    const { id, sequence, status, reason } = operation;
    tell({ sequence, at: Date.now(), kind: "enqueued", id, status, detail: null });
    return { id, sequence, status, reason, isNew: true, warning: null };
  };
  const bulk = (ids: readonly string[]): Output<"queue.cancel"> => {
    const refused = ids.filter((id) => !operations.some((each) => each.id === id));
    return {
      done: ids.filter((id) => !refused.includes(id)),
      refused: refused.map((id) => ({
        id,
        code: "not_found",
        message: `there is no operation ${id}`,
        hint: "list them",
      })),
    };
  };
  const answers = makeAnswers({ state, operations, feed, find, add, bulk });
  const handle = <V extends Verb>(verb: V, input: Input<V>): Output<V> => {
    if (state.isClosed) throw new HoldfastError("engine_closed", "the store is closed", "open it again");
    if (!isVerb(verb)) throw new HoldfastError("unknown_verb", `there is no verb ${String(verb)}`, "check it");
    return answers[verb](parseInput(verb, input));
  };
  return {
    operations,
    handle,
    submit: async (verb, input) => handle(verb, input),
    subscribe: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    register: () => {},
    start: () => {},
    setSync: async () => {},
    stop: async () => {},
    close: () => {
      state.isClosed = true;
    },
    isClosed: () => state.isClosed,
    emit: (event) => {
      state.sequence = Math.max(state.sequence, event.sequence);
      tell({ ...event, at: Date.now() });
    },
    prune: (sequence) => {
      state.pruned = sequence;
    },
    settings: () => state.settings,
  };
}

type Answers = { readonly [V in Verb]: (input: Input<V>) => Output<V> };
type Parts = {
  readonly state: { sequence: number; pruned: number; settings: Settings };
  readonly operations: readonly Operation[];
  readonly feed: readonly HoldfastEvent[];
  readonly find: (id: string) => Operation;
  readonly add: (input: AddInput) => Receipt;
  readonly bulk: (ids: readonly string[]) => Output<"queue.cancel">;
};

function makeAnswers(parts: Parts): Answers {
  return { ...queueAnswers(parts), ...otherAnswers(parts) } as Answers;
}

function queueAnswers({ operations, find, add, bulk }: Parts): Partial<Answers> {
  return {
    "queue.add": add,
    "queue.addMany": (input) => ({ receipts: input.operations.map(add) }),
    "queue.get": (input) => find(input.id),
    "queue.list": (input) => ({ operations: operations.slice(0, input.limit ?? 100), next: null }),
    "queue.status": () => statusOf(operations),
    "queue.why": (input) => whyOf(find(input.id)),
    "queue.history": (input) => ({ id: find(input.id).id, entries: [] }),
    "queue.edit": (input) => find(input.id),
    "queue.retry": (input) => bulk(input.ids ?? []),
    "queue.move": (input) => find(input.id),
    "queue.cancel": (input) => bulk(input.ids),
    "queue.detach": (input) => find(input.id),
    "queue.release": (input) => bulk(input.ids),
    "queue.remove": (input) => bulk(input.ids),
    "queue.clear": () => ({ removed: 0, unsent: operations.length }),
    "queue.pause": () => ({ paused: [] }),
    "queue.resume": () => ({ paused: [] }),
    "queue.resolve": (input) => bulk(input.ids),
  };
}

function otherAnswers({ state, operations, feed }: Parts): Partial<Answers> {
  return {
    "queue.export": () => ({ lines: operations.map((each) => JSON.stringify(each)), next: null }),
    "queue.import": (input) => ({ imported: [], skipped: input.lines, refused: [] }),
    "ids.get": (input) => {
      throw new HoldfastError("not_found", `nobody creates ${input.localId}`, "check the id");
    },
    "ids.assign": (input) => ({ ...input, rewritten: 0 }),
    "sync.run": () => ({ pending: operations.length, isOffline: false, sentence: "Sending." }),
    "sync.status": () => ({ isSyncing: false, mode: state.settings.syncMode, run: null }),
    "network.status": () => ({ status: "unknown", isWorkingOffline: false, lastCheckAt: null, remotes: [], pokes: [] }),
    "network.check": () => ({ checking: [] }),
    "network.offline": () => ({ isWorkingOffline: true }),
    "network.online": () => ({ isWorkingOffline: false }),
    "subject.signIn": (input) => ({ subject: input.subject, pending: 0 }),
    "subject.signOut": (input) => ({ subject: input.subject, pending: 0 }),
    "settings.get": () => state.settings,
    "settings.set": (input) => {
      state.settings = { ...state.settings, ...(input as Partial<Settings>) };
      return state.settings;
    },
    "events.list": ({ after = 0, limit = 100 }) => ({
      events: feed.filter((each) => each.sequence > Math.max(after, state.pruned)).slice(0, limit),
      last: state.sequence,
      isTruncated: after < state.pruned,
    }),
    "engine.info": () => ({
      version: "test",
      schemaVersion: 1,
      sequence: state.sequence,
      isReadOnly: false,
      drainer: null,
      isDrainer: true,
      types: [],
      recovery: null,
    }),
    "engine.check": () => ({ isSound: true, findings: [], checked: operations.length }),
  };
}

function operationOf(input: AddInput, sequence: number): Operation {
  const now = Date.now();
  const id = input.id ?? crypto.randomUUID();
  return {
    id,
    sequence,
    type: input.type,
    version: 1,
    status: input.isDraft === true ? "draft" : "pending",
    reason: null,
    payload: input.payload,
    title: input.title ?? input.type,
    lane: input.lane ?? null,
    priority: input.priority ?? 0,
    subject: input.subject ?? "",
    remote: input.remote ?? "",
    dependsOn: input.after ?? [],
    creates: input.creates ?? null,
    serverId: null,
    group: input.group ?? null,
    dedupe: input.dedupe?.key ?? null,
    notBefore: input.notBefore ?? null,
    expiresAt: input.expiresAt ?? null,
    retry: retryPresets.default,
    onFailure: input.onFailure ?? "hold",
    onCrash: input.onCrash ?? "resend",
    conflict: input.conflict ?? null,
    attempts: 0,
    failures: 0,
    mayHaveLanded: false,
    revision: 0,
    idempotencyKey: id,
    createdAt: now,
    since: now,
    nextAttemptAt: null,
    settledAt: null,
    outcome: null,
    problem: null,
    progress: null,
    checkpoint: null,
    result: null,
    remoteVersion: null,
  };
}

function statusOf(operations: readonly Operation[]): QueueStatus {
  const empty = { draft: 0, pending: 0, in_progress: 0, completed: 0, failed: 0, cancelled: 0, expired: 0 };
  const pending = operations.filter((each) => each.status === "pending");
  return {
    light: "green",
    sentence: "All sent.",
    counts: { ...empty, pending: pending.length },
    unsent: operations.length,
    bytes: 0,
    oldestUnsentAt: operations[0]?.createdAt ?? null,
    nextAttemptAt: null,
    lastLandedAt: null,
    conflicts: 0,
    isWorkingOffline: false,
    isDraining: true,
    drainer: null,
    isReadOnly: false,
    isDiskFull: false,
    paused: [],
    unknownTypes: [],
    signedOut: [],
    limits: { maxOperations: 1_000_000, maxBytes: 1_000_000, usedPercent: 0, isWarning: false },
    remotes: [],
  };
}

function whyOf(operation: Operation): Output<"queue.why"> {
  const { id, status, since } = operation;
  return { id, status, since, sentence: "It is ready.", nextMoveAt: null, blockers: [] };
}
