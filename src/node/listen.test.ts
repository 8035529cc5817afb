// Owns that an error of a listening port costs neither the daemon nor the sync server.
// Leaves who may call to guard.test.ts and test/security.
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { runDaemon } from "./daemon.ts";
import { openEngine } from "./engine.ts";
import { startServer } from "./server-host.ts";

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const each of undo.splice(0)) await each();
});

/** The socket that listens on a port of this process, as the operating system's events reach it. */
function socketOn(port: number): Server {
  const handles = (process as unknown as { _getActiveHandles(): unknown[] })._getActiveHandles();
  const found = handles.find((each) => {
    const address = each instanceof Server ? each.address() : null;
    return address !== null && typeof address === "object" && address.port === port;
  });
  if (!(found instanceof Server)) throw new Error(`nothing listens on ${port}`);
  return found;
}

const tooManyFiles = (): Error => Object.assign(new Error("accept EMFILE"), { code: "EMFILE" });

test("an error of the daemon's port is logged, and the daemon goes on answering", async () => {
  const directory = mkdtempSync(join(tmpdir(), "holdfast-listen-"));
  undo.push(() => rmSync(directory, { recursive: true, force: true }));
  const messages: string[] = [];
  const daemon = await runDaemon({
    directory,
    version: "0.0.0",
    openEngine: () => openEngine({ directory }),
    log: { write: (_level, message) => messages.push(message), setLevel: () => {}, close: () => {} },
  });
  undo.unshift(() => daemon.stop(0));
  socketOn(daemon.port).emit("error", tooManyFiles());
  expect(messages.join("\n")).toContain("the port failed");
  expect((await fetch(`http://127.0.0.1:${daemon.port}/health?challenge=${"c".repeat(32)}`)).status).toBe(200);
});

test("an error of the sync server's port is logged, and the server goes on answering", async () => {
  const directory = mkdtempSync(join(tmpdir(), "holdfast-listen-"));
  undo.push(() => rmSync(directory, { recursive: true, force: true }));
  const messages: string[] = [];
  const server = await startServer({
    place: { kind: "embedded", directory },
    config: {},
    isDevelopment: true,
    host: "127.0.0.1",
    port: 0,
    log: ({ message }) => messages.push(message),
  });
  undo.unshift(server.stop);
  socketOn(server.port).emit("error", tooManyFiles());
  expect(messages).toContain("the port failed");
  expect((await fetch(`${server.url}/health`)).status).toBe(200);
});

test("a port that somebody else has is named, with what to do", async () => {
  const taken = new Server().listen(0, "127.0.0.1");
  undo.push(() => taken.close());
  await once(taken, "listening");
  const { port } = taken.address() as AddressInfo;
  const directory = mkdtempSync(join(tmpdir(), "holdfast-listen-"));
  undo.push(() => rmSync(directory, { recursive: true, force: true }));
  const started = runDaemon({ directory, port, version: "0.0.0", openEngine: () => openEngine({ directory }) });
  await expect(started).rejects.toMatchObject({
    code: "config_invalid",
    message: `cannot listen on 127.0.0.1:${port}: EADDRINUSE`,
    hint: expect.stringContaining("another program has this port"),
  });
});
