// Owns a sync server in memory for tests of the engine: the rules of docs/protocol.md in their shortest form, and switches for faults.
// The real server is src/server/; this one shares no code with it, so that a mistake is not made twice.
import { isSameJson } from "../../src/canonical.ts";
import type { Answer, Json } from "../../src/operation.ts";
import type { Change, Fields } from "../../src/record.ts";
import { isDeath } from "../../src/testing/virtual-world.ts";
import type {
  Poke,
  PullRequest,
  PullResponse,
  PushAnswer,
  PushItem,
  PushRequest,
  PushResponse,
  WireRecord,
} from "../../src/wire.ts";
import {
  fetchRequest,
  fetchResponse,
  historyChanged,
  pullRequest,
  pullResponse,
  pushRequest,
  pushResponse,
  readWire,
} from "../../src/wire.ts";
import type { Reply, SyncPort } from "../../src/world.ts";

type Stored = WireRecord & { readonly born: number; readonly fieldVersions: Readonly<Record<string, number>> };
type Failure = Extract<Reply<never>, { kind: "failed" }>["answer"];
type Applied = Extract<PushAnswer, { outcome: "applied" }>["changes"];

export type ModelServer = {
  readonly port: (options?: { readonly author?: string; readonly subject?: string }) => SyncPort;
  /** Requests in the order of their arrival. */
  readonly log: { readonly what: "push" | "pull" | "fetch"; readonly request: Json }[];
  /** Failures of the next requests, by kind; an answered request whose answer is lost is `lost`. */
  readonly faults: {
    readonly what: "push" | "pull" | "fetch";
    readonly answer: Failure;
    readonly isApplied: boolean;
  }[];
  /** Refuses a change by a rule; null: no objection. */
  rule:
    | ((
        change: Change,
        value: Fields | null,
      ) => { readonly code: string; readonly message: string; readonly field?: string; readonly hint?: string } | null)
    | null;
  /** Collections whose keys this server gives. */
  readonly naming: Set<string>;
  /** Fields of which no two records of a collection may share a value. */
  readonly unique: Map<string, string>;
  /** What may be read of a collection; everything, and no view of it is told, where it is not named. */
  readonly reach: Map<string, Reach>;
  delayMs: number;
  /** Pokes are told only while this is true. */
  isPoking: boolean;
  floor: number;
  history: string;
  readonly head: () => number;
  readonly get: (collection: string, key: string) => WireRecord | undefined;
  readonly all: (collection: string) => Readonly<Record<string, Fields>>;
  /** Writes as another client does. */
  readonly write: (collection: string, key: string, value: Fields | null, author?: string, schema?: number) => number;
  /** Removes a record and forgets the removal, as after months in which nobody was told of it: the floor rises to the head. */
  readonly forget: (collection: string, key: string) => void;
  /** A copy of everything, and going back to it under another history. */
  readonly backup: () => unknown;
  readonly restore: (backup: unknown, history: string) => void;
  readonly isLimited: { page: number };
};

/** `view` is told with each page, unless it is left out as by a server of before. */
export type Reach = { readonly view?: string | (() => string); readonly isIn: (value: Fields) => boolean };

type State = {
  head: number;
  readonly records: Map<string, Stored>;
  readonly receipts: Map<string, PushAnswer>;
};

export type ModelOptions = { readonly now: () => number; readonly wait: (ms: number) => Promise<void> };

type Watcher = { readonly space: string; readonly listener: (poke: Poke) => void };
type Model = {
  state: State;
  readonly options: ModelOptions;
  readonly watchers: Set<Watcher>;
  readonly server: ModelServer;
};

const nameOf = (collection: string, key: string): string => `${collection}\n${key}`;

export function newModelServer(options: ModelOptions): ModelServer {
  const server: ModelServer = {
    log: [],
    faults: [],
    rule: null,
    naming: new Set(),
    unique: new Map(),
    reach: new Map(),
    delayMs: 5,
    isPoking: true,
    floor: 0,
    history: "h1",
    isLimited: { page: 5_000 },
    head: () => model.state.head,
    get: (collection, key) => model.state.records.get(nameOf(collection, key)),
    all: (collection) =>
      Object.fromEntries(
        [...model.state.records.values()]
          .filter((each) => each.collection === collection && each.value !== null)
          .map((each) => [each.key, each.value as Fields]),
      ),
    write: (collection, key, value, author = "server", schema = 1) =>
      writeAs(model, { collection, key, value, author, schema }),
    forget: (collection, key) => {
      writeAs(model, { collection, key, value: null, author: "server", schema: 1 });
      model.state.records.delete(nameOf(collection, key));
      server.floor = model.state.head;
    },
    backup: () => structuredClone(model.state),
    restore: (backup, history) => {
      model.state = structuredClone(backup) as State;
      server.history = history;
    },
    port: ({ author = "somebody", subject = "" } = {}) => portOf(model, author, subject),
  };
  const state: State = { head: 0, records: new Map(), receipts: new Map() };
  const model: Model = { state, options, watchers: new Set(), server };
  return server;
}

function portOf(model: Model, author: string, subject: string): SyncPort {
  const { server, options, watchers } = model;
  return {
    remote: "https://sync.example",
    space: "main",
    subject,
    push: (request) =>
      answer(model, "push", request, () =>
        readWire("answer", pushResponse, push(model, readWire("push", pushRequest, request), author)),
      ),
    pull: (request) =>
      answer(model, "pull", request, () =>
        readWire("answer", pullResponse, pull(model, readWire("pull", pullRequest, request))),
      ),
    fetch: (request) =>
      answer(model, "fetch", request, () => {
        const { collection, keys } = readWire("fetch", fetchRequest, request);
        const records = keys.flatMap((key) => {
          const found = model.state.records.get(nameOf(collection, key));
          return found === undefined || !isInReach(server, found) ? [] : [bare(found)];
        });
        const { history } = server;
        return readWire("answer", fetchResponse, { history, head: model.state.head, records, now: options.now() });
      }),
    watch: (space, listener) => {
      const watcher = { space, listener };
      watchers.add(watcher);
      return () => watchers.delete(watcher);
    },
  };
}

function answer<T>(
  { server, options }: Model,
  what: "push" | "pull" | "fetch",
  request: unknown,
  work: () => T,
): Promise<Reply<T>> {
  server.log.push({ what, request: JSON.parse(JSON.stringify(request)) as Json });
  const index = server.faults.findIndex((fault) => fault.what === what);
  const fault = index < 0 ? undefined : server.faults.splice(index, 1)[0];
  return options.wait(server.delayMs).then(() => {
    if (fault !== undefined && !fault.isApplied) return { kind: "failed", answer: fault.answer };
    const response = work();
    return options.wait(server.delayMs).then((): Reply<T> => {
      if (fault !== undefined) return { kind: "failed", answer: fault.answer };
      const sentBytes = JSON.stringify(request).length;
      return { kind: "answered", response, sentBytes, receivedBytes: JSON.stringify(response).length };
    });
  });
}

function tell({ server, state, watchers }: Model): void {
  if (!server.isPoking) return;
  for (const watcher of watchers) {
    const { space, listener } = watcher;
    try {
      listener({ space, head: state.head });
    } catch (error) {
      if (!isDeath(error)) throw error;
      // The stream of a process that is dead breaks at the next word to it.
      watchers.delete(watcher);
    }
  }
}

type NewStored = Omit<Stored, "version" | "at" | "born" | "fieldVersions">;

function store({ state, options }: Model, record: NewStored, touched: readonly string[] | null): Stored {
  state.head += 1;
  const name = nameOf(record.collection, record.key);
  const before = state.records.get(name);
  const names = touched ?? [...Object.keys(record.value ?? {}), ...Object.keys(before?.value ?? {})];
  const fieldVersions = { ...before?.fieldVersions, ...Object.fromEntries(names.map((each) => [each, state.head])) };
  const born = before === undefined || before.value === null ? state.head : before.born;
  const stored = { ...record, version: state.head, born, at: options.now(), fieldVersions };
  state.records.set(name, stored);
  return stored;
}

function writeAs(model: Model, record: NewStored): number {
  const before = model.state.records.get(nameOf(record.collection, record.key))?.value ?? null;
  const names = [...new Set([...Object.keys(before ?? {}), ...Object.keys(record.value ?? {})])];
  const touched = names.filter((name) => !isSameJson(before?.[name], record.value?.[name]));
  const { version } = store(model, record, touched);
  tell(model);
  return version;
}

function push(model: Model, request: PushRequest, author: string): PushResponse {
  const { history } = model.server;
  const isBeyond = (request.seen ?? 0) > model.state.head;
  const isOther = request.history !== undefined && (request.history !== history || isBeyond);
  const answers = request.items.map((item): PushAnswer => {
    if (isOther)
      return { id: item.id, outcome: "retry", problem: { code: historyChanged, message: "restored" }, afterMs: 1_000 };
    const known = model.state.receipts.get(item.id);
    if (known !== undefined) return known.outcome === "applied" ? { ...known, outcome: "duplicate" } : known;
    const made = applyItem(model, item, author);
    model.state.receipts.set(item.id, made);
    return made;
  });
  tell(model);
  return { answers, history, head: model.state.head, now: model.options.now() };
}

/** All changes or none. */
function applyItem(model: Model, item: PushItem, author: string): PushAnswer {
  const saved = { head: model.state.head, records: new Map(model.state.records) };
  const applied: Applied = [];
  for (const change of item.changes) {
    const refused = applyChange(model, { item, change: change as Change, author, applied });
    if (refused === null) continue;
    model.state = { ...model.state, ...saved };
    return refused;
  }
  return { id: item.id, outcome: "applied", changes: applied };
}

type Step = {
  readonly item: PushItem;
  readonly change: Change;
  readonly author: string;
  readonly applied: Applied;
};

function applyChange(model: Model, step: Step): PushAnswer | null {
  const { change, applied, author } = step;
  const { collection, key, base, kind } = change;
  const { server, state } = model;
  const known = state.records.get(nameOf(collection, key));
  const now = known?.value ?? null;
  const version = known?.version ?? 0;
  const refused = findClash(step, known) ?? findRefusal(model, step, nextValue(change, now));
  if (refused !== null) return refused;
  const next = nextValue(change, now);
  if (isSameJson(now, next)) {
    applied.push({ collection, key, version });
    return null;
  }
  const isOurs = kind === "create" && change.named !== true && server.naming.has(collection);
  const serverKey = isOurs ? `srv-${state.head + 1}` : undefined;
  const touched = kind === "update" ? touchedBy(change) : null;
  const stored = store(
    model,
    { collection, key: serverKey ?? key, value: next, schema: change.schema, author },
    touched,
  );
  applied.push({
    collection,
    key,
    version: stored.version,
    ...(serverKey === undefined ? {} : { serverKey }),
    ...(kind === "update" && version > base ? { value: next } : {}),
  });
  return null;
}

const touchedBy = (change: Change): readonly string[] => [...Object.keys(change.fields), ...(change.unset ?? [])];

/** What the server has changed since the writer saw it. */
function findClash({ item, change }: Step, known: Stored | undefined): PushAnswer | null {
  const { collection, key, base } = change;
  const now = known?.value ?? null;
  const nothing: WireRecord = { collection, key, version: 0, value: null, schema: 1, author: "", at: 0 };
  const remote = known === undefined ? nothing : bare(known);
  const conflict = (kind: "version_mismatch" | "deleted_upstream" | "deleted_here", fields: string[]): PushAnswer => ({
    id: item.id,
    outcome: "conflict",
    kind,
    collection,
    key,
    fields,
    remote,
  });
  if (change.kind === "remove") return now !== null && remote.version > base ? conflict("deleted_here", []) : null;
  if (change.kind === "create")
    return now !== null && !isSameJson(now, change.fields) ? conflict("version_mismatch", []) : null;
  if (known === undefined || now === null) return conflict("deleted_upstream", []);
  const clashing = touchedBy(change).filter(
    (field) =>
      (known.fieldVersions[field] ?? 0) > base &&
      (change.strict?.includes(field) === true || !isSameJson(now[field], change.fields[field])),
  );
  return clashing.length > 0 ? conflict("version_mismatch", clashing) : null;
}

function findRefusal({ server, state }: Model, { item, change }: Step, next: Fields | null): PushAnswer | null {
  const { collection, key } = change;
  const problem = server.rule?.(change, next) ?? null;
  if (problem !== null) return { id: item.id, outcome: "rejected", problem, kind: "business_rule", key, collection };
  const field = server.unique.get(collection);
  if (field === undefined || next === null) return null;
  const twin = [...state.records.values()].find(
    (each) => each.collection === collection && each.key !== key && isSameJson(each.value?.[field], next[field]),
  );
  if (twin === undefined) return null;
  const kind = "unique_violation";
  return { id: item.id, outcome: "conflict", kind, collection, key, fields: [field], remote: bare(twin) };
}

function pull({ server, state, options }: Model, request: PullRequest): PullResponse {
  const { history, floor } = server;
  const base = { history, head: state.head, now: options.now(), floor };
  const isOther = request.history !== "" && request.history !== history;
  const isAhead = request.wants.some(({ after }) => after > state.head);
  const isOld = request.wants.some((want) => want.after > 0 && Math.max(want.after, want.floor ?? 0) < floor);
  if (isOther || isAhead || isOld) {
    const reason = isOther ? "other_history" : isAhead ? "ahead" : "too_old";
    return { ...base, reset: { reason, floor }, records: [], upTo: 0, hasMore: false };
  }
  const limit = Math.min(request.limit, server.isLimited.page);
  const found = [...state.records.values()]
    .filter((record) => {
      const want = request.wants.find(({ collection }) => collection === record.collection);
      if (want === undefined || record.version <= want.after) return false;
      return record.value !== null || record.version > floor;
    })
    .sort((a, b) => a.version - b.version);
  const page = found.slice(0, limit);
  const hasMore = found.length > limit;
  const upTo = hasMore ? (page.at(-1)?.version ?? 0) : state.head;
  const shown = page.flatMap((each) => {
    if (isInReach(server, each)) return [bare(each)];
    const want = request.wants.find(({ collection }) => collection === each.collection);
    return each.born > (want?.after ?? 0) ? [] : [hidden(each)];
  });
  return { ...base, ...viewsOf(server, request), records: shown, upTo, hasMore };
}

function isInReach({ reach }: ModelServer, { collection, value }: WireRecord): boolean {
  return value === null || reach.get(collection)?.isIn(value) !== false;
}

/** Told to whoever may have it from before. */
const hidden = (record: WireRecord): WireRecord => ({ ...bare(record), value: null, author: "", isHidden: true });

function viewsOf({ reach }: ModelServer, { wants }: PullRequest): Pick<PullResponse, "views"> {
  const told = wants.flatMap(({ collection }): [string, string][] => {
    const view = reach.get(collection)?.view;
    return view === undefined ? [] : [[collection, typeof view === "string" ? view : view()]];
  });
  return told.length === 0 ? {} : { views: Object.fromEntries(told) };
}

const bare = ({ collection, key, version, value, schema, author, at }: Stored | WireRecord): WireRecord => ({
  collection,
  key,
  version,
  value,
  schema,
  author,
  at,
});

function nextValue(change: Change, now: Fields | null): Fields | null {
  if (change.kind === "remove") return null;
  if (change.kind === "create") return change.fields;
  const next: Record<string, Json> = { ...now, ...change.fields };
  for (const field of change.unset ?? []) delete next[field];
  return next;
}

export const silence: Answer & Failure = {
  kind: "unknown",
  problem: { code: "connection_reset", message: "the connection broke off" },
  mayHaveLanded: true,
};
