// Owns the promise that uploads and commands keep their promises inside the real engine: checkpoints, restarts, answers.
// Leaves each handler by itself to the other files of this folder.
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { makeBlobs } from "../../src/node/blobs.ts";
import { openEngine } from "../../src/node/engine.ts";
import type { Json, Operation } from "../../src/operation.ts";
import type { FaultProxy } from "./support/proxy.ts";
import { openFaultProxy } from "./support/proxy.ts";
import type { TusServer } from "./support/tus-server.ts";
import { sha256Of, startTusServer, uploadsOf } from "./support/tus-server.ts";

const size = 32 * 1_048_576;
let folder: string;
let received: string;
let data: string;
let server: TusServer;
let proxy: FaultProxy;

beforeEach(async () => {
  folder = mkdtempSync(path.join(tmpdir(), "holdfast-engine-"));
  received = path.join(folder, "received");
  data = path.join(folder, "data");
  mkdirSync(received);
  server = await startTusServer(received);
  proxy = await openFaultProxy(server.port);
});
afterEach(async () => {
  expect(proxy.armed()).toEqual([]);
  await proxy.close();
  await server.close();
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
});

type Opened = Awaited<ReturnType<typeof openEngine>>;

async function until(engine: Opened, id: string, what: (operation: Operation) => boolean): Promise<Operation> {
  for (const end = Date.now() + 20_000; Date.now() < end; ) {
    const operation = engine.handle("queue.get", { id }) as Operation;
    if (what(operation)) return operation;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`it came to ${JSON.stringify(engine.handle("queue.get", { id }))}`);
}

test("an upload that is cut, stopped and opened again lands once, whole, in one upload at the server", async () => {
  const source = path.join(folder, "big.bin");
  writeFileSync(source, randomBytes(size));
  const file = await makeBlobs(data).captureFile(source);
  const payload = { file, url: `http://127.0.0.1:${proxy.port}/files`, protocol: "tus", chunkBytes: 4 * 1_048_576 };
  const first = await openEngine({ directory: data });
  const { id } = first.handle("queue.add", { type: "file.upload", payload: payload as Json as never });
  proxy.cutAfter(6 * 1_048_576);
  first.start();
  await until(first, id, ({ progress }) => (progress?.done ?? 0) > 12 * 1_048_576);
  await first.stop(0);
  first.close();

  const second = await openEngine({ directory: data });
  const before = second.handle("queue.get", { id }) as Operation;
  expect(before.status).toBe("pending");
  expect(before.failures).toBe(0);
  expect((before.checkpoint as { offset: number }).offset).toBeGreaterThan(0);
  second.start();
  const done = await until(second, id, ({ status }) => status === "completed");
  await second.stop();
  second.close();
  expect(done.result).toMatchObject({ sizeBytes: size, isVerified: true });
  const [whole = ""] = uploadsOf(received, size);
  expect(await sha256Of(whole)).toBe(await sha256Of(source));
  expect(server.seen.filter(({ method }) => method === "POST")).toHaveLength(1);
  expect(proxy.sentBytes()).toBeLessThan(1.5 * size);
});

test("a command runs, its output is kept, and one that was stopped midway asks before it runs again", async () => {
  const engine = await openEngine({ directory: data, commands: true });
  const add = (payload: object) => engine.handle("queue.add", { type: "command.run", payload: payload as never });
  const quick = add({ argv: ["sh", "-c", "echo hello"], cwd: folder });
  const ran = path.join(folder, "ran");
  const slow = add({ argv: ["sh", "-c", `echo ran >> ${ran}; sleep 300`], cwd: folder });
  engine.start();
  const done = await until(engine, quick.id, ({ status }) => status === "completed");
  expect(done.result).toMatchObject({ exitCode: 0, stdout: "hello\n" });
  await until(engine, slow.id, ({ checkpoint }) => checkpoint !== null);
  await engine.stop(0);
  engine.close();

  const again = await openEngine({ directory: data, commands: true });
  again.start();
  const parked = await until(again, slow.id, ({ status }) => status === "failed");
  expect(parked).toMatchObject({ reason: "unsure", mayHaveLanded: true });
  await again.stop();
  again.close();
  expect(readFileSync(ran, "utf8")).toBe("ran\n");
});
