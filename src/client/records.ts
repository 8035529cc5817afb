/**
 * Owns how a program reaches the records of one collection: typed methods over the verbs, transactions, imports in parts.
 * Live queries are `live-query.ts`; what a write does is the engine's.
 */
import { keySourceOf } from "../collection.ts";
import { HoldfastError, isCode } from "../errors.ts";
import { toJson } from "../json.ts";
import { checkOptions } from "../misuse.ts";
import type { Json } from "../operation.ts";
import type { CollectionSpec, Condition, Fields, RecordState, RecordView } from "../record.ts";
import type { Input, Output, RecordEntry, RecordReceipt, RecordWriteInput, Verb } from "../verbs.ts";
import type { Feed } from "./feed.ts";
import { openLiveQuery } from "./live-query.ts";
import type { SyncedOptions, SyncReport, SyncWish } from "./synced.ts";
import type { CallOptions } from "./transport.ts";

/** What names a collection: its declaration, or its name alone, which knows no types. */
export type CollectionLike = CollectionSpec & {
  readonly check?: (value: Json) => Fields;
  readonly "~types"?: { readonly input: unknown; readonly output: unknown };
};

/** The value of a record as it is read. */
export type ValueOf<C> = C extends { readonly "~types"?: infer T }
  ? NonNullable<T> extends { readonly output: infer O }
    ? O
    : Fields
  : Fields;
/** The value of a record as it is written. */
export type InputOf<C> = C extends { readonly "~types"?: infer T }
  ? NonNullable<T> extends { readonly input: infer I }
    ? I
    : Fields
  : Fields;

export type TypedRecord<T> = Omit<RecordView, "value"> & { readonly value: T | null };
export type Written<T> = Omit<RecordReceipt, "record"> & { readonly record: TypedRecord<T> };
export type Page<T> = { readonly records: readonly TypedRecord<T>[]; readonly next: string | null };

/** A field of the value, or what every record has besides: its key, and when it changed here (milliseconds since 1970). */
type Asked<T> = Extract<keyof T, string> | "$key" | "$changed";

export type Query<T> = {
  readonly where?: { readonly [F in Asked<T>]?: Condition };
  readonly order?: readonly {
    readonly field: Asked<T>;
    readonly direction?: "asc" | "desc";
  }[];
  readonly states?: readonly RecordState[];
  readonly limit?: number;
  readonly cursor?: string;
};

export type ImportOptions = {
  /** Names what is imported, so that a repetition goes on where it stopped. */
  readonly source: string;
  /** Field that holds the key. Default: where the declaration says, else keys follow from source and position. */
  readonly key?: string;
  readonly onProgress?: (done: { readonly rows: number }) => void;
  readonly signal?: AbortSignal;
};

export type ImportReport = {
  readonly imported: number;
  readonly unchanged: number;
  readonly refused: readonly { readonly position: number; readonly code: string; readonly message: string }[];
};

/** The records of one collection. Writes are durable when they answer, whether or not the server can be reached. */
export type CollectionHandle<T = Fields, I = T> = {
  readonly name: string;
  readonly create: (value: I, options?: CallOptions & { readonly key?: string }) => Promise<Written<T>>;
  readonly update: (
    key: string,
    fields: Partial<I>,
    options?: CallOptions & { readonly unset?: readonly Extract<keyof T, string>[] },
  ) => Promise<Written<T>>;
  /** A merge patch (RFC 7396), or the steps of a JSON Patch (RFC 6902), whose `test` refuses what is not as it was seen. */
  readonly patch: (key: string, patch: Fields | readonly Json[], options?: CallOptions) => Promise<Written<T>>;
  /** Creates the record or replaces it as a whole. */
  readonly put: (key: string, value: I, options?: CallOptions) => Promise<Written<T>>;
  readonly remove: (key: string, options?: CallOptions) => Promise<Written<T>>;
  /** `null` when there is no record. A removed one that has not reached the server has the value `null`. */
  readonly get: (key: string, options?: CallOptions) => Promise<TypedRecord<T> | null>;
  readonly query: (query?: Query<T>, options?: CallOptions) => Promise<Page<T>>;
  readonly count: (query?: Pick<Query<T>, "where" | "states">, options?: CallOptions) => Promise<number>;
  /** Tells the page now and after each change that alters it; returns the end of it. */
  readonly subscribe: (
    query: Query<T>,
    listener: (page: Page<T>) => void,
    options?: { readonly onError?: (error: unknown) => void },
  ) => () => void;
  readonly history: (
    key: string,
    options?: CallOptions & { readonly limit?: number; readonly before?: number },
  ) => Promise<{ readonly entries: readonly RecordEntry[]; readonly next: number | null }>;
  /** Writes again what the record was after, or before, an entry of its history. */
  readonly restore: (
    key: string,
    sequence: number,
    options?: CallOptions & { readonly side?: "before" | "after" },
  ) => Promise<Written<T>>;
  readonly import: (rows: Iterable<I> | AsyncIterable<I>, options: ImportOptions) => Promise<ImportReport>;
  /** Keeps records here, whatever the cache's budget; `isPinned: false` lets them go again. */
  readonly pin: (
    which: { readonly keys?: readonly string[]; readonly where?: Query<T>["where"]; readonly isPinned?: boolean },
    options?: CallOptions,
  ) => Promise<number>;
  /**
   * Sends what waits, pulls the collection or one record, and resolves when that has ended, with what it moved. `full` reads everything
   * again and keeps unsent work.
   */
  readonly sync: (what?: Omit<SyncWish, "collection">, options?: SyncedOptions) => Promise<SyncReport>;
};

/** The writes of one collection within a transaction; they are collected, and nothing happens before its function returns. */
export type TransactionCollection<T = Fields, I = T> = {
  /** Returns the new record's key, which other writes of the transaction may refer to. */
  readonly create: (value: I, key?: string) => string;
  readonly update: (key: string, fields: Partial<I>, unset?: readonly Extract<keyof T, string>[]) => void;
  readonly patch: (key: string, patch: Fields | readonly Json[]) => void;
  readonly put: (key: string, value: I) => void;
  readonly remove: (key: string) => void;
};

export type Transaction = {
  readonly collection: {
    <const C extends CollectionLike>(definition: C): TransactionCollection<ValueOf<C>, InputOf<C>>;
    (name: string): TransactionCollection;
  };
};

export type TransactionOutcome<R> = {
  readonly records: readonly RecordView[];
  /** The one operation that carries all of it to the server; `null`: nothing to send. */
  readonly operation: string | null;
  /** What the function returned. */
  readonly result: R;
};

export type RecordDependencies = {
  readonly call: <V extends Verb>(verb: V, input: Input<V>, options?: CallOptions) => Promise<unknown>;
  readonly feed: Feed;
  readonly onError: (error: unknown) => void;
  readonly closing: AbortSignal;
  readonly newKey: () => string;
};

/** Rows and bytes of one part of an import: well below what any transport takes at once. */
const importRows = 500;
const importBytes = 2_000_000;
const specNames = "name version space indexes unique merge strategy localOnly keys filter maxBytes isSynced".split(" ");

type Target = { readonly name: string; readonly definition: CollectionLike | null };

type Methods<K extends keyof CollectionHandle> = Pick<CollectionHandle, K>;

/** The methods on one collection. */
export function openCollection(deps: RecordDependencies, like: CollectionLike | string): CollectionHandle {
  const target = targetOf(like);
  const call = declaring(deps, target);
  const { name } = target;
  return {
    name,
    ...writingOf(call, target),
    ...readingOf(deps, call, name),
    import: (rows, options) => importAll({ call, target }, rows, options),
    pin: async ({ keys, where, isPinned = true }, options) =>
      (
        (await call(
          "records.pin",
          {
            collection: name,
            isPinned,
            ...given({ keys: keys as string[], where: where as Input<"records.pin">["where"] }),
          },
          options,
        )) as { changed: number }
      ).changed,
    // Loaded when it is wanted: a page that only reads and writes does not pay for it.
    sync: async (what = {}, options) =>
      (await import("./synced.ts")).syncUntilEnd({ ...deps, call }, { collection: name, ...what }, options),
  };
}

type Call = RecordDependencies["call"];

function writingOf(call: Call, target: Target): Methods<"create" | "update" | "patch" | "put" | "remove" | "restore"> {
  const { name } = target;
  const write = (input: RecordWriteInput, options?: CallOptions) =>
    call("records.write", input, options) as Promise<Written<Fields>>;
  return {
    create: async (value, { key, ...options } = {}) =>
      write(
        { kind: "create", collection: name, ...keyFor(target, value, key), value: checked(target, value) },
        options,
      ),
    update: async (key, fields, { unset, ...options } = {}) =>
      write(
        { kind: "update", collection: name, key, fields: fields as Fields, ...given({ unset: unset as string[] }) },
        options,
      ),
    patch: async (key, patch, options) => write(patchOf(name, key, patch), options),
    put: async (key, value, options) =>
      write({ kind: "put", collection: name, key, value: checked(target, value) }, options),
    remove: async (key, options) => write({ kind: "remove", collection: name, key }, options),
    restore: async (key, sequence, { side, ...options } = {}) =>
      call("records.restore", { collection: name, key, sequence, ...given({ side }) }, options) as Promise<
        Written<Fields>
      >,
  };
}

function readingOf(
  deps: RecordDependencies,
  call: Call,
  name: string,
): Methods<"get" | "query" | "count" | "subscribe" | "history"> {
  const query = (asked: Query<Fields> = {}, options?: CallOptions) =>
    call("records.query", { collection: name, ...(asked as object) }, options) as Promise<Page<Fields>>;
  return {
    get: async (key, options) =>
      ((await call("records.get", { collection: name, key }, options)) as { record: TypedRecord<Fields> | null })
        .record,
    query,
    count: async (asked = {}, options) =>
      ((await call("records.count", { collection: name, ...(asked as object) }, options)) as { count: number }).count,
    subscribe: (asked, listener, options = {}) => {
      if (typeof listener !== "function")
        throw new TypeError(`collection "${name}": subscribe takes a query and a function: subscribe({}, (page) => …)`);
      checkOptions(`collection "${name}": subscribe`, options, ["onError"]);
      const { feed, closing } = deps;
      const onError = options.onError ?? deps.onError;
      return openLiveQuery({
        feed,
        collection: name,
        ask: (signal) => query(asked, { signal }),
        ...lookingAtOne(call, name, asked),
        listener,
        onError,
        closing,
      });
    },
    history: async (key, { limit, before, ...options } = {}) =>
      call("records.history", { collection: name, key, ...given({ limit, before }) }, options) as ReturnType<
        CollectionHandle["history"]
      >,
  };
}

/** How a live query looks at one record. Places are given by fields of indexes, as long as the order is none of the record's own. */
function lookingAtOne(call: Call, name: string, { where = {}, order = [], cursor, ...rest }: Query<Fields>) {
  const named = [...Object.keys(where), ...order.map(({ field }) => field)];
  const isOwn = cursor !== undefined || named.length > 9 || named.some((field) => field.startsWith("$"));
  const askOne = (key: string, signal: AbortSignal) =>
    call(
      "records.query",
      { collection: name, ...(rest as object), where: { ...where, $key: key } },
      { signal },
    ) as Promise<Page<Fields>>;
  const places = async (signal: AbortSignal): Promise<readonly string[] | null> => {
    const { collections } = (await call("collections.list", {}, { signal })) as Output<"collections.list">;
    const spec = collections.find((each) => each.spec.name === name)?.spec;
    if (spec === undefined || spec.keys === "server") return null;
    const fields = [...(spec.indexes ?? []), ...(spec.unique ?? [])].flat();
    // `$changed` in an index moves a record with every change, and no value says so.
    return fields.some((field) => field.startsWith("$") && field !== "$key") ? null : fields;
  };
  return { askOne: isOwn ? null : askOne, places };
}

/** Collects the writes of a function, then asks for all of them at once. */
export async function runTransaction<R>(
  deps: RecordDependencies,
  work: (tx: Transaction) => R,
  options?: CallOptions,
): Promise<TransactionOutcome<R>> {
  if (typeof work !== "function") throw new TypeError("transaction takes a function: transaction((tx) => { … })");
  const writes: RecordWriteInput[] = [];
  const targets: Target[] = [];
  let isOpen = true;
  const add = (target: Target, input: RecordWriteInput): void => {
    if (!isOpen) throw new TypeError("this transaction is over: write in its function, without await");
    targets.push(target);
    writes.push(input);
  };
  const tx = { collection: (like: CollectionLike | string) => collect(deps, targetOf(like), add) };
  const result = work(tx as Transaction);
  isOpen = false;
  if (typeof (result as { readonly then?: unknown } | null)?.then === "function") {
    Promise.resolve(result).catch(() => {});
    throw new TypeError("a transaction's function may not be async: read first, then write");
  }
  if (writes.length === 0) return { records: [], operation: null, result };
  const call = targets.reduce((next, target) => declaring({ ...deps, call: next }, target), deps.call);
  const answer = (await call("records.transaction", { writes }, options)) as Output<"records.transaction">;
  return { ...answer, result } as TransactionOutcome<R>;
}

function collect(
  deps: RecordDependencies,
  target: Target,
  add: (target: Target, input: RecordWriteInput) => void,
): TransactionCollection {
  const { name } = target;
  return {
    create: (value, wanted) => {
      const key = keyFor(target, value, wanted).key ?? deps.newKey();
      add(target, { kind: "create", collection: name, key, value: checked(target, value) });
      return key;
    },
    update: (key, fields, unset) =>
      add(target, {
        kind: "update",
        collection: name,
        key,
        fields: fields as Fields,
        ...given({ unset: unset as string[] }),
      }),
    patch: (key, patch) => add(target, patchOf(name, key, patch)),
    put: (key, value) => add(target, { kind: "put", collection: name, key, value: checked(target, value) }),
    remove: (key) => add(target, { kind: "remove", collection: name, key }),
  };
}

const patchOf = (collection: string, key: string, patch: Fields | readonly Json[]): RecordWriteInput =>
  ({ kind: "patch", collection, key, patch: toJson(patch, "patch") }) as RecordWriteInput;

function targetOf(like: CollectionLike | string): Target {
  if (typeof like === "string" && like !== "") return { name: like, definition: null };
  if (typeof like === "object" && like !== null && typeof like.name === "string")
    return { name: like.name, definition: like };
  throw new TypeError('collection takes a declared collection or a name: client.collection("notes")');
}

/** An engine that does not know the collection yet is told what it is, once, and asked again. */
function declaring(deps: Pick<RecordDependencies, "call">, { definition, name }: Target): RecordDependencies["call"] {
  if (definition === null) return deps.call;
  return async (verb, input, options) => {
    try {
      return await deps.call(verb, input, options);
    } catch (error) {
      if (!isCode(error, "not_found") || error.details?.collection !== name) throw error;
      const spec = Object.entries(definition).filter(([each]) => specNames.includes(each));
      await deps.call(
        "collections.declare",
        Object.fromEntries(spec) as CollectionSpec as Input<"collections.declare">,
        options,
      );
      return deps.call(verb, input, options);
    }
  };
}

/** The declaration's own check runs here as well: the engine behind a wire may know the collection without its code. */
function checked({ definition }: Target, value: unknown): Fields {
  const travelling = toJson(value, "value") as Json;
  return definition?.check === undefined ? (travelling as Fields) : definition.check(travelling);
}

function keyFor({ name, definition }: Target, value: unknown, wanted: string | undefined): { readonly key?: string } {
  if (wanted !== undefined) return { key: wanted };
  const source = definition === null ? undefined : keySourceOf(definition);
  if (source === undefined) return {};
  const made =
    typeof source === "function" ? source(value as never) : (value as Readonly<Record<string, unknown>>)[source];
  if (typeof made === "number" || (typeof made === "string" && made !== "")) return { key: String(made) };
  throw new HoldfastError(
    "invalid_input",
    `collection "${name}": the key that ${typeof source === "string" ? source : "its function"} gives is no text`,
    "give the value a key, or pass one as an option",
  );
}

type Importing = { readonly call: RecordDependencies["call"]; readonly target: Target };

async function importAll(
  { call, target }: Importing,
  rows: Iterable<Fields> | AsyncIterable<Fields>,
  options: ImportOptions,
): Promise<ImportReport> {
  checkOptions(`collection "${target.name}": import`, options, ["source", "key", "onProgress", "signal"]);
  const source = target.definition === null ? undefined : keySourceOf(target.definition);
  const key = options.key ?? (typeof source === "string" ? source : undefined);
  const report = { imported: 0, unchanged: 0, refused: [] as ImportReport["refused"][number][] };
  let part: Fields[] = [];
  let bytes = 0;
  let offset = 0;
  let position = 0;
  const send = async (): Promise<void> => {
    if (part.length === 0) return;
    const input = { collection: target.name, rows: part, source: options.source, offset, ...given({ key }) };
    const answer = (await call("records.import", input, given({ signal: options.signal }))) as Output<"records.import">;
    report.imported += answer.imported;
    report.unchanged += answer.unchanged;
    report.refused.push(...answer.refused);
    offset = Math.max(position, answer.nextOffset);
    part = [];
    bytes = 0;
    options.onProgress?.({ rows: offset });
  };
  for await (const row of rows) {
    // What an earlier run has brought in is passed over.
    if (position >= offset) {
      part.push(row);
      bytes += JSON.stringify(row).length;
    }
    position += 1;
    if (part.length >= importRows || bytes >= importBytes) await send();
  }
  await send();
  return report;
}

type Given<T> = { readonly [K in keyof T]?: Exclude<T[K], undefined> };

/** The properties that have a value: an absent one and one that is undefined are not the same on every way. */
function given<T extends object>(values: T): Given<T> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as Given<T>;
}
