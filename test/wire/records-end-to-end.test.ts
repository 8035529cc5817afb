// Owns the thinnest whole thing: engines and a server over HTTP, one record each way, and a client that was away while the server forgot.
// Leaves the rules of both sides to the tests beside them.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, expect, test, vi } from "vitest";
import type { Engine } from "../../src/engine/engine.ts";
import { openEngine } from "../../src/node/engine.ts";
import { startServer } from "../../src/node/server-host.ts";

const ends: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

function newDirectory(): string {
  const directory = mkdtempSync(path.join(tmpdir(), "holdfast-records-"));
  ends.push(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

const dayMs = 86_400_000;

async function openClient(sync: { readonly url: string; readonly token: string }, directory: string): Promise<Engine> {
  const engine = await openEngine({ directory, sync: { ...sync, space: "main" } });
  engine.handle("collections.declare", { name: "notes" });
  engine.start();
  return engine;
}

async function closeClient(engine: Engine): Promise<void> {
  await engine.stop(0);
  engine.close();
}

const shown = (engine: Engine, key: string): unknown => {
  try {
    return engine.handle("records.get", { collection: "notes", key }).record?.value ?? null;
  } catch {
    return null;
  }
};
const write = (engine: Engine, key: string, fields: { readonly [name: string]: number }): unknown =>
  engine.handle("records.write", { kind: "put", collection: "notes", key, value: fields });
const soon = { timeout: 15_000, interval: 50 };

test("a record goes from one client to another and back", { timeout: 60_000 }, async () => {
  const server = await startServer({
    ...{ place: { kind: "embedded", directory: newDirectory() }, config: {}, isDevelopment: true },
    ...{ host: "127.0.0.1", port: 0, log: () => {} },
  });
  ends.push(server.stop);
  const sync = { url: server.url, token: server.token ?? "" };
  const [ann, bob] = [await openClient(sync, newDirectory()), await openClient(sync, newDirectory())];
  ends.push(() => closeClient(ann));
  ends.push(() => closeClient(bob));
  write(ann, "n1", { a: 1 });
  await vi.waitFor(() => expect(shown(bob, "n1")).toEqual({ a: 1 }), soon);
  bob.handle("records.write", { kind: "update", collection: "notes", key: "n1", fields: { b: 2 } });
  await vi.waitFor(() => expect(shown(ann, "n1")).toEqual({ a: 1, b: 2 }), soon);
});

test("a client that was away while removals were forgotten reads everything again, once, over several pages", {
  timeout: 60_000,
}, async () => {
  const directory = newDirectory();
  const home = newDirectory();
  let now = Date.now();
  const server = await startServer({
    ...{ place: { kind: "embedded", directory: newDirectory() }, isDevelopment: true },
    ...{ config: { limits: { pageBytes: 1 } }, host: "127.0.0.1", port: 0, log: () => {}, now: () => now },
  });
  ends.push(server.stop);
  const sync = { url: server.url, token: server.token ?? "" };
  const ann = await openClient(sync, directory);
  for (let n = 1; n <= 8; n += 1) write(ann, `n${n}`, { n });
  const bob = await openClient(sync, home);
  await vi.waitFor(() => expect(shown(bob, "n8")).toEqual({ n: 8 }), soon);
  await closeClient(bob);
  for (const key of ["n2", "n7"]) ann.handle("records.write", { kind: "remove", collection: "notes", key });
  const isSent = (): boolean => ann.handle("queue.status", {}).unsent === 0;
  await vi.waitFor(() => expect(isSent()).toBe(true), soon);
  ends.push(() => closeClient(ann));
  now += 100 * dayMs;
  await server.compact();
  write(ann, "n9", { n: 9 });
  const back = await openClient(sync, home);
  ends.push(() => closeClient(back));
  write(back, "mine", { n: 1 });
  await vi.waitFor(() => expect(shown(back, "n9")).toEqual({ n: 9 }), soon);
  await vi.waitFor(() => expect([shown(back, "n2"), shown(back, "n7")]).toEqual([null, null]), soon);
  await vi.waitFor(() => expect(shown(ann, "mine")).toEqual({ n: 1 }), soon);
  const fresh = await openClient(sync, newDirectory());
  ends.push(() => closeClient(fresh));
  await vi.waitFor(() => expect(shown(fresh, "n9")).toEqual({ n: 9 }), soon);
});
