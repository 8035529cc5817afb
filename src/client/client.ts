/**
 * Owns the one typed client: its methods from the verb table, its handles on queued operations, and its misuse messages.
 * How calls and events travel is the transport's; what the verbs mean is the engine's.
 */

import { HoldfastError } from "../errors.ts";
import { newUuidV7, uuidRandomBytes } from "../id.ts";
import { requestDepth, toJson } from "../json.ts";
import { checkOptions, misspelt, nearest } from "../misuse.ts";
import type { Operation } from "../operation.ts";
import { verbKinds } from "../verb-names.ts";
import type { AddInput, Input, Output, Receipt, Verb } from "../verbs.ts";
import { directTransport } from "./direct.ts";
import { openFeed } from "./feed.ts";
import type { HttpOptions } from "./http.ts";
import { httpTransport } from "./http.ts";
import type { PortLike } from "./port.ts";
import { portTransport } from "./port.ts";
import type { CollectionHandle, CollectionLike, InputOf, Transaction, TransactionOutcome, ValueOf } from "./records.ts";
import { openCollection, runTransaction } from "./records.ts";
import type { SettledOptions } from "./settled.ts";
import { waitUntilSettled } from "./settled.ts";
import type { SyncedOptions, SyncReport, SyncWish } from "./synced.ts";
import type { CallOptions, EngineLike, Listener, SubscribeOptions, Transport } from "./transport.ts";
import { abortedBy, orAborted } from "./waiting.ts";

/** A receipt that can be waited on. The operation is durable already. */
export type QueuedOperation = Receipt & {
  /** Resolves when the operation has ended, or is parked with `status: "failed"`. */
  readonly settled: (options?: SettledOptions) => Promise<Operation>;
};

type Result<V extends Verb> = V extends "queue.add"
  ? QueuedOperation
  : V extends "queue.addMany"
    ? { readonly receipts: readonly QueuedOperation[] }
    : Output<V>;

type Method<V extends Verb> =
  Record<never, never> extends Input<V>
    ? (input?: Input<V>, options?: CallOptions) => Promise<Result<V>>
    : (input: Input<V>, options?: CallOptions) => Promise<Result<V>>;

type Noun = Verb extends `${infer N}.${string}` ? N : never;
type MethodsOf<N extends Noun> = { readonly [V in Verb as V extends `${N}.${infer M}` ? M : never]: Method<V> };

/** One method per verb (`client.queue.add`), and what goes beyond single verbs. */
export type Client = { readonly [N in Noun]: MethodsOf<N> } & {
  /** Calls a verb by its name. */
  readonly call: <V extends Verb>(verb: V, input: Input<V>, options?: CallOptions) => Promise<Result<V>>;
  /** Tells the listener every event, each once and in order, across reconnects; returns the end of it. */
  readonly subscribe: (listener: Listener, options?: SubscribeOptions) => () => void;
  /** Waits for the end of any operation; `id` may be a short one. */
  readonly settled: (id: string, options?: SettledOptions) => Promise<Operation>;
  /** Sends what waits, pulls every collection, and resolves when that has ended, with what it moved. */
  readonly synced: (options?: SyncedOptions & Pick<SyncWish, "full">) => Promise<SyncReport>;
  /** The records of one collection: typed by its declaration, or reached by its name alone. */
  readonly collection: {
    <const C extends CollectionLike>(definition: C): CollectionHandle<ValueOf<C>, InputOf<C>>;
    (name: string): CollectionHandle;
  };
  /** Writes several records, all or none, here and at the server. The function only collects; it may not be async. */
  readonly transaction: <R>(work: (tx: Transaction) => R, options?: CallOptions) => Promise<TransactionOutcome<R>>;
  readonly close: () => Promise<void>;
  readonly [Symbol.asyncDispose]: () => Promise<void>;
};

type Common = {
  /** Hears of listeners that throw. Default: `console.error`. */
  readonly onError?: (error: unknown) => void;
};

export type ConnectOptions = Common &
  ({ readonly engine: EngineLike } | HttpOptions | { readonly port: PortLike } | { readonly transport: Transport });

const kinds = ["engine", "url", "port", "transport"] as const;
const optionNames = [...kinds, "token", "fetch", "onError"];
const members = ["call", "subscribe", "settled", "synced", "collection", "transaction", "close"];

/**
 * Connects to an engine: in this process, behind a daemon's URL, behind a `MessagePort`, or over a transport of your own.
 * @example
 * const client = connect({ engine });
 * const note = await client.queue.add({ type: "http.request", payload: { method: "POST", url, body: { json: { title: "Tides" } } } });
 * const { status } = await note.settled({ timeoutMs: 30_000 });
 */
export function connect(options: ConnectOptions): Client {
  const transport = transportOf(options);
  const onError = options.onError ?? ((error: unknown) => console.error(error));
  const feed = openFeed(transport, onError);
  const closing = new AbortController();

  const send = async <V extends Verb>(verb: V, input: Input<V>, callOptions: CallOptions = {}): Promise<Output<V>> => {
    const { signal } = callOptions;
    // An abort that came before the call means that nothing may happen.
    if (signal?.aborted === true) throw abortedBy(signal, verb);
    return orAborted(transport.call(verb, input, callOptions), verb, signal);
  };
  const settled = (id: string, settledOptions: SettledOptions = {}): Promise<Operation> => {
    checkOptions("settled", settledOptions, ["signal", "timeoutMs"]);
    const get = (each: string, callOptions: CallOptions) =>
      send("queue.get", { id: each }, callOptions) as Promise<Operation>;
    return waitUntilSettled({ feed, get, closing: closing.signal }, id, settledOptions);
  };
  const call = async <V extends Verb>(verb: V, input: Input<V>, callOptions?: CallOptions): Promise<Result<V>> => {
    if (!Object.hasOwn(verbKinds, verb))
      throw new TypeError(misspelt("the verb", String(verb), Object.keys(verbKinds)));
    checkOptions(verb, callOptions, ["signal"]);
    const output = await send(verb, withIds(verb, toJson(input ?? {}, "input", requestDepth) as Input<V>), callOptions);
    return withHandles(verb, output, settled);
  };
  const close = async (): Promise<void> => {
    closing.abort();
    feed.close();
    await transport.close();
  };
  const subscribe = (listener: Listener, subscribeOptions: SubscribeOptions = {}): (() => void) => {
    if (typeof listener !== "function") throw new TypeError("subscribe takes a function that hears of every event");
    checkOptions("subscribe", subscribeOptions, ["after", "onGap"]);
    const { after = 0 } = subscribeOptions;
    // A place that no feed has would be asked for again and again by the transports that reconnect.
    if (!Number.isSafeInteger(after) || after < 0)
      throw new HoldfastError("invalid_input", `subscribe: after is ${after}`, "give the sequence of an event, or 0");
    return feed.subscribe(listener, subscribeOptions);
  };
  const records = { call, feed, onError, closing: closing.signal, newKey: newOperationId };
  const collection = (like: CollectionLike | string): object => {
    const handle = openCollection(records, like);
    return guardNames(`client.collection("${handle.name}")`, handle, []);
  };
  const transaction = <R>(work: (tx: Transaction) => R, callOptions?: CallOptions): Promise<TransactionOutcome<R>> =>
    runTransaction(records, work, callOptions);
  const synced: Client["synced"] = async ({ full, ...rest } = {}) =>
    (await import("./synced.ts")).syncUntilEnd(records, full === undefined ? {} : { full }, rest);
  const more = { call, subscribe, settled, synced, collection, transaction, close, [Symbol.asyncDispose]: close };
  const client = { ...methodsOf(call), ...more };
  return guardNames("client", client, members) as Client;
}

function transportOf(options: ConnectOptions): Transport {
  checkOptions("connect", options, optionNames);
  const given = kinds.filter((kind) => (options as Record<string, unknown> | undefined)?.[kind] !== undefined);
  if (given.length !== 1)
    throw new TypeError(`connect takes exactly one of ${kinds.join(", ")}; got ${given.join(" and ") || "none"}`);
  if ("engine" in options) return directTransport(options.engine);
  if ("port" in options) return portTransport(options.port);
  if ("transport" in options) return options.transport;
  return httpTransport(options);
}

type AnyCall = (verb: Verb, input: never, options?: CallOptions) => Promise<unknown>;

/** One object per noun, one method per verb. */
function methodsOf(call: AnyCall): Record<string, object> {
  const nouns: Record<string, Record<string, unknown>> = {};
  for (const verb of Object.keys(verbKinds) as Verb[]) {
    const [noun = "", name = ""] = verb.split(".");
    nouns[noun] ??= {};
    nouns[noun][name] = (input: unknown, options?: CallOptions) => call(verb, (input ?? {}) as never, options);
  }
  return Object.fromEntries(
    Object.entries(nouns).map(([noun, methods]) => [noun, guardNames(`client.${noun}`, methods, [])]),
  );
}

/**
 * Makes a name that is nearly right a `TypeError` with the right one. Names that resemble nothing stay `undefined`,
 * because frameworks and `await` ask any object for names of their own.
 */
function guardNames(path: string, target: object, more: readonly string[]): object {
  return new Proxy(target, {
    get: (object, name, receiver) => {
      if (typeof name === "symbol" || name in object) return Reflect.get(object, name, receiver);
      const meant = nearest(name, [...Object.keys(object), ...more]);
      if (meant === null || name === "then") return undefined;
      throw new TypeError(`${path}.${name} does not exist; did you mean ${path}.${meant}?`);
    },
  });
}

/** An enqueue carries its id from here on, so that it can be repeated when its answer is lost. */
function withIds<V extends Verb>(verb: V, input: Input<V>): Input<V> {
  if (verb === "queue.add") return withId(input as AddInput) as Input<V>;
  if (verb !== "queue.addMany") return input;
  const { operations } = input as Input<"queue.addMany">;
  return (Array.isArray(operations) ? { ...(input as object), operations: operations.map(withId) } : input) as Input<V>;
}

function withId(input: AddInput): AddInput {
  if (typeof input !== "object" || input === null || input.id !== undefined) return input;
  return { ...input, id: newOperationId() };
}

/** Random bytes are drawn for many ids at once: asking the system for them costs more than all the rest of an id. */
const pool = new Uint8Array(uuidRandomBytes * 128);
let used = pool.length;

/** A fresh operation id, for callers that want to know it before the operation is queued. */
export function newOperationId(): string {
  if (used === pool.length) {
    crypto.getRandomValues(pool);
    used = 0;
  }
  used += uuidRandomBytes;
  return newUuidV7(Date.now(), pool, used - uuidRandomBytes);
}

type Settled = (id: string, options?: SettledOptions) => Promise<Operation>;

function withHandles<V extends Verb>(verb: V, output: Output<V>, settled: Settled): Result<V> {
  if (verb === "queue.add") return handleOn(output as Receipt, settled) as Result<V>;
  if (verb !== "queue.addMany") return output as Result<V>;
  const { receipts } = output as { readonly receipts: readonly Receipt[] };
  return { receipts: receipts.map((receipt) => handleOn(receipt, settled)) } as Result<V>;
}

/** `settled` is not enumerable, so that a receipt still prints, compares and travels as the plain value it is. */
function handleOn(receipt: Receipt, settled: Settled): QueuedOperation {
  return Object.defineProperty({ ...receipt }, "settled", {
    value: (options?: SettledOptions) => settled(receipt.id, options),
  }) as QueuedOperation;
}
