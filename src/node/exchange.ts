/**
 * Owns one HTTP exchange that moves many bytes: a streamed body with its progress, a watch for standstill, a bounded answer.
 * What an answer or a break means is left to the caller; requests with small bodies are sent by `request.ts`.
 */
import type { ClientRequest, IncomingMessage } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import type { Phase } from "../failure.ts";
import type { Signal } from "../world.ts";
import { Agent as HttpAgent, request as httpRequest } from "./http.ts";
import { markHandshake } from "./sender.ts";

/** Standing still this long ends an exchange: no byte went out, or no byte of the answer came in. */
export const stallMs = 30_000;
/** A server may work long on what it received before it answers. */
export const answerMs = 120_000;
/** How much of an answer's body is kept. */
export const answerBytes = 65_536;
/** How long a server that says nothing to `Expect: 100-continue` holds the body back. */
const continueMs = 1_000;

export type Body = {
  readonly sizeBytes: number;
  readonly blocks: AsyncIterable<Uint8Array>;
  /** Called with the number of bytes that the operating system took so far. */
  readonly onSent?: (bytes: number) => void;
  /** Called before the last block goes out; throw here, and the server never gets a whole body. */
  readonly beforeLast?: () => Promise<void>;
};

export type Exchange = {
  readonly method: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: Body;
  readonly signal: Signal;
  readonly connections: Connections;
  readonly stallMs?: number;
  readonly answerMs?: number;
  /** Asks the server before the body goes out, so that a refusal costs no transfer. */
  readonly isAskedFirst?: boolean;
};

export type Answered = {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly bodyText: string;
  readonly isTruncated: boolean;
};

/** `sentBytes` of the body were taken by the operating system; `error` may also be what reading the file threw. */
export type Outcome =
  | { readonly kind: "answered"; readonly answer: Answered }
  | { readonly kind: "broken"; readonly error: unknown; readonly phase: Phase; readonly sentBytes: number };

/** Kept connections of one attempt; `close` them with it. */
export type Connections = { readonly http: HttpAgent; readonly https: HttpsAgent; readonly close: () => void };

/** Makes the connections of one attempt. */
export function openConnections(): Connections {
  const http = new HttpAgent({ keepAlive: true });
  const https = new HttpsAgent({ keepAlive: true });
  const close = () => {
    http.destroy();
    https.destroy();
  };
  return { http, https, close };
}

/** Sends one request and waits for its answer. Never rejects. */
export function exchange(options: Exchange): Promise<Outcome> {
  return new Promise((resolve) => {
    const broken = (error: unknown, phase: Phase, sentBytes: number) =>
      resolve({ kind: "broken", error, phase, sentBytes });
    if (options.signal.aborted) return broken(abortError(), "request", 0);
    try {
      run(start(options), options, { broken, answered: (answer) => resolve({ kind: "answered", answer }) });
    } catch (error) {
      // A header or an address that cannot be sent at all.
      broken(error, "request", 0);
    }
  });
}

type Ends = {
  readonly broken: (error: unknown, phase: Phase, sentBytes: number) => void;
  readonly answered: (answer: Answered) => void;
};

function start({ method, url, headers, body, connections, isAskedFirst }: Exchange): ClientRequest {
  const target = new URL(url);
  const more = body === undefined ? {} : { "content-length": String(body.sizeBytes) };
  const asking = isAskedFirst === true ? { expect: "100-continue" } : {};
  const options = { method, headers: { ...headers, ...more, ...asking } };
  return target.protocol === "https:"
    ? httpsRequest(target, { ...options, agent: connections.https })
    : httpRequest(target, { ...options, agent: connections.http });
}

/** Settles once, whatever comes first: an answer, a break, a standstill, the end that the caller asked for. */
function run(request: ClientRequest, options: Exchange, ends: Ends): void {
  const { signal, body } = options;
  let sentBytes = 0;
  let phase: Phase = "request";
  let isSettled = false;
  let isRefused = false;
  const watch = watchStandstill(() => stop(stallError()));
  const onAbort = () => stop(abortError());
  const settle = (end: () => void) => {
    if (isSettled) return;
    isSettled = true;
    watch.end();
    signal.removeEventListener("abort", onAbort);
    end();
  };
  const stop = (error: unknown) => {
    settle(() => ends.broken(error, phase, sentBytes));
    request.destroy();
  };
  signal.addEventListener("abort", onAbort);
  watch.expect(options.stallMs ?? stallMs);
  // Once an answer has begun, it alone decides: a server that refuses often closes while we still write.
  const stopUnanswered = (error: unknown) => {
    if (phase === "request") stop(error);
  };
  request.on("error", (error) => stopUnanswered(markHandshake(request, error)));
  request.on("close", () => stopUnanswered(closedError()));
  const sending = body === undefined ? end(request) : sendWhenAsked(body);
  sending.catch(stopUnanswered);
  request.on("response", (response) => {
    phase = "body";
    watch.expect(options.stallMs ?? stallMs);
    // A refusal needs no more bytes; a success is believed only once all of them are out.
    isRefused = (response.statusCode ?? 0) >= 300;
    const ready = isRefused ? Promise.resolve() : sending;
    Promise.all([readAnswer(response, watch.touch), ready]).then(([answer]) => {
      settle(() => ends.answered(answer));
      if (!request.writableFinished) request.destroy();
    }, stop);
  });

  async function sendWhenAsked(asked: Body): Promise<void> {
    if (options.isAskedFirst === true) await untilContinue(request);
    const isOver = () => isSettled || isRefused;
    await send(request, asked, isOver, (bytes) => {
      if (isSettled) return;
      sentBytes = bytes;
      watch.touch();
      asked.onSent?.(bytes);
    });
    if (!isSettled && phase === "request") watch.expect(options.answerMs ?? answerMs);
  }
}

/** Writes block by block and holds the last one back until the caller agrees to it. */
async function send(
  request: ClientRequest,
  body: Body,
  isOver: () => boolean,
  onSent: (bytes: number) => void,
): Promise<void> {
  let sent = 0;
  let held: Uint8Array | null = null;
  const write = async (block: Uint8Array) => {
    await new Promise<void>((resolve, reject) => {
      request.write(block, (error) => (error ? reject(error) : resolve()));
    });
    sent += block.length;
    onSent(sent);
  };
  for await (const block of body.blocks) {
    // The server refused, or the exchange is over: reading on would be for nobody.
    if (isOver()) return;
    if (held !== null) await write(held);
    held = block;
  }
  await body.beforeLast?.();
  if (isOver()) return;
  if (held !== null) await write(held);
  await end(request);
}

function end(request: ClientRequest): Promise<void> {
  return new Promise((resolve) => {
    request.end(() => resolve());
  });
}

/** Resolves when the server wants the body, or says nothing for a while: older servers do not know the question. */
function untilContinue(request: ClientRequest): Promise<void> {
  return new Promise((resolve) => {
    let timer: NodeJS.Timeout | undefined;
    request.once("continue", () => {
      clearTimeout(timer);
      resolve();
    });
    request.once("response", (response) => {
      clearTimeout(timer);
      // A refusal ends the exchange by itself, and the body never starts; a yes is believed once the body is out.
      if ((response.statusCode ?? 0) < 300) resolve();
    });
    request.once("close", () => clearTimeout(timer));
    request.once("socket", (socket) => {
      const arm = () => {
        timer = setTimeout(resolve, continueMs);
      };
      if (socket.connecting) socket.once("connect", arm);
      else arm();
    });
    request.flushHeaders();
  });
}

function readAnswer(response: IncomingMessage, touch: () => void): Promise<Answered> {
  return new Promise((resolve, reject) => {
    const blocks: Buffer[] = [];
    let kept = 0;
    let isTruncated = false;
    response.on("data", (block: Buffer) => {
      touch();
      if (kept + block.length > answerBytes) isTruncated = true;
      const part = block.subarray(0, Math.max(0, answerBytes - kept));
      kept += part.length;
      if (part.length > 0) blocks.push(part);
    });
    response.on("error", reject);
    response.on("close", () => reject(closedError()));
    response.on("end", () => {
      if (!response.complete) return reject(closedError());
      const headers = Object.fromEntries(
        Object.entries(response.headers).map(([name, value]) => [
          name,
          Array.isArray(value) ? value.join(", ") : value,
        ]),
      );
      const bodyText = new TextDecoder().decode(Buffer.concat(blocks));
      resolve({ status: response.statusCode ?? 0, headers, bodyText, isTruncated });
    });
  });
}

type Watch = { readonly expect: (withinMs: number) => void; readonly touch: () => void; readonly end: () => void };

function watchStandstill(onStandstill: () => void): Watch {
  let timer: NodeJS.Timeout | undefined;
  return {
    expect: (withinMs) => {
      clearTimeout(timer);
      timer = setTimeout(onStandstill, withinMs);
    },
    touch: () => timer?.refresh(),
    end: () => clearTimeout(timer),
  };
}

function stallError(): Error {
  return Object.assign(new Error("the transfer stood still"), { name: "TimeoutError" });
}

function abortError(): Error {
  return Object.assign(new Error("the attempt was stopped"), { name: "AbortError" });
}

function closedError(): Error {
  return Object.assign(new Error("the connection closed before the answer was complete"), { code: "ECONNRESET" });
}
