/**
 * Owns the transport to a daemon: calls as JSON over HTTP, lost answers asked for again where that is safe, errors read back.
 * Events are in `sse.ts`; how bytes travel (`fetch`, a Unix socket) is an `Exchange`, so Node brings its own.
 */
import { errorFrom, errorTable, HoldfastError } from "../errors.ts";
import { isRepeatable } from "../verb-names.ts";
import type { Input, Output, Verb } from "../verbs.ts";
import { gatherAdds } from "./gather.ts";
import type { Stream } from "./sse.ts";
import { openStream } from "./sse.ts";
import type { CallOptions, Transport } from "./transport.ts";
import { abortedBy, delay, linkSignals } from "./waiting.ts";

/** How often a safe request is sent again after a connection that broke: a kept-alive one may have been dead for hours. */
const repeats = 2;
const repeatAfterMs = 50;
/** A daemon that is alive answers within this time, also to the slowest verb. */
const defaultTimeoutMs = 60_000;

export type HttpOptions = {
  /** The daemon's origin, e.g. "http://127.0.0.1:4190". */
  readonly url: string;
  readonly token?: string;
  /** A `fetch` to use instead of the global one. */
  readonly fetch?: typeof fetch;
};

/** One HTTP request below the transport; `path` begins with a slash. */
export type ExchangeRequest = {
  readonly method: "GET" | "POST";
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly signal: AbortSignal;
};

export type ExchangeAnswer = {
  readonly status: number;
  readonly contentType: string;
  readonly text: () => Promise<string>;
  readonly chunks: () => AsyncIterable<Uint8Array>;
};

/** Sends one request. Rejects with a `HoldfastError` of its own, or with anything when no answer came. */
export type Exchange = (request: ExchangeRequest) => Promise<ExchangeAnswer>;

/** A transport to a daemon by its URL; works in browsers and everywhere else that has `fetch`. */
export function httpTransport(options: HttpOptions): Transport {
  return exchangeTransport(fetchExchange(options), options.url);
}

/** A transport over any exchange. `name` is how the daemon is called in messages. */
export function exchangeTransport(exchange: Exchange, name: string, timeoutMs: number = defaultTimeoutMs): Transport {
  const closing = new AbortController();
  // Calls wait until every open stream has its place in the feed, so that a listener hears of everything that was
  // called after `subscribe` returned.
  const streams = new Set<Stream>();
  const line = { exchange, name, timeoutMs };
  const send = <V extends Verb>(verb: V, input: Input<V>, signals: readonly AbortSignal[]): Promise<Output<V>> =>
    sendRepeatedly(line, verb, { input, body: JSON.stringify(input), signals: [closing.signal, ...signals] });
  const addGathered = gatherAdds({
    one: (input) => send("queue.add", input, []),
    many: async (operations, texts) => {
      const body = `{"operations":[${texts.join(",")}]}`;
      const call = { input: { operations: [...operations] }, body, signals: [closing.signal] };
      return (await sendRepeatedly(line, "queue.addMany", call)).receipts;
    },
  });

  return {
    call: async <V extends Verb>(verb: V, input: Input<V>, { signal }: CallOptions = {}): Promise<Output<V>> => {
      for (const stream of streams) {
        if (stream.isPlaced()) continue;
        await stream.findPlace().catch((error) => {
          // A listener that has left meanwhile needs no place, and can find none.
          if (streams.has(stream)) throw error;
        });
      }
      // Whoever may abort its call has a request of its own to abort.
      if (verb === "queue.add" && signal === undefined)
        return addGathered(input as Input<"queue.add">) as Promise<unknown> as Promise<Output<V>>;
      return send(verb, input, signal === undefined ? [] : [signal]);
    },
    subscribe: (listener, options = {}) => {
      if (closing.signal.aborted) throw closed(name);
      const stopping = new AbortController();
      const linked = linkSignals([stopping.signal, closing.signal], null);
      const { signal } = linked;
      const readLast = async (): Promise<number> =>
        (await send("events.list", { after: Number.MAX_SAFE_INTEGER, limit: 1 }, [signal])).last;
      const stream = openStream({ exchange, readLast, signal }, listener, options);
      streams.add(stream);
      return () => {
        streams.delete(stream);
        stopping.abort();
        linked.release();
      };
    },
    close: async () => closing.abort(),
  };
}

type Line = { readonly exchange: Exchange; readonly name: string; readonly timeoutMs: number };
type Call<V extends Verb> = {
  readonly input: Input<V>;
  /** The input as JSON. */
  readonly body: string;
  readonly signals: readonly AbortSignal[];
};

async function sendRepeatedly<V extends Verb>(line: Line, verb: V, call: Call<V>): Promise<Output<V>> {
  const linked = linkSignals(call.signals, line.timeoutMs);
  const { signal } = linked;
  const { body } = call;
  const headers = { "content-type": "application/json", accept: "application/json" };
  try {
    for (let sent = 1; ; sent += 1) {
      try {
        const answer = await line.exchange({ method: "POST", path: `/v1/${verb}`, headers, body, signal });
        return (await readAnswer(answer, line.name)) as Output<V>;
      } catch (error) {
        const reason = judge(error, { line, verb, call, isLate: linked.isLate() });
        const canRepeat = reason.code === "daemon_unreachable" && isRepeatable(verb, call.input);
        if (!canRepeat || sent > repeats) throw reason;
        await delay(repeatAfterMs * sent, signal);
      }
    }
  } finally {
    linked.release();
  }
}

type Failed<V extends Verb> = {
  readonly line: Line;
  readonly verb: V;
  readonly call: Call<V>;
  readonly isLate: boolean;
};

function judge<V extends Verb>(error: unknown, { line, verb, call, isLate }: Failed<V>): HoldfastError {
  const [closing, ...callers] = call.signals;
  const caller = callers.find((signal) => signal.aborted);
  if (caller !== undefined) return abortedBy(caller, verb);
  if (closing?.aborted === true) return closed(line.name);
  if (isLate) {
    return new HoldfastError(
      "timed_out",
      `${verb}: the daemon at ${line.name} did not answer within ${line.timeoutMs} ms`,
      "look at `holdfast daemon logs`",
    );
  }
  return error instanceof HoldfastError ? error : unreachableDaemon(line.name, error);
}

/** What no answer at all becomes. */
function unreachableDaemon(name: string, cause: unknown): HoldfastError {
  const inner = cause instanceof Error && cause.cause instanceof Error ? cause.cause : cause;
  const words = inner instanceof Error ? inner.message || inner.name : String(inner);
  return new HoldfastError(
    "daemon_unreachable",
    `no answer from the daemon at ${name}: ${words}`,
    "start it with `holdfast daemon start`",
    { cause },
  );
}

/** The JSON of a good answer; any other becomes its error. */
export async function readAnswer(answer: ExchangeAnswer, name: string): Promise<unknown> {
  const text = await answer.text();
  const body = answer.contentType.includes("json") ? parse(text) : undefined;
  if (answer.status === 200 && body !== undefined) return body;
  const error = readProblem(body);
  if (error !== null) throw error;
  // A proxy, a captive portal or another program: nothing it says is about the queue.
  throw new HoldfastError(
    "daemon_untrusted",
    `what answers at ${name} (HTTP ${answer.status}) is not a Holdfast daemon`,
    "check the URL, and that no proxy stands in between",
    {
      details: { status: answer.status, body: text.slice(0, 500) },
    },
  );
}

/** Reads problem+json (RFC 9457) back into our error: its `detail` is the message. Null for anything that is not ours. */
function readProblem(body: unknown): HoldfastError | null {
  if (typeof body !== "object" || body === null) return null;
  const problem = body as { readonly code?: unknown; readonly detail?: unknown };
  if (typeof problem.code !== "string" || !Object.hasOwn(errorTable, problem.code)) return null;
  return errorFrom({ ...problem, message: problem.detail });
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function fetchExchange(options: HttpOptions): Exchange {
  const base = baseOf(options.url);
  const authorization = options.token === undefined ? {} : { authorization: `Bearer ${options.token}` };
  return async ({ method, path, headers, body, signal }) => {
    const send = options.fetch ?? fetch;
    const response = await send(base + path, {
      method,
      headers: { ...headers, ...authorization },
      ...(body === undefined ? {} : { body }),
      signal,
      // The token is all that counts, and it must not follow a redirect to somebody else.
      credentials: "omit",
      redirect: "error",
      cache: "no-store",
    });
    return {
      status: response.status,
      contentType: response.headers.get("content-type") ?? "",
      text: () => response.text(),
      chunks: () => chunksOf(response.body),
    };
  };
}

function baseOf(url: string): string {
  const parsed = URL.canParse(url) ? new URL(url) : null;
  if (parsed === null || !/^https?:$/.test(parsed.protocol)) {
    throw new TypeError(`connect: url must be http or https, e.g. "http://127.0.0.1:4190"; got "${url}"`);
  }
  return parsed.href.replace(/\/+$/, "");
}

/** Reads a body chunk by chunk; written out because not every browser's streams are iterable. */
async function* chunksOf(body: ReadableStream<Uint8Array> | null): AsyncIterable<Uint8Array> {
  const reader = body?.getReader();
  if (reader === undefined) return;
  try {
    for (let next = await reader.read(); !next.done; next = await reader.read()) yield next.value;
  } finally {
    reader.cancel().catch(() => {});
  }
}

function closed(name: string): HoldfastError {
  return new HoldfastError("engine_closed", `the client of ${name} is closed`, "connect again");
}
