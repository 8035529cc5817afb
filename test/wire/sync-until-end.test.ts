// Owns that a client's sync resolves when it has ended, with what it moved: everything, one collection, one record, over real HTTP.
// Leaves the words of the command to test/cli and test/story.
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, expect, test } from "vitest";
import type { Client } from "../../src/client/client.ts";
import { connect } from "../../src/client/client.ts";
import type { Engine } from "../../src/engine/engine.ts";
import { openEngine } from "../../src/node/engine.ts";
import { startServer } from "../../src/node/server-host.ts";

const ends: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

function newDirectory(): string {
  const directory = mkdtempSync(path.join(tmpdir(), "holdfast-synced-"));
  ends.push(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

type Opened = { readonly engine: Engine; readonly client: Client };

async function openClient(url: string, token: string, isStarted = true): Promise<Opened> {
  // In manual mode nothing moves unless it is asked for, so whatever has moved, the sync has moved.
  const settings = { syncMode: "manual" } as const;
  const engine = await openEngine({ directory: newDirectory(), sync: { url, token, space: "main" }, settings });
  for (const name of ["notes", "tasks"]) engine.handle("collections.declare", { name });
  if (isStarted) engine.start();
  const client = connect({ engine });
  ends.push(async () => {
    await client.close();
    await engine.stop(0);
    engine.close();
  });
  return { engine, client };
}

const shownIn = async ({ client }: Opened, key: string) => (await client.collection("notes").get(key))?.value ?? null;

test("sync resolves with what it moved, for everything, one collection and one record", {
  timeout: 60_000,
}, async () => {
  const server = await startServer({
    ...{ place: { kind: "embedded", directory: newDirectory() }, config: {}, isDevelopment: true },
    ...{ host: "127.0.0.1", port: 0, log: () => {} },
  });
  ends.push(server.stop);
  const [ann, bob] = [
    await openClient(server.url, server.token ?? ""),
    await openClient(server.url, server.token ?? ""),
  ];
  for (const key of ["n1", "n2"]) await ann.client.collection("notes").put(key, { a: 1 });
  expect(await ann.client.collection("notes").sync({}, { timeoutMs: 20_000 })).toMatchObject({
    isComplete: true,
    isOffline: false,
    run: { succeeded: 2, failed: 0, remaining: 0, pushed: 2 },
    collections: [{ spec: { name: "notes" }, state: "idle", pending: 0 }],
  });
  const all = await bob.client.synced({ timeoutMs: 20_000 });
  expect(all).toMatchObject({ isComplete: true, run: { pulled: 2, pushed: 0 } });
  expect(all.collections.map(({ spec }) => spec.name)).toEqual(["notes", "tasks"]);
  expect(await shownIn(bob, "n2")).toEqual({ a: 1 });
  await ann.client.collection("notes").put("n1", { a: 2 });
  await ann.client.synced({ timeoutMs: 20_000 });
  expect(await bob.client.collection("notes").sync({ key: "n1" }, { timeoutMs: 20_000 })).toMatchObject({
    isComplete: true,
    run: { pulled: 1 },
  });
  expect(await shownIn(bob, "n1")).toEqual({ a: 2 });
  // What waits for a person is left over, and said so.
  await ann.client.collection("notes").update("n1", { a: 3 });
  await bob.client.collection("notes").update("n1", { a: 4 });
  await ann.client.synced({ timeoutMs: 20_000 });
  expect(await bob.client.synced({ timeoutMs: 20_000 })).toMatchObject({
    isComplete: false,
    run: { conflicts: 1, remaining: 1 },
  });
});

test("sync ends where nothing can move: offline, without a sender, past its time, with the client", {
  timeout: 60_000,
}, async () => {
  const { client } = await openClient("http://127.0.0.1:9", "none", false);
  expect(await client.synced()).toMatchObject({ isComplete: false, sentence: expect.stringContaining("No process") });
  await client.network.offline();
  expect(await client.collection("notes").sync()).toMatchObject({ isComplete: false, isOffline: true, run: null });
  // A server that takes every request and never answers.
  const silent = createServer().listen(0, "127.0.0.1");
  await once(silent, "listening");
  ends.push(() => void silent.close());
  const deaf = await openClient(`http://127.0.0.1:${(silent.address() as AddressInfo).port}`, "none");
  await expect(deaf.client.synced({ timeoutMs: 1 })).rejects.toMatchObject({ code: "timed_out" });
  await expect(deaf.client.synced({ signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "aborted" });
  await expect(deaf.client.synced({ signal: AbortSignal.timeout(20) })).rejects.toMatchObject({ code: "aborted" });
  await expect(deaf.client.synced({ tiemoutMs: 1 } as never)).rejects.toThrow(TypeError);
  const left = deaf.client.synced();
  setTimeout(() => void deaf.client.close(), 50);
  await expect(left).rejects.toMatchObject({ code: "engine_closed" });
});
