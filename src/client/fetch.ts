/**
 * Owns a drop-in `fetch` that queues what cannot be sent now: which requests, when, and in what order they go.
 * What a queued request may hold is said in `request.ts`; sending it later is the engine's.
 */
import { checkOptions } from "../misuse.ts";
import type { AddInput } from "../verbs.ts";
import type { Captured } from "./capture.ts";
import { capture } from "./capture.ts";
import type { Client } from "./client.ts";
import { newOperationId } from "./client.ts";
import { laneTurns } from "./turns.ts";

/** A URL or a path that the request's begins with, a regular expression or `URLPattern` for its URL, or a function. */
export type Matcher = string | { readonly test: (url: string) => boolean } | ((request: Request) => boolean);

type Queueing = Pick<
  AddInput,
  | "priority"
  | "after"
  | "creates"
  | "group"
  | "subject"
  | "expiresAt"
  | "retry"
  | "onFailure"
  | "onCrash"
  | "conflict"
  | "title"
>;

/** What may be said for all requests, and again for one by `init.holdfast`. */
export type FetchRules = Queueing & {
  /** Requests of one lane go out one after the other. Default: one lane per origin; `null`: in no order. */
  readonly lane?: string | null | ((request: Request) => string | null);
  /** `unreachable` (default): only what could not be sent directly. `always`: everything, and nothing is sent directly. */
  readonly queueWhen?: "unreachable" | "always";
  /** Statuses that count as unreachable, e.g. [502, 503, 504] behind a proxy. Default: none. */
  readonly queueOnStatus?: readonly number[];
  /** Name in the credential store that stands for the request's own credentials, which are never stored. */
  readonly credential?: string;
};

export type OfflineFetchOptions = FetchRules & {
  /** Requests that may be queued. Without it, only those that say so by `init.holdfast`. */
  readonly match?: Matcher | readonly Matcher[];
  /** The `fetch` for what is sent directly. Default: the global one. */
  readonly fetch?: typeof fetch;
};

/** Queues this request when needed (`true` or rules), or never (`false`), whatever `match` says. */
export type OfflineInit = RequestInit & { readonly holdfast?: boolean | FetchRules };
export type OfflineFetch = (input: Parameters<typeof fetch>[0], init?: OfflineInit) => Promise<Response>;

const ruleNames = [
  ...["lane", "queueWhen", "queueOnStatus", "credential"],
  ...[
    "priority",
    "after",
    "creates",
    "group",
    "subject",
    "expiresAt",
    "retry",
    "onFailure",
    "onCrash",
    "conflict",
    "title",
  ],
];
const safeMethods = ["GET", "HEAD", "OPTIONS", "TRACE"];
const queuedHeader = "holdfast-queued";

/**
 * Makes a `fetch` that resolves with a 202 of its own where the remote cannot be reached: the request is durable then, and goes
 * out later under the idempotency key of the direct attempt. `queuedId(response)` tells such an answer from the remote's.
 * @example
 * const fetch = offlineFetch(client, { match: "https://api.example.com/notes", credential: "api" });
 * const response = await fetch("https://api.example.com/notes", { method: "POST", body: JSON.stringify(note) });
 * if (queuedId(response) !== null) showAsPending(note);
 */
export function offlineFetch(client: Client, options: OfflineFetchOptions = {}): OfflineFetch {
  checkOptions("offlineFetch", options, [...ruleNames, "match", "fetch"]);
  const { match, fetch: given, ...common } = options;
  const matchers = match === undefined ? [] : Array.isArray(match) ? (match as readonly Matcher[]) : [match as Matcher];
  const turns = laneTurns();
  const direct: typeof fetch = (input, init) => (given ?? fetch)(input, init);

  return async (input, init = {}) => {
    const { holdfast, ...plain } = init;
    const own = typeof holdfast === "object" ? holdfast : {};
    checkOptions("init.holdfast", own, ruleNames);
    const method = methodOf(input, plain);
    const isAsked = holdfast === true || typeof holdfast === "object";
    if (safeMethods.includes(method)) {
      if (isAsked)
        throw new TypeError(
          `init.holdfast: a ${method} cannot be queued; queue what changes something, with POST, PUT, PATCH or DELETE`,
        );
      return direct(input, plain);
    }
    if (holdfast === false || !(isAsked || matchers.length > 0)) return direct(input, plain);
    // A copy, so that the caller's own request can still be sent as it is when nothing matches.
    const request = new Request(input instanceof Request ? input.clone() : input, plain);
    if (!isAsked && !matchers.some((matcher) => isMatch(matcher, request))) return direct(input, plain);

    const rules: FetchRules = { ...common, ...own };
    const lane = laneOf(rules, request);
    const capturing = capture(request, { body: plain.body, id: idOf(request), credential: rules.credential });
    // The turn is taken before the body has been read: a long one must not let what was asked for later go first.
    const answer = turns(lane, request.signal, async () =>
      sendOrQueue({ client, direct, rules, request, captured: await capturing, lane }),
    );
    answer.catch(() => {});
    // A refusal does not wait for its turn.
    await capturing;
    return answer;
  };
}

/** The id of the operation when a response is the promise to send later, and null when it is the remote's own. */
export function queuedId(response: Response): string | null {
  return response.headers.get(queuedHeader);
}

type Sending = {
  readonly client: Client;
  readonly direct: typeof fetch;
  readonly rules: FetchRules;
  readonly request: Request;
  readonly captured: Captured;
  readonly lane: string | null;
};

async function sendOrQueue(sending: Sending): Promise<Response> {
  const { client, direct, rules, request, captured, lane } = sending;
  request.signal.throwIfAborted();
  if (rules.queueWhen === "always" || (await mustQueue(client, lane))) return queue(sending);
  request.signal.throwIfAborted();
  try {
    const response = await direct(captured.toRequest());
    if (rules.queueOnStatus?.includes(response.status) !== true) return response;
    await response.body?.cancel();
  } catch {
    // `fetch` rejects for one more reason than an abort: no answer came. Whether anything arrived is not known, and the
    // key that goes with both attempts makes it not matter.
    request.signal.throwIfAborted();
  }
  return queue(sending);
}

/** Nothing overtakes: what has queued predecessors in its lane lines up behind them. A parked one counts while it holds the lane. */
async function mustQueue(client: Client, lane: string | null): Promise<boolean> {
  const status = client.network.status();
  if (lane === null) return (await status).isWorkingOffline;
  const [{ isWorkingOffline }, open, parked] = await Promise.all([
    status,
    client.queue.list({ lane, status: ["pending", "in_progress"], limit: 1 }),
    client.queue.list({ lane, status: ["failed"] }),
  ]);
  return (
    isWorkingOffline || open.operations.length > 0 || parked.operations.some(({ onFailure }) => onFailure === "hold")
  );
}

async function queue({ client, rules, request, captured, lane }: Sending): Promise<Response> {
  const { lane: _lane, queueWhen: _when, queueOnStatus: _status, credential: _credential, ...queueing } = rules;
  const { signal } = request;
  signal.throwIfAborted();
  const { id, payload } = captured;
  const operation = await client.queue.add({
    ...queueing,
    type: "http.request",
    id,
    lane,
    payload: payload as AddInput["payload"],
  });
  if (signal.aborted) {
    // The caller has given it up, so it must not go out behind their back.
    await client.queue.cancel({ ids: [operation.id] });
    signal.throwIfAborted();
  }
  const body = { queued: true, id: operation.id, status: operation.status };
  return new Response(JSON.stringify(body), {
    status: 202,
    statusText: "Queued",
    headers: { "content-type": "application/json", [queuedHeader]: operation.id, location: `holdfast:${operation.id}` },
  });
}

function methodOf(input: Parameters<typeof fetch>[0], init: RequestInit): string {
  return (init.method ?? (input instanceof Request ? input.method : "GET")).toUpperCase();
}

/** The caller's own key, where there is one, becomes the operation's id: both attempts must carry the same. */
function idOf(request: Request): string {
  const key = request.headers.get("idempotency-key")?.replace(/^"(.*)"$/, "$1");
  if (key === undefined) return newOperationId();
  if (/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(key)) return key.toLowerCase();
  throw new TypeError(
    "offlineFetch: the Idempotency-Key must be a UUID, or left out: it becomes the id of the queued operation",
  );
}

function laneOf({ lane }: FetchRules, request: Request): string | null {
  if (typeof lane === "function") return lane(request);
  return lane === undefined ? new URL(request.url).origin : lane;
}

function isMatch(matcher: Matcher, request: Request): boolean {
  if (typeof matcher === "function") return matcher(request);
  if (typeof matcher === "string") {
    const { href, pathname } = new URL(request.url);
    return matcher.startsWith("/") ? pathname.startsWith(matcher) : href.startsWith(matcher);
  }
  // A global or sticky expression remembers where it stopped; every request begins anew.
  if (matcher instanceof RegExp) matcher.lastIndex = 0;
  return matcher.test(request.url);
}
