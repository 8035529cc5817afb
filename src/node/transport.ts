/**
 * Owns the way from a Node program to the daemon of a data directory: over its Unix socket, or loopback TCP where there is none.
 * Finding and proving the daemon is `detached.ts`; what travels is `client/http.ts`.
 */
import { existsSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import type { Client } from "../client/client.ts";
import { connect } from "../client/client.ts";
import type { Exchange, ExchangeAnswer, ExchangeRequest } from "../client/http.ts";
import { exchangeTransport } from "../client/http.ts";
import type { Transport } from "../client/transport.ts";
import { isCode } from "../errors.ts";
import { checkOptions } from "../misuse.ts";
import type { Endpoint } from "./detached.ts";
import { findDaemon } from "./detached.ts";
import { homeDirectory, openHome } from "./home.ts";
import { Agent, request as httpRequest } from "./http.ts";

/** Connections that are kept for calls; a stream of events has its own. */
const keptSockets = 16;

export type ConnectDaemonOptions = {
  /** The data directory. Default: `HOLDFAST_HOME`, else the platform's conventional place. */
  readonly directory?: string;
  /** Starts the daemon when none runs, e.g. with `startDetached`; asked once, so that a person can stop the daemon for good. */
  readonly start?: (directory: string) => Promise<unknown>;
  /** Hears of listeners that throw. */
  readonly onError?: (error: unknown) => void;
};

/**
 * Connects to the daemon of a data directory, after it has proved that it knows the token of that directory.
 * @example
 * await using client = await connectDaemon();
 * console.log((await client.queue.status()).sentence);
 */
export async function connectDaemon(options: ConnectDaemonOptions = {}): Promise<Client> {
  checkOptions("connectDaemon", options, ["directory", "start", "onError"]);
  const directory = options.directory ?? homeDirectory();
  const transport = await daemonTransport(directory, options.start);
  return connect(options.onError === undefined ? { transport } : { transport, onError: options.onError });
}

/** The transport behind `connectDaemon`; it finds the daemon again when that was restarted elsewhere. */
export async function daemonTransport(directory: string, start?: ConnectDaemonOptions["start"]): Promise<Transport> {
  // Looking first keeps a mere question from making the directory; opening it refuses one that others can write.
  if (existsSync(directory)) openHome(directory);
  const line = openLine(directory);
  try {
    await line.find();
  } catch (error) {
    if (start === undefined || !isCode(error, "daemon_unreachable")) throw error;
    await start(directory);
    await line.find();
  }
  const transport = exchangeTransport(line.exchange, directory);
  const close = async (): Promise<void> => {
    await transport.close();
    line.close();
  };
  return { ...transport, close };
}

type Found = { readonly endpoint: Endpoint; readonly token: string; readonly agent: Agent };
type Line = { readonly find: () => Promise<Found>; readonly exchange: Exchange; readonly close: () => void };

function openLine(directory: string): Line {
  let finding: Promise<Found> | null = null;
  const drop = (gone: Promise<Found> | null): void => {
    if (gone === null || finding !== gone) return;
    finding = null;
    // Answers that are still on their way over it may arrive; new requests go to whoever proves itself next.
    gone.then(destroyIdle, () => {});
  };
  const find = (): Promise<Found> => {
    if (finding !== null) return finding;
    const found: Promise<Found> = findDaemon(directory).then(({ endpoint, token }) => ({
      endpoint,
      token,
      agent: new Agent({ keepAlive: true, maxFreeSockets: keptSockets }),
    }));
    finding = found;
    found.catch(() => drop(found));
    return found;
  };
  const exchange: Exchange = async (request) => {
    for (let isFirst = true; ; isFirst = false) {
      const found = find();
      const line = await found;
      try {
        const answer = await send(line, request, () => {
          // Behind a port that has closed may sit another program by now: it has to prove itself before it is told the
          // token. A socket in a directory of our own needs no such care.
          if (line.endpoint.socket === null) drop(found);
        });
        if (!isFirst || answer.status !== 401) return answer;
        // The daemon may have been started anew with another token; what it refuses it has not done.
        await answer.text();
        drop(found);
      } catch (error) {
        drop(found);
        // Nothing has left this process, so even what must not happen twice may be sent to the restarted daemon.
        if (!isFirst || (error as NodeJS.ErrnoException).syscall !== "connect") throw error;
      }
    }
  };
  return {
    find,
    exchange,
    close: () => {
      finding?.then(
        ({ agent }) => agent.destroy(),
        () => {},
      );
      finding = null;
    },
  };
}

function destroyIdle({ agent }: Found): void {
  for (const sockets of Object.values(agent.freeSockets)) {
    for (const socket of sockets ?? []) socket.destroy();
  }
}

function send(
  { endpoint, token, agent }: Found,
  request: ExchangeRequest,
  onClosed: () => void,
): Promise<ExchangeAnswer> {
  const { socket, host, port } = endpoint;
  const where = socket === null ? { host, port } : { socketPath: socket };
  const body = request.body === undefined ? undefined : Buffer.from(request.body);
  return new Promise((resolve, reject) => {
    const stop = (): void => void call.destroy(stoppedError());
    if (request.signal.aborted) throw stoppedError();
    const call = httpRequest({
      ...where,
      agent,
      method: request.method,
      path: request.path,
      headers: {
        ...request.headers,
        // The daemon answers to loopback names alone, whatever path or address leads to it.
        host: socket === null ? `127.0.0.1:${port}` : "localhost",
        authorization: `Bearer ${token}`,
        ...(body === undefined ? {} : { "content-length": String(body.length) }),
      },
    });
    // The `signal` option of a request costs more than the rest of it.
    request.signal.addEventListener("abort", stop);
    call.once("close", () => request.signal.removeEventListener("abort", stop));
    call.once("socket", (each: Socket) => watchOnce(each, onClosed));
    call.once("response", (response) => resolve(answerOf(response)));
    call.once("error", reject);
    call.end(body);
  });
}

function stoppedError(): Error {
  return new DOMException("the call was stopped", "AbortError");
}

const watched = new WeakSet<Socket>();

function watchOnce(socket: Socket, onClosed: () => void): void {
  if (watched.has(socket)) return;
  watched.add(socket);
  socket.once("close", onClosed);
}

function answerOf(response: IncomingMessage): ExchangeAnswer {
  return {
    status: response.statusCode ?? 0,
    contentType: response.headers["content-type"] ?? "",
    text: () => readText(response),
    chunks: () => response,
  };
}

function readText(response: IncomingMessage): Promise<string> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    response.on("data", (chunk: Buffer) => chunks.push(chunk));
    response.once("end", () => resolve(Buffer.concat(chunks).toString("utf8")));
    response.once("error", reject);
    response.once("close", () => {
      if (!response.readableEnded) reject(new Error("the answer ended early"));
    });
  });
}
