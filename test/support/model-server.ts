// Owns a sync server in memory for tests of the engine: the rules of docs/protocol.md in their shortest form, and switches for faults.
// The real server is src/server/; this one shares no code with it, so that a mistake is not made twice.
import { isSameJson } from "../../src/canonical.ts";
import type { Answer, Json } from "../../src/operation.ts";
import type { Change, Fields } from "../../src/record.ts";
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
  pullRequest,
  pullResponse,
  pushRequest,
  pushResponse,
  readWire,
} from "../../src/wire.ts";
import type { Reply, SyncPort } from "../../src/world.ts";

type Stored = WireRecord & { readonly fieldVersions: Readonly<Record<string, number>> };
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
  delayMs: number;
  /** Pokes are told only while this is true. */
  isPoking: boolean;
  floor: number;
  history: string;
  readonly head: () => number;
  readonly get: (collection: string, key: string) => WireRecord | undefined;
  readonly all: (collection: string) => Readonly<Record<string, Fields>>;
  /** Writes as another client does. */
  readonly write: (collection: string, key: string, value: Fields | null, author?: string) => number;
  /** A copy of everything, and going back to it under another history. */
  readonly backup: () => unknown;
  readonly restore: (backup: unknown, history: string) => void;
  readonly isLimited: { page: number };
};

type State = {
  head: number;
  readonly records: Map<string, Stored>;
  readonly receipts: Map<string, PushAnswer>;
};

export type ModelOptions = { readonly now: () => number; readonly wait: (ms: number) => Promise<void> };

export function newModelServer(options: ModelOptions): ModelServer {
  let state: State = { head: 0, records: new Map(), receipts: new Map() };
  const watchers = new Set<{ readonly space: string; readonly listener: (poke: Poke) => void }>();
  const nameOf = (collection: string, key: string): string => `${collection}\n${key}`;
  const tell = (): void => {
    if (!server.isPoking) return;
    for (const { space, listener } of watchers) listener({ space, head: state.head });
  };
  const store = (
    record: Omit<Stored, "version" | "at" | "fieldVersions">,
    touched: readonly string[] | null,
  ): Stored => {
    state.head += 1;
    const before = state.records.get(nameOf(record.collection, record.key));
    const names = touched ?? [...Object.keys(record.value ?? {}), ...Object.keys(before?.value ?? {})];
    const fieldVersions = { ...before?.fieldVersions, ...Object.fromEntries(names.map((name) => [name, state.head])) };
    const stored = { ...record, version: state.head, at: options.now(), fieldVersions };
    state.records.set(nameOf(record.collection, record.key), stored);
    return stored;
  };
  const apply = (item: PushItem, author: string): PushAnswer => {
    const saved = { head: state.head, records: new Map(state.records) };
    const applied: Applied = [];
    for (const change of item.changes) {
      const refused = applyOne(item, change as Change, author, applied);
      if (refused === null) continue;
      state = { ...state, ...saved };
      return refused;
    }
    return { id: item.id, outcome: "applied", changes: applied };
  };
  const applyOne = (item: PushItem, change: Change, author: string, applied: Applied): PushAnswer | null => {
    const { collection, key, base } = change;
    const known = state.records.get(nameOf(collection, key));
    const now = known?.value ?? null;
    const version = known?.version ?? 0;
    const conflict = (
      kind: "version_mismatch" | "deleted_upstream" | "deleted_here",
      fields: string[],
    ): PushAnswer => ({
      id: item.id,
      outcome: "conflict",
      kind,
      collection,
      key,
      fields,
      remote:
        known === undefined ? { collection, key, version: 0, value: null, schema: 1, author: "", at: 0 } : bare(known),
    });
    if (change.kind === "remove") {
      if (known === undefined || now === null) {
        applied.push({ collection, key, version });
        return null;
      }
      if (version > base) return conflict("deleted_here", []);
    }
    if (change.kind === "update") {
      if (known === undefined || now === null) return conflict("deleted_upstream", []);
      const touched = [...Object.keys(change.fields), ...(change.unset ?? [])];
      const clashing = touched.filter(
        (field) =>
          (known.fieldVersions[field] ?? 0) > base &&
          (change.strict?.includes(field) === true || !isSameJson(now[field], change.fields[field])),
      );
      if (clashing.length > 0) return conflict("version_mismatch", clashing);
    }
    if (change.kind === "create" && now !== null && !isSameJson(now, change.fields))
      return conflict("version_mismatch", []);
    const next = nextValue(change, now);
    const problem = server.rule?.(change, next) ?? null;
    if (problem !== null) return { id: item.id, outcome: "rejected", problem, kind: "business_rule", key, collection };
    const unique = server.unique.get(collection);
    const twin =
      unique === undefined || next === null
        ? undefined
        : [...state.records.values()].find(
            (each) =>
              each.collection === collection &&
              each.key !== key &&
              each.value !== null &&
              isSameJson(each.value[unique], next[unique]),
          );
    if (twin !== undefined)
      return {
        id: item.id,
        outcome: "conflict",
        kind: "unique_violation",
        collection,
        key,
        fields: [unique ?? ""],
        remote: bare(twin),
      };
    if (isSameJson(now, next)) {
      applied.push({ collection, key, version });
      return null;
    }
    const serverKey = change.kind === "create" && server.naming.has(collection) ? `srv-${state.head + 1}` : undefined;
    const touched = change.kind === "update" ? [...Object.keys(change.fields), ...(change.unset ?? [])] : null;
    const stored = store({ collection, key: serverKey ?? key, value: next, schema: change.schema, author }, touched);
    const isMerged = change.kind === "update" && version > base;
    applied.push({
      collection,
      key,
      version: stored.version,
      ...(serverKey === undefined ? {} : { serverKey }),
      ...(isMerged ? { value: next } : {}),
    });
    return null;
  };
  const push = (request: PushRequest, author: string): PushResponse => {
    const answers = request.items.map((item): PushAnswer => {
      const known = state.receipts.get(item.id);
      if (known !== undefined) return known.outcome === "applied" ? { ...known, outcome: "duplicate" } : known;
      const answer = apply(item, author);
      state.receipts.set(item.id, answer);
      return answer;
    });
    tell();
    return { answers, now: options.now() };
  };
  const pull = (request: PullRequest): PullResponse => {
    const { history } = server;
    const base = { history, head: state.head, now: options.now() };
    const isOther = request.history !== "" && request.history !== history;
    const isAhead = request.wants.some(({ after }) => after > state.head);
    const isOld = request.wants.some(({ after }) => after > 0 && after < server.floor);
    if (isOther || isAhead || isOld) {
      const reason = isOther ? "other_history" : isAhead ? "ahead" : "too_old";
      return { ...base, reset: { reason, floor: server.floor }, records: [], upTo: 0, hasMore: false };
    }
    const limit = Math.min(request.limit, server.isLimited.page);
    const found = [...state.records.values()]
      .filter((record) => {
        const want = request.wants.find(({ collection }) => collection === record.collection);
        if (want === undefined || record.version <= want.after) return false;
        return record.value !== null || record.version > server.floor;
      })
      .sort((a, b) => a.version - b.version);
    const page = found.slice(0, limit);
    const hasMore = found.length > limit;
    return { ...base, records: page.map(bare), upTo: hasMore ? (page.at(-1)?.version ?? 0) : state.head, hasMore };
  };
  const answer = <T>(what: "push" | "pull" | "fetch", request: unknown, work: () => T): Promise<Reply<T>> => {
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
  };
  const server: ModelServer = {
    log: [],
    faults: [],
    rule: null,
    naming: new Set(),
    unique: new Map(),
    delayMs: 5,
    isPoking: true,
    floor: 0,
    history: "h1",
    isLimited: { page: 5_000 },
    head: () => state.head,
    get: (collection, key) => state.records.get(nameOf(collection, key)),
    all: (collection) =>
      Object.fromEntries(
        [...state.records.values()]
          .filter((each) => each.collection === collection && each.value !== null)
          .map((each) => [each.key, each.value as Fields]),
      ),
    write: (collection, key, value, author = "server") => {
      const before = state.records.get(nameOf(collection, key))?.value ?? null;
      const names = [...new Set([...Object.keys(before ?? {}), ...Object.keys(value ?? {})])];
      const touched = names.filter((name) => !isSameJson(before?.[name], value?.[name]));
      const { version } = store({ collection, key, value, schema: 1, author }, touched);
      tell();
      return version;
    },
    backup: () => structuredClone(state),
    restore: (backup, history) => {
      state = structuredClone(backup) as State;
      server.history = history;
    },
    port: ({ author = "somebody", subject = "" } = {}) => ({
      remote: "https://sync.example",
      space: "main",
      subject,
      push: (request) =>
        answer("push", request, () =>
          readWire("answer", pushResponse, push(readWire("push", pushRequest, request), author)),
        ),
      pull: (request) =>
        answer("pull", request, () => readWire("answer", pullResponse, pull(readWire("pull", pullRequest, request)))),
      fetch: (request) =>
        answer("fetch", request, () => {
          const { collection, keys } = readWire("fetch", fetchRequest, request);
          const records = keys.flatMap((key) => {
            const found = state.records.get(nameOf(collection, key));
            return found === undefined ? [] : [bare(found)];
          });
          const { history } = server;
          return readWire("answer", fetchResponse, { history, head: state.head, records, now: options.now() });
        }),
      watch: (space, listener) => {
        const watcher = { space, listener };
        watchers.add(watcher);
        return () => watchers.delete(watcher);
      },
    }),
  };
  return server;
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
