/**
 * Owns the way to one sync server over HTTP: push, pull, fetch and pokes in the terms of `wire.ts`, with every answer checked.
 * One request and its token are `sync-request.ts`, the stream of pokes is `sync-watch.ts`; when to ask is the engine's.
 */
import { HoldfastError } from "../errors.ts";
import { answerOfCode } from "../failure.ts";
import { checkOptions } from "../misuse.ts";
import { textBytes } from "../operation.ts";
import type { Refusal } from "../sync-failure.ts";
import type {
  FetchRequest,
  FetchResponse,
  PullRequest,
  PushAnswer,
  PushItem,
  PushRequest,
  PushResponse,
} from "../wire.ts";
import { fetchResponse, pushResponse, readPull, readWire, routes, wireLimits } from "../wire.ts";
import type { Reply, Signal, SyncPort } from "../world.ts";
import type { Credentials } from "./credentials.ts";
import { pullAhead } from "./sync-ahead.ts";
import type { SyncLine, syncLimits, TokenHook } from "./sync-request.ts";
import { openSyncLine } from "./sync-request.ts";
import { watchSpace } from "./sync-watch.ts";

export type SyncOptions = {
  /** The server's address, e.g. "https://sync.example.com". */
  readonly url: string;
  /** The space (tenant) of collections that name none. */
  readonly space: string;
  /** The bearer token, or a function that is asked for it before each request and again when the server has refused it. */
  readonly token?: string | TokenHook;
  /** Name of a credential in the store of credentials, instead of `token`. */
  readonly credential?: string;
  /** Whose writes these are; empty for the owner of the store. */
  readonly subject?: string;
};

export type SyncPortOptions = SyncOptions & {
  readonly credentials?: Pick<Credentials, "resolve">;
  readonly fetch?: typeof globalThis.fetch;
  readonly limits?: Partial<{ readonly [K in keyof typeof syncLimits]: number }>;
};

/** Room for what stands around the items of a push. */
const envelopeBytes = 1_024;

/**
 * Makes the way to a sync server. Nothing is sent before it is asked for, and none of its functions rejects.
 * @example
 * const port = makeSyncPort({ url: "https://sync.example.com", space: "team", token: () => session.token() });
 */
export function makeSyncPort(options: SyncPortOptions): SyncPort {
  const url = checkSync(options);
  const { token, subject = "" } = options;
  const line = openSyncLine({
    url,
    subject,
    ...(token === undefined ? {} : { token: typeof token === "string" ? () => token : token }),
    ...(options.credential === undefined ? {} : { credential: options.credential }),
    ...(options.credentials === undefined ? {} : { credentials: options.credentials }),
    ...(options.fetch === undefined ? {} : { fetch: options.fetch }),
    ...(options.limits === undefined ? {} : { limits: options.limits }),
  });
  return {
    remote: url.origin,
    space: options.space,
    subject,
    push: (request, signal) => push(line, request, signal),
    pull: pullAhead((request: PullRequest, signal) => ask({ line, route: routes.pull, request, signal }, readPull)),
    fetch: (request, signal) => fetchParts(line, request, signal),
    watch: (space, listener, onHealth) => watchSpace(line.stream, space, listener, { onHealth }),
  };
}

const readFetch = (body: unknown) => readWire("fetch", fetchResponse, body);

function checkSync(options: SyncPortOptions): URL {
  checkOptions("sync", options, ["url", "space", "token", "credential", "subject", "credentials", "fetch", "limits"]);
  const url = URL.canParse(options.url) ? new URL(options.url) : null;
  if (url === null || (url.protocol !== "https:" && url.protocol !== "http:") || url.username !== "") {
    // A password in an address is not repeated: messages end in logs.
    const said = url === null || url.username === "" ? `"${options.url}"` : `an address with a password`;
    throw new HoldfastError(
      "invalid_input",
      `sync: ${said} is no address of a server`,
      'write it like "https://sync.example.com"; tokens go into `credential` or `token`',
    );
  }
  if (typeof options.space !== "string" || options.space === "" || options.space.length > wireLimits.textLength)
    throw new HoldfastError("invalid_input", "sync: space must name a space", 'e.g. space: "team"');
  if (options.token !== undefined && options.credential !== undefined)
    throw new HoldfastError("invalid_input", "sync: give token or credential, not both", "a credential is a name");
  return url;
}

type Asking = {
  readonly line: SyncLine;
  readonly route: string;
  readonly request: unknown;
  readonly signal: Signal;
};

/** An answer whose shape is wrong is as good as none: whoever made it, it was not a server of this protocol. */
async function ask<T>({ line, route, request, signal }: Asking, read: (body: unknown) => T): Promise<Reply<T>> {
  const answered = await line.post(route, request, signal);
  if (answered.kind === "failed") return answered;
  const { body, sentBytes, receivedBytes } = answered;
  try {
    return { kind: "answered", response: read(body), sentBytes, receivedBytes };
  } catch (error) {
    const said = error instanceof Error ? error.message : String(error);
    const answer = answerOfCode("malformed_answer", `the answer is none of this protocol: ${said}`) as Refusal;
    return { kind: "failed", answer };
  }
}

/** What is too large for one answer is asked for in halves; one record alone always fits. */
async function fetchParts(line: SyncLine, request: FetchRequest, signal: Signal): Promise<Reply<FetchResponse>> {
  const { keys } = request;
  const whole = await ask({ line, route: routes.fetch, request, signal }, readFetch);
  if (whole.kind === "answered" || keys.length === 1 || !isTooLarge(whole.answer)) return whole;
  const half = Math.ceil(keys.length / 2);
  const first = await fetchParts(line, { ...request, keys: keys.slice(0, half) }, signal);
  if (first.kind === "failed") return first;
  const second = await fetchParts(line, { ...request, keys: keys.slice(half) }, signal);
  if (second.kind === "failed") return second;
  const [one, two] = [first.response, second.response];
  if (one.history !== two.history)
    return { kind: "failed", answer: answerOfCode("no_answer", "the server was restored meanwhile") as Refusal };
  const records = [...one.records, ...two.records];
  return {
    kind: "answered",
    response: { ...two, records, head: Math.min(one.head, two.head) },
    sentBytes: first.sentBytes + second.sentBytes,
    receivedBytes: first.receivedBytes + second.receivedBytes,
  };
}

const isTooLarge = ({ problem }: Refusal): boolean => problem.status === 413 || problem.code === "answer_too_large";

/**
 * Sends the items in as many requests as their bytes need. One that the server refuses as a whole is sent again in halves, and so is one
 * whose answer is too large: what has landed is recognised by its id.
 */
async function push(line: SyncLine, request: PushRequest, signal: Signal): Promise<Reply<PushResponse>> {
  const waiting = partsOf(request.items, wireLimits.pushBytes - envelopeBytes);
  const answers: PushAnswer[] = [];
  const sum: Sum = { sentBytes: 0, receivedBytes: 0, now: 0, isHeard: false };
  for (let items = waiting.shift(); items !== undefined; items = waiting.shift()) {
    const part = { ...request, items };
    const reply = await ask({ line, route: routes.push, request: part, signal }, (body) => readPush(body, part));
    if (reply.kind === "answered") {
      // Answers of two histories cannot be told together. A refusal of ours that stands before them is of none.
      if (sum.isHeard && reply.response.history !== sum.history) {
        const answer = answerOfCode("no_answer", "the server was restored meanwhile") as Refusal;
        answers.push(...[items, ...waiting.splice(0)].flat().map((item) => laterItem(item, answer)));
        break;
      }
      sum.isHeard = true;
      const { history, head } = reply.response;
      if (history !== undefined) sum.history = history;
      // The lowest says whether the server was set back; how far it has come is in the answers as well.
      if (head !== undefined) sum.head = Math.min(head, sum.head ?? head);
      answers.push(...reply.response.answers);
      sum.sentBytes += reply.sentBytes;
      sum.receivedBytes += reply.receivedBytes;
      sum.now = reply.response.now;
    } else if ((reply.answer.kind === "rejected" || isTooLarge(reply.answer)) && items.length > 1) {
      // One item that the server cannot take must not speak for its neighbours.
      const half = Math.ceil(items.length / 2);
      waiting.unshift(items.slice(0, half), items.slice(half));
    } else if (answers.length === 0 && (reply.answer.kind !== "rejected" || waiting.length === 0)) {
      return reply;
    } else if (reply.answer.kind === "rejected") {
      answers.push(...items.map((item) => refusedItem(item, reply.answer)));
    } else {
      answers.push(...[items, ...waiting.splice(0)].flat().map((item) => laterItem(item, reply.answer)));
    }
  }
  return {
    kind: "answered",
    response: {
      answers,
      ...(sum.history === undefined ? {} : { history: sum.history }),
      ...(sum.head === undefined ? {} : { head: sum.head }),
      now: sum.now,
    },
    sentBytes: sum.sentBytes,
    receivedBytes: sum.receivedBytes,
  };
}

type Sum = { sentBytes: number; receivedBytes: number; now: number; isHeard: boolean; history?: string; head?: number };

function readPush(body: unknown, request: PushRequest): PushResponse {
  const response = readWire("push", pushResponse, body);
  const isWhole =
    response.answers.length === request.items.length &&
    response.answers.every((answer, index) => answer.id === request.items[index]?.id);
  if (!isWhole) throw new Error(`push: answers are not one for each of the ${request.items.length} items, in order`);
  return response;
}

function partsOf(items: readonly PushItem[], limitBytes: number): PushItem[][] {
  const parts: PushItem[][] = [];
  let bytes = limitBytes;
  for (const item of items) {
    const size = textBytes(JSON.stringify(item)) + 1;
    const last = parts.at(-1);
    if (last === undefined || bytes + size > limitBytes || last.length >= wireLimits.pushItems) {
      parts.push([item]);
      bytes = size;
    } else {
      last.push(item);
      bytes += size;
    }
  }
  return parts;
}

function refusedItem(item: PushItem, answer: Refusal): PushAnswer {
  const [change] = item.changes;
  const { code, message, hint } = answer.problem;
  return {
    id: item.id,
    outcome: "rejected",
    problem: hint === undefined ? { code, message } : { code, message, hint },
    kind: "invalid",
    key: change?.key ?? "",
    collection: change?.collection ?? "",
  };
}

/** What did not get its turn is asked again soon, under the same id, so what landed unseen is recognised. */
function laterItem(item: PushItem, answer: Refusal): PushAnswer {
  const { code, message } = answer.problem;
  const afterMs = answer.kind === "retry" ? (answer.afterMs ?? 1_000) : 1_000;
  return { id: item.id, outcome: "retry", problem: { code, message }, afterMs };
}
