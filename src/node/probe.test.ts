// Owns what the probe of a sync server believes, and that a sign-in page in its place makes nothing flap.
// Leaves probes of other remotes to world.test.ts.
import { mkdtempSync, rmSync } from "node:fs";
import type { RequestListener } from "node:http";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, test } from "vitest";
import { openEngine } from "./engine.ts";
import { healthOf, makeProbe } from "./probe.ts";

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const each of undo.splice(0).reverse()) await each();
});

async function newServer(answer: RequestListener): Promise<string> {
  const server = createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  undo.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const page: RequestListener = (_request, response) => {
  response.writeHead(200, { "content-type": "text/html" }).end("<html>Sign in to the Wi-Fi of the harbour</html>");
};
const health = { status: "ok", version: "0.1.0" };
const json = (body: unknown, status = 200): RequestListener => {
  return (_request, response) =>
    response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
};

describe("the probe of a sync server", () => {
  const look = (server: string) => makeProbe()(server, new AbortController().signal, [healthOf(server)]);

  test("believes its health alone, not a page or another JSON in its place", async () => {
    const portal = await newServer(page);
    expect(await look(portal)).toEqual({
      isReachable: false,
      reason: `${portal}/health answered 200, and not as a sync server: a captive portal?`,
    });
    for (const body of ["ok", null, {}, { status: "ok" }, { status: "login", version: "1" }, [health]])
      expect((await look(await newServer(json(body)))).isReachable, JSON.stringify(body)).toBe(false);
    expect((await look(await newServer(json(health)))).isReachable).toBe(true);
    // Its database is away, and it says so itself: the network reaches it.
    expect((await look(await newServer(json({ ...health, status: "failing" }, 503)))).isReachable).toBe(true);
  });

  test("asks below the path of its address, as JSON, and follows it within its host", async () => {
    const asked: unknown[] = [];
    const server = await newServer((request, response) => {
      asked.push([request.url, request.headers.accept]);
      if (request.url === "/sync/health") response.writeHead(308, { location: "/v2/health" }).end();
      else json(health)(request, response);
    });
    expect((await look(`${server}/sync/`)).isReachable).toBe(true);
    expect(asked).toEqual([
      ["/sync/health", "application/json"],
      ["/v2/health", "application/json"],
    ]);
    const circle = await newServer((_request, response) => response.writeHead(302, { location: "/health" }).end());
    expect((await look(circle)).isReachable).toBe(false);
  });

  test("gives way to endpoints that are configured for it", async () => {
    const portal = await newServer(page);
    const endpoints = { [portal]: [{ url: `${portal}/mine`, body: "harbour" }] };
    const probe = makeProbe({ endpoints });
    expect((await probe(portal, new AbortController().signal, [healthOf(portal)])).isReachable).toBe(true);
  });
});

test("a sign-in page on the address of the sync server keeps it offline, without a flap, until the server is back", async () => {
  let answer = page;
  const url = await newServer((request, response) => answer(request, response));
  const directory = mkdtempSync(join(tmpdir(), "holdfast-probe-"));
  undo.push(() => rmSync(directory, { recursive: true, force: true }));
  const engine = await openEngine({
    directory,
    sync: { url, space: "team", token: "t" },
    network: { confirmMs: 20, probeInitialMs: 40, probeMaxMs: 40, reconnectJitterMs: 1 },
  });
  undo.push(async () => {
    await engine.stop(0);
    engine.close();
  });
  engine.start();
  engine.handle("collections.declare", { name: "notes" });
  const state = () => engine.handle("network.status", {}).remotes.find(({ remote }) => remote === url);
  const until = async (status: string) => {
    await expect.poll(() => state()?.status, { interval: 10 }).toBe(status);
  };
  await until("offline");
  const since = state()?.since;
  await sleep(600);
  const later = state();
  // Probed again and again, with the same belief all the time.
  expect([later?.status === "online", later?.since]).toEqual([false, since]);
  answer = json(health);
  await until("online");
});
