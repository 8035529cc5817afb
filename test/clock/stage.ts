// Owns the stage of the clock tests: devices and a sync server as real processes, each with a clock of its own, and a remote that dates its answers.
// What has to hold under which clock is in the tests beside.
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { expect } from "vitest";
import { connectDaemon } from "../../src/node/transport.ts";
import type { CommandOptions, Started } from "../support/processes.ts";
import { runCommand, startCommand, until } from "../support/processes.ts";

export const dayMs = 86_400_000;

/** A machine's clock, by how far it is off; all processes of the machine look at it. */
export type Clock = { readonly set: (offsetMs: number) => void; readonly env: Readonly<Record<string, string>> };

export type Device = {
  readonly home: string;
  readonly clock: Clock;
  readonly run: (words: readonly string[], input?: string) => Promise<string>;
  readonly connect: () => ReturnType<typeof connectDaemon>;
};

const settings =
  '[network]\nprobe_interval = "100ms"\nreconnect_jitter = "50ms"\n[retry.default]\npreset = "default"\ninitial = "100ms"\nmax = "1s"\n';

export const newFolder = (): string => mkdtempSync(path.join(tmpdir(), "holdfast-clock-"));

function openClock(folder: string, name: string, offsetMs: number): Clock {
  const file = path.join(folder, `${name}.clock`);
  const set = (to: number): void => writeFileSync(file, String(to));
  set(offsetMs);
  const preload = pathToFileURL(path.join(import.meta.dirname, "wrong-clock.ts")).href;
  const options = `${process.env.NODE_OPTIONS ?? ""} --no-warnings --import ${preload}`.trim();
  return { set, env: { NODE_OPTIONS: options, HOLDFAST_TEST_CLOCK: file } };
}

export function openDevice(folder: string, name: string, offsetMs: number, config = ""): Device {
  const home = path.join(folder, name);
  mkdirSync(home, { mode: 0o700 });
  writeFileSync(path.join(home, "config.toml"), settings + config);
  const clock = openClock(folder, name, offsetMs);
  return {
    home,
    clock,
    run: async (words, input = "") => {
      const options: CommandOptions = { home, cwd: folder, input, env: clock.env };
      const ended = await runCommand(words, options);
      expect(ended.code, `${name}$ holdfast ${words.join(" ")}\n${ended.stdout}${ended.stderr}`).toBe(0);
      return ended.stdout;
    },
    connect: () => connectDaemon({ directory: home }),
  };
}

export type TestServer = { readonly started: Started; readonly clock: Clock; readonly token: string };

/** `holdfast server run` under a clock of its own, with the token that it says at its first start. */
export async function startServer(folder: string, port: number, offsetMs: number): Promise<TestServer> {
  const clock = openClock(folder, "server", offsetMs);
  const words = ["server", "run", "--data", path.join(folder, "server-data"), "--port", String(port)];
  const started = startCommand(words, { home: path.join(folder, "server-home"), cwd: folder, env: clock.env });
  let said = "";
  for (const stream of [started.child.stdout, started.child.stderr])
    stream?.on("data", (chunk: Buffer) => {
      said += chunk.toString();
    });
  await until(() => /listens on/.test(said) && /hf_[\w-]+\n/.test(said), "the server listens");
  return { started, clock, token: /hf_[\w-]+/.exec(said)?.[0] ?? "" };
}

export type Remote = {
  readonly url: string;
  /** Paths in the order in which they were asked for, with the real milliseconds since the start. */
  readonly asked: { readonly path: string; readonly at: number }[];
  readonly close: () => Promise<void>;
};

/**
 * A remote with a clock of its own. The first request for `/paced` is answered 503 with a date until which to wait, `/slow` takes a second and
 * a half, everything else is done at once.
 */
export async function startRemote(offsetMs: number): Promise<Remote> {
  const asked: { path: string; at: number }[] = [];
  const from = performance.now();
  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    const place = request.url ?? "";
    if (request.method === "POST") asked.push({ path: place, at: performance.now() - from });
    const now = Date.now() + offsetMs;
    response.setHeader("date", new Date(now).toUTCString());
    const isFirst = asked.filter((each) => each.path === place).length === 1;
    if (place === "/paced" && isFirst) {
      response.writeHead(503, { "retry-after": new Date(now + 2_000).toUTCString() }).end();
      return;
    }
    setTimeout(() => response.writeHead(200).end(), place === "/slow" ? 1_500 : 0);
  };
  const server = createServer((request, response) => {
    request.resume();
    request.on("end", () => answer(request, response));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}

/** How far each clock is off at first, and by how much the device's jumps in the middle; `other` is the remote's or the server's. */
export type Clocks = { readonly device: number; readonly other: number; readonly jump: number };

/** A case by its numbers of days. */
export const named = (cases: readonly Clocks[]): (readonly [string, Clocks])[] =>
  cases.map((each) => [[each.device, each.other, each.jump].map((ms) => ms / dayMs).join(", "), each]);
