// Owns kill -9 of the daemon while something is on the wire: a big upload that the receiver takes slowly, and a sync that somebody waits for.
// Leaves kills between statements to test/crash, and the parts of an upload to test/transfer.
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { Socket } from "node:net";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect, test } from "vitest";
import { kill, startCommand, until } from "../support/processes.ts";
import { sha256Of, startTusServer, uploadsOf } from "../transfer/support/tus-server.ts";
import type { Device } from "./devices.ts";
import { openStage } from "./devices.ts";

const stage = openStage();
const folder = mkdtempSync(path.join(tmpdir(), "holdfast-killed-"));
const ends: (() => unknown)[] = [];
afterAll(async () => {
  await stage.close();
  for (const end of ends) await end();
  rmSync(folder, { recursive: true, force: true });
});

type Slow = { readonly url: string; readonly sentBytes: () => number; pauseMs: number; isHolding: boolean };

/** Between a client and a server: each block of the client waits, and answers are held back when that is wanted. */
async function openSlow(port: number): Promise<Slow> {
  const sockets = new Set<Socket>();
  let sent = 0;
  const server = createServer((client) => {
    const upstream = connect(port, "127.0.0.1");
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(from.on("error", () => undefined).on("close", () => to.destroy()));
    }
    client.on("data", (block) => {
      sent += block.length;
      upstream.write(block);
      client.pause();
      setTimeout(() => client.resume(), slow.pauseMs);
    });
    upstream.on("data", (block) => {
      if (!slow.isHolding) client.write(block);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  ends.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const { port: own } = server.address() as { readonly port: number };
  const slow: Slow = { url: `http://127.0.0.1:${own}`, sentBytes: () => sent, pauseMs: 0, isHolding: false };
  return slow;
}

async function killDaemon(device: Device): Promise<void> {
  const { pid } = await device.ask<{ readonly pid: number }>("daemon status");
  kill(pid);
}

test("an upload that is cut by kill -9 goes on where it was with the next command, and arrives once", async () => {
  const received = path.join(folder, "received");
  mkdirSync(received);
  const tus = await startTusServer(received);
  ends.push(tus.close);
  const slow = await openSlow(tus.port);
  slow.pauseMs = 4;
  const sizeBytes = 48 * 1024 * 1024;
  const file = path.join(folder, "film.bin");
  writeFileSync(file, randomBytes(sizeBytes));
  const ada = await stage.device("ada", null);
  const id = (await ada.run(`upload ${file} ${slow.url}/files -q`)).trim();
  await until(() => slow.sentBytes() > sizeBytes / 2, "half of it is on its way");
  await killDaemon(ada);
  slow.pauseMs = 0;
  await ada.run("sync --wait --timeout 60s");
  expect(await ada.ask(`queue show ${id}`)).toMatchObject({ status: "completed" });
  const [arrived, ...more] = uploadsOf(received, sizeBytes);
  expect(more).toEqual([]);
  expect(await sha256Of(arrived ?? "")).toBe(await sha256Of(file));
  expect(tus.seen.filter(({ method }) => method === "POST")).toHaveLength(1);
  // What was in the air is sent twice, and no more.
  expect(slow.sentBytes()).toBeLessThan(sizeBytes * 1.5);
});

test("a write whose answer is lost with the daemon lands once, and who waited is told", async () => {
  const server = await stage.startServer();
  const slow = await openSlow(Number(new URL(server.url).port));
  const bea = await stage.device("bea", { ...server, url: slow.url });
  await bea.run("collections declare notes");
  await bea.run("collections sync --wait --timeout 30s");
  slow.isHolding = true;
  const waiting = startCommand(["sync", "--wait"], { home: bea.home });
  await bea.run('records put notes n1 --data {"title":"Tides"}');
  const sure = await stage.device("cy", server);
  await sure.run("collections declare notes");
  await until(async () => {
    await sure.run("collections sync --wait --timeout 30s");
    return (await sure.run("records list notes -q")).trim() === "n1";
  }, "the server has it");
  expect(await bea.run("records get notes n1 --json")).toContain('"pending"');
  await killDaemon(bea);
  slow.isHolding = false;
  const ended = await waiting.ended;
  expect([ended.code, ended.stderr], ended.stdout).toEqual([0, expect.stringContaining("going on with a new one")]);
  await bea.run("sync --wait --timeout 30s");
  expect(await bea.ask("records get notes n1")).toMatchObject({ state: "synced", version: 1 });
});
