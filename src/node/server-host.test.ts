/**
 * Owns the limits of the socket that a sync server listens on. What it answers is tested beside `server/server.ts`, its life as a process in test/wire.
 */
import { mkdtempSync, rmSync } from "node:fs";
import type { Socket } from "node:net";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import type { LogEntry } from "../server/core.ts";
import type { RunningServer } from "./server-host.ts";
import { startServer } from "./server-host.ts";

const directory = mkdtempSync(join(tmpdir(), "holdfast-host-"));
let server: RunningServer | undefined;
const sockets: Socket[] = [];
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await server?.stop();
  rmSync(directory, { recursive: true, force: true });
});

/** Asks for the health on a connection of its own that stays open; null: it was hung up on. */
const ask = (port: number): Promise<string | null> =>
  new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    sockets.push(socket);
    socket.on("error", () => resolve(null));
    socket.on("close", () => resolve(null));
    socket.once("data", (data) => resolve(String(data).split("\r\n")[0] ?? ""));
    socket.write("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
  });

test("connections up to the limit are answered, one past it is hung up on and told in the log, and a free place is taken", async () => {
  const log: LogEntry[] = [];
  server = await startServer({
    ...{ place: { kind: "embedded", directory }, config: { limits: { sockets: 2 } }, isDevelopment: true },
    ...{ host: "127.0.0.1", port: 0, log: (entry) => log.push(entry) },
  });
  const { port } = server;
  expect(await Promise.all([ask(port), ask(port)])).toEqual(["HTTP/1.1 200 OK", "HTTP/1.1 200 OK"]);
  expect([await ask(port), await ask(port)]).toEqual([null, null]);
  expect(log.filter(({ level }) => level === "warn")).toMatchObject([
    { hint: expect.stringContaining("limits.sockets") },
  ]);
  sockets[0]?.destroy();
  await expect.poll(() => ask(port)).toBe("HTTP/1.1 200 OK");
});
