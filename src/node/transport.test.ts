// Proves that a Node program reaches the daemon of its directory, that one only, and finds it again after a restart.
// Leaves the daemon's own tests to daemon.test.ts; the server here is a small one.
import { chmodSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, test } from "vitest";
import type { SmallDaemon } from "../../test/support/small-daemon.ts";
import { startSmallDaemon } from "../../test/support/small-daemon.ts";
import { openTestEngine } from "../../test/support/test-engine.ts";
import { transportContract } from "../testing/transport-contract.ts";
import type { HoldfastEvent } from "../verbs.ts";
import { proofOf } from "./guard.ts";
import { connectDaemon, daemonTransport } from "./transport.ts";

const token = "a".repeat(43);
const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

function makeHome(): string {
  const directory = mkdtempSync(path.join(tmpdir(), "hf-"));
  closers.push(() => rmSync(directory, { recursive: true, force: true }));
  writeFileSync(path.join(directory, "token"), `${token}\n`, { mode: 0o600 });
  return directory;
}

type Where = { readonly directory: string; readonly isTcp?: boolean; readonly knows?: string };

/** A daemon as it stands in its directory: it answers the challenge and says where it listens. */
async function startIn(where: Where, engine = openTestEngine()): Promise<SmallDaemon> {
  const { directory, isTcp = false, knows = token } = where;
  const socket = path.join(directory, "daemon.sock");
  const own = { port: 1 };
  const intercept = (request: IncomingMessage, response: ServerResponse): boolean => {
    if (request.url?.startsWith("/health") !== true) return false;
    const challenge = new URL(request.url, "http://localhost").searchParams.get("challenge") ?? "";
    const proof = proofOf(knows, isTcp ? own.port : 0, challenge);
    const about = { pid: process.pid, startedAt: 1, version: "0", uptimeMs: 1 };
    response
      .writeHead(200, { "content-type": "application/json" })
      .end(JSON.stringify({ status: "ok", proof, ...about }));
    return true;
  };
  rmSync(socket, { force: true });
  const daemon = await startSmallDaemon(engine, { token: knows, intercept, ...(isTcp ? {} : { at: socket }) });
  if (isTcp) own.port = Number(new URL(daemon.url).port);
  const found = {
    pid: process.pid,
    port: own.port,
    host: "127.0.0.1",
    socket: isTcp ? null : socket,
    startedAt: 1,
    version: "0",
  };
  writeFileSync(path.join(directory, "daemon.json"), JSON.stringify(found), { mode: 0o600 });
  closers.push(engine.close);
  closers.push(daemon.close);
  return daemon;
}

for (const isTcp of [false, true]) {
  describe(`the contract over ${isTcp ? "loopback TCP" : "the Unix socket"}:`, () => {
    const makeWorld = async () => {
      const directory = makeHome();
      const engine = openTestEngine();
      const daemon = await startIn({ directory, isTcp }, engine);
      return { engine, open: () => daemonTransport(directory), cut: daemon.cut, close: daemon.close };
    };
    for (const { name, run } of transportContract({ makeWorld })) test(name, run);
  });
}

test("a daemon that restarts at another place is found again, and no event is lost", async () => {
  const directory = makeHome();
  const engine = openTestEngine();
  const first = await startIn({ directory, isTcp: true }, engine);
  const client = await connectDaemon({ directory });
  closers.push(client.close);
  const heard: HoldfastEvent[] = [];
  client.subscribe((event) => heard.push(event));
  const waiting = await client.queue.add({ type: "contract.apply", payload: 1, notBefore: 32_503_680_000_000 });
  const settled = waiting.settled({ timeoutMs: 20_000 });
  await first.close();
  const other = await engine.submit("queue.add", { type: "contract.apply", payload: 2, notBefore: 32_503_680_000_000 });
  await startIn({ directory, isTcp: true }, engine);
  // Not repeatable, and yet safe: it never left this process before the daemon was found again.
  const ids = [waiting.id, other.id];
  expect((await client.queue.cancel({ ids })).done).toEqual(ids);
  expect((await settled).status).toBe("cancelled");
  await expect.poll(() => heard.map(({ kind }) => kind)).toEqual(["enqueued", "enqueued", "cancelled", "cancelled"]);
});

test("a daemon that restarts with a new token is proved again, and its client goes on", async () => {
  const directory = makeHome();
  const engine = openTestEngine();
  const first = await startIn({ directory }, engine);
  const client = await connectDaemon({ directory });
  closers.push(client.close);
  await client.queue.list();
  await first.close();
  const fresh = "b".repeat(43);
  writeFileSync(path.join(directory, "token"), `${fresh}\n`, { mode: 0o600 });
  await startIn({ directory, knows: fresh }, engine);
  // The client has seen its connection close, and has asked nothing while the daemon was away.
  await sleep(50);
  const operation = await client.queue.add({ type: "contract.apply", payload: 1 });
  expect((await operation.settled({ timeoutMs: 10_000 })).status).toBe("completed");
});

test("a program that took the daemon's port is never told the token", async () => {
  const directory = makeHome();
  const daemon = await startIn({ directory, isTcp: true });
  const client = await connectDaemon({ directory });
  closers.push(client.close);
  await client.queue.list();
  const port = Number(new URL(daemon.url).port);
  await daemon.close();
  const secrets: unknown[] = [];
  const other = openTestEngine();
  closers.push(other.close);
  const squatter = await startSmallDaemon(other, {
    token: "x",
    at: port,
    intercept: (request, response) => {
      secrets.push(request.headers.authorization);
      response
        .writeHead(200, { "content-type": "application/json" })
        .end(JSON.stringify({ status: "ok", proof: "x".repeat(43) }));
      return true;
    },
  });
  closers.push(squatter.close);
  await expect(client.queue.list()).rejects.toMatchObject({
    code: expect.stringMatching(/daemon_(untrusted|unreachable)/),
  });
  await expect(connectDaemon({ directory })).rejects.toMatchObject({
    code: expect.stringMatching(/daemon_(untrusted|unreachable)/),
  });
  expect(secrets.length).toBeGreaterThan(0);
  expect(secrets.filter((secret) => secret !== undefined)).toEqual([]);
});

test("a daemon is started when none runs and a way is given, and only then", async () => {
  const directory = makeHome();
  await expect(connectDaemon({ directory })).rejects.toMatchObject({ code: "daemon_unreachable" });
  const asked: string[] = [];
  const start = async (where: string): Promise<void> => {
    asked.push(where);
    await startIn({ directory });
  };
  for (let times = 0; times < 2; times += 1) {
    const client = await connectDaemon({ directory, start });
    expect((await client.queue.list()).operations).toEqual([]);
    await client.close();
  }
  expect(asked).toEqual([directory]);
});

test("a directory or a token that others could have written is refused", async () => {
  const directory = makeHome();
  await startIn({ directory });
  chmodSync(directory, 0o777);
  await expect(connectDaemon({ directory })).rejects.toMatchObject({ code: "config_invalid" });
  chmodSync(directory, 0o700);
  chmodSync(path.join(directory, "token"), 0o644);
  await expect(connectDaemon({ directory })).rejects.toMatchObject({ code: "config_invalid" });
  rmSync(path.join(directory, "token"));
  writeFileSync(path.join(directory, "elsewhere"), token, { mode: 0o600 });
  symlinkSync(path.join(directory, "elsewhere"), path.join(directory, "token"));
  await expect(connectDaemon({ directory })).rejects.toMatchObject({ code: "config_invalid" });
});

test("a misspelt option is named", async () => {
  await expect(connectDaemon({ directoy: "/tmp" } as never)).rejects.toThrow('did you mean "directory"?');
});
