// Owns starting real server processes and speaking the wire contract to them, again and again until an answer comes, as a client does.
// Leaves what is pushed, and what has to hold, to the tests.
import type { ChildProcess } from "node:child_process";
import { fork } from "node:child_process";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { StorePlace } from "../../src/node/server-store.ts";
import { sha256 } from "../../src/node/server-store.ts";
import type { ServerLimits } from "../../src/server/core.ts";
import type { ServerStore } from "../../src/server/store.ts";
import { addToken } from "../../src/server/tokens.ts";
import type { PullRequest, PullResponse, PushItem, PushRequest, PushResponse } from "../../src/wire.ts";

export type ServerRequest = {
  readonly place: StorePlace;
  readonly port: number;
  readonly limits: Partial<ServerLimits>;
};

export type ServerProcess = {
  readonly url: string;
  readonly child: ChildProcess;
  readonly kill: () => Promise<void>;
};

const generous = { requestsPerSecond: 1_000_000, burst: 1_000_000, streamsPerToken: 10_000, streams: 10_000 };

export async function startServerProcess(place: StorePlace, port = 0): Promise<ServerProcess> {
  const request: ServerRequest = { place, port, limits: generous };
  const child = fork(path.join(import.meta.dirname, "server-main.ts"), [JSON.stringify(request)], {
    execArgv: ["--no-warnings"],
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  const told = await new Promise<{ readonly port: number }>((resolve, reject) => {
    child.once("message", (message) => resolve(message as { port: number }));
    child.once("exit", (code) => reject(new Error(`the server ended with exit code ${code}`)));
  });
  const kill = async (): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await ended;
  };
  return { url: `http://127.0.0.1:${told.port}`, child, kill };
}

/** A token for every space. */
export async function newToken(store: ServerStore): Promise<string> {
  const made = await addToken(
    store,
    { subject: "tester", spaces: [{ space: "*", roles: [] }] },
    { now: Date.now, hash: sha256 },
  );
  return made.token;
}

export type Wire = {
  readonly push: (request: PushRequest) => Promise<PushResponse>;
  readonly pull: (request: PullRequest) => Promise<PullResponse>;
  /** Requests that had to be sent again. */
  readonly repeated: () => number;
};

/** `nextUrl` names a server for each try. What is no answer (no connection, a 5xx, a cut body) is asked again, unchanged. */
export function newWire(nextUrl: () => string, token: string, giveUpMs = 60_000): Wire {
  let repeated = 0;
  async function ask<T>(route: string, body: unknown): Promise<T> {
    const giveUpAt = performance.now() + giveUpMs;
    let last: unknown;
    while (performance.now() < giveUpAt) {
      try {
        const response = await fetch(`${nextUrl()}${route}`, {
          method: "POST",
          headers: {
            "content-type": "application/json",
            authorization: `Bearer ${token}`,
            "holdfast-protocol": "1",
          },
          body: JSON.stringify(body),
          signal: AbortSignal.timeout(20_000),
        });
        if (response.ok) return (await response.json()) as T;
        last = await response.text();
        if (response.status < 500) break;
      } catch (error) {
        last = error;
      }
      repeated += 1;
      await sleep(20 + Math.random() * 60);
    }
    throw new Error(`${route} got no answer: ${String(last)}`);
  }
  return {
    push: (request) => ask("/v1/push", request),
    pull: (request) => ask("/v1/pull", request),
    repeated: () => repeated,
  };
}

/** An operation that creates records with these keys. */
export function creation(id: string, number: number, keys: readonly string[]): PushItem {
  const changes = keys.map((key) => ({
    ...{ collection: "notes", key, kind: "create" as const, base: 0, schema: 1 },
    fields: { title: `note ${key}`, number },
  }));
  return { id, number, at: Date.now(), changes };
}
