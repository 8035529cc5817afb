// Owns starting a daemon of its own for a test, in this process, and speaking raw HTTP to it.
// Leaves what is asked and expected to the tests.
import { mkdtempSync, rmSync } from "node:fs";
import type { IncomingHttpHeaders } from "node:http";
import { request } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DaemonOptions, RunningDaemon } from "../../src/node/daemon.ts";
import { runDaemon } from "../../src/node/daemon.ts";
import type { Log } from "../../src/node/log.ts";
import type { MemoryEngine } from "./memory-engine.ts";
import { openMemoryEngine } from "./memory-engine.ts";

export type LogLine = { readonly level: string; readonly message: string; readonly fields: unknown };
export type TestDaemon = {
  readonly daemon: RunningDaemon;
  readonly engine: MemoryEngine;
  readonly lines: readonly LogLine[];
  readonly close: () => Promise<void>;
};
export type Asked = {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
  readonly body?: string | Buffer;
  /** Over the Unix socket instead of TCP. */
  readonly isLocal?: boolean;
  /** The given headers are all; nothing is added. */
  readonly isBare?: boolean;
};
export type Answered = { readonly status: number; readonly headers: IncomingHttpHeaders; readonly text: string };

/** A directory that is gone after the test. */
export function temporaryDirectory(): { readonly path: string; readonly remove: () => void } {
  const path = mkdtempSync(join(tmpdir(), "holdfast-"));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** Starts a daemon over a queue in memory. */
export async function startTestDaemon(options: Partial<DaemonOptions> = {}): Promise<TestDaemon> {
  const place = temporaryDirectory();
  const engine = openMemoryEngine();
  const lines: LogLine[] = [];
  const log: Log = {
    write: (level, message, fields) => void lines.push({ level, message, fields }),
    setLevel: () => {},
    close: () => {},
  };
  const daemon = await runDaemon({
    openEngine: () => engine,
    version: "0.0.0",
    directory: place.path,
    log,
    ...options,
  });
  const close = async (): Promise<void> => {
    await daemon.stop(100);
    place.remove();
  };
  return { daemon, engine, lines, close };
}

/** Asks with a token and a correct Host, unless told otherwise. */
export function ask(daemon: RunningDaemon, asked: Asked = {}): Promise<Answered> {
  const where =
    asked.isLocal === true && daemon.socket !== null
      ? { socketPath: daemon.socket }
      : { host: "127.0.0.1", port: daemon.port };
  const standard = {
    host: asked.isLocal === true ? "localhost" : `127.0.0.1:${daemon.port}`,
    authorization: `Bearer ${daemon.token}`,
    ...(asked.body === undefined ? {} : { "content-type": "application/json" }),
  };
  const headers = asked.isBare === true ? asked.headers : { ...standard, ...asked.headers };
  return new Promise((resolve, reject) => {
    const call = request({
      ...where,
      agent: false,
      method: asked.method ?? (asked.body === undefined ? "GET" : "POST"),
      path: asked.path ?? "/health",
      setHost: false,
      ...(headers === undefined ? {} : { headers: headers as Record<string, string | string[]> }),
    });
    call.setTimeout(10_000, () => call.destroy(new Error("no answer within 10 s")));
    call.on("error", reject);
    call.on("response", (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => {
        text += chunk;
      });
      response.on("error", reject);
      const isEndless = response.headers["content-type"]?.startsWith("text/event-stream") === true;
      const finish = (): void => resolve({ status: response.statusCode ?? 0, headers: response.headers, text });
      if (isEndless) {
        finish();
        call.destroy();
      } else response.on("end", finish);
    });
    call.end(asked.body);
  });
}

/** Calls a verb and returns its parsed answer. */
export async function callVerb(daemon: RunningDaemon, verb: string, input: unknown): Promise<unknown> {
  const answer = await ask(daemon, { path: `/v1/${verb}`, body: JSON.stringify(input) });
  return JSON.parse(answer.text);
}

/** Writes bytes to the port and returns everything that comes back until the daemon closes, or `waitMs` are over. */
export function speak(
  daemon: RunningDaemon,
  chunks: readonly (string | Buffer)[],
  waitMs = 5_000,
  pauseMs = 0,
): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(daemon.port, "127.0.0.1");
    let text = "";
    const timer = setTimeout(() => {
      socket.destroy();
      resolve(`${text}\n(still open)`);
    }, waitMs);
    const end = (): void => {
      clearTimeout(timer);
      resolve(text);
    };
    socket.on("data", (chunk) => {
      text += chunk.toString("latin1");
    });
    socket.on("close", end);
    socket.on("error", () => {});
    socket.on("connect", async () => {
      for (const chunk of chunks) {
        if (socket.destroyed) return;
        socket.write(chunk);
        if (pauseMs > 0) await new Promise((next) => setTimeout(next, pauseMs));
      }
    });
  });
}
