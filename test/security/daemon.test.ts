// Owns the twelve checks of a daemon on a shared machine, run against every route that its own OpenAPI document names.
// Leaves the pure decisions to src/node/guard.test.ts and malformed input to test/fuzz/.
import { chmodSync, lstatSync, mkdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { connect } from "node:net";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { runDaemon } from "../../src/node/daemon.ts";
import { daemonStatus, startDetached } from "../../src/node/detached.ts";
import { isProof } from "../../src/node/guard.ts";
import { writePortFile } from "../../src/node/home.ts";
import { makeOpenApi } from "../../src/node/openapi.ts";
import { acquireFileLock } from "../../src/node/sqlite.ts";
import { verbNames } from "../../src/verbs.ts";
import type { Answered, Asked, TestDaemon } from "../support/daemon.ts";
import { ask, startTestDaemon, temporaryDirectory } from "../support/daemon.ts";
import { openMemoryEngine } from "../support/memory-engine.ts";

const allowed = "http://localhost:5173";
const config = `[daemon]\nallowed_origins = ["${allowed}"]\nmax_body = 4096\nmax_event_clients = 2\nmax_connections = 40\nrequests_per_second = 1000000\n`;
const document = makeOpenApi("0.0.0");
const routes = Object.entries(document.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({
    name: `${method.toUpperCase()} ${path}`,
    path,
    method: method.toUpperCase(),
    isOpen: operation.security?.some((each) => Object.keys(each).length === 0) === true,
  })),
);

let place: ReturnType<typeof temporaryDirectory>;
let running: TestDaemon;
beforeAll(async () => {
  place = temporaryDirectory();
  const configFile = join(place.path, "config.toml");
  writeFileSync(configFile, config);
  running = await startTestDaemon({ configFile });
});
afterAll(async () => {
  await running.close();
  place.remove();
});

type Route = (typeof routes)[number];
const askRoute = (route: Route, asked: Asked = {}): Promise<Answered> =>
  ask(running.daemon, {
    path: route.path,
    method: route.method,
    ...(route.method === "POST" ? { body: "{}" } : {}),
    ...asked,
  });
const codeOf = (answer: Answered): string =>
  `${answer.status} ${(JSON.parse(answer.text || "{}") as { code?: string }).code}`;

test("the document names every verb and every other route of the application", () => {
  expect(routes.map((each) => each.name).sort()).toEqual(
    [
      ...verbNames.map((verb) => `POST /v1/${verb}`),
      "GET /v1/events",
      "GET /health",
      "GET /metrics",
      "GET /openapi.json",
    ].sort(),
  );
  expect(routes.filter((each) => each.isOpen).map((each) => each.path)).toEqual(["/health"]);
});

describe.each(routes)("$name", (route) => {
  test("(a) answers only to its own loopback names and port", async () => {
    const { port } = running.daemon;
    const foreign = [
      "evil.example",
      `evil.example:${port}`,
      "127.0.0.1",
      `127.0.0.1:${port + 1}`,
      `localhost.:${port}`,
      `127.0.0.1.evil.example:${port}`,
      `[::2]:${port}`,
      `127.1:${port}`,
      `0.0.0.0:${port}`,
      `user@127.0.0.1:${port}`,
      "",
    ];
    for (const host of foreign) expect(codeOf(await askRoute(route, { headers: { host } }))).toBe("403 forbidden_host");
    for (const host of [`127.0.0.1:${port}`, `localhost:${port}`, `[::1]:${port}`, `LOCALHOST:${port}`]) {
      expect((await askRoute(route, { headers: { host } })).status).not.toBe(403);
    }
    for (const host of ["evil.example", "", "::"]) {
      expect(codeOf(await askRoute(route, { isLocal: true, headers: { host } }))).toBe("403 forbidden_host");
    }
  });

  test("(b) refuses a page of any origin that is not on the list, with the right token as well", async () => {
    const { port } = running.daemon;
    for (const origin of [
      "https://evil.example",
      "null",
      `http://127.0.0.1:${port}`,
      `${allowed}.evil.example`,
      `${allowed}/`,
      allowed.toUpperCase(),
      "*",
      "file://",
    ]) {
      const answer = await askRoute(route, { headers: { origin } });
      expect(codeOf(answer)).toBe("403 forbidden_origin");
      expect(answer.headers["access-control-allow-origin"]).toBeUndefined();
    }
    expect((await askRoute(route, { headers: { origin: allowed } })).status).not.toBe(403);
  });

  test("(c) asks for the token, accepts it in no other place, and never shows it", async () => {
    const { token } = running.daemon;
    const wrong = [
      "",
      "Bearer",
      "Bearer ",
      `Bearer ${token}x`,
      `Bearer ${token.slice(1)}`,
      `Basic ${token}`,
      token,
      `Bearer ${"A".repeat(43)}`,
      `Bearer ${token} ${token}`,
    ];
    for (const authorization of wrong) {
      const answer = await askRoute(route, { headers: { authorization } });
      expect(codeOf(answer)).toBe("401 unauthorized");
      expect(answer.headers["content-type"]).toBe("application/problem+json");
      expect(JSON.stringify(answer)).not.toContain(token);
    }
    const host = `127.0.0.1:${running.daemon.port}`;
    const bare = { isBare: true, headers: { host, "content-type": "application/json" } } as const;
    for (const path of [
      `${route.path}?token=${token}`,
      `${route.path}?access_token=${token}&authorization=Bearer%20${token}`,
    ]) {
      const answer = await askRoute(route, { ...bare, path });
      expect(route.isOpen ? Object.keys(JSON.parse(answer.text)) : codeOf(answer)).toEqual(
        route.isOpen ? ["status"] : "401 unauthorized",
      );
      expect(answer.text).not.toContain(token);
    }
    expect((await askRoute(route, { ...bare, headers: { ...bare.headers, cookie: `token=${token}` } })).status).toBe(
      route.isOpen ? 200 : 401,
    );
  });

  test("(d) takes JSON bodies only", async () => {
    for (const type of [
      "text/plain",
      "application/x-www-form-urlencoded",
      "multipart/form-data; boundary=x",
      "application/json; charset=utf-16",
      "application/jsonp",
      "text/json",
      "",
    ]) {
      const answer = await askRoute(route, { method: "POST", body: "{}", headers: { "content-type": type } });
      expect(codeOf(answer)).toBe("415 unsupported_media_type");
    }
    const packed = await askRoute(route, { method: "POST", body: "{}", headers: { "content-encoding": "gzip" } });
    expect(codeOf(packed)).toBe("415 unsupported_media_type");
    const host = `127.0.0.1:${running.daemon.port}`;
    const untyped = { host, authorization: `Bearer ${running.daemon.token}`, "content-length": "2" };
    expect(codeOf(await askRoute(route, { method: "POST", body: "{}", isBare: true, headers: untyped }))).toBe(
      "415 unsupported_media_type",
    );
  });

  test("(e) sends no wildcard and no credentials, and refuses the preflight of others", async () => {
    const preflight = (origin: string): Asked => ({
      method: "OPTIONS",
      isBare: true,
      headers: {
        host: `127.0.0.1:${running.daemon.port}`,
        origin,
        "access-control-request-method": route.method,
        "access-control-request-headers": "authorization,content-type",
      },
    });
    const { body: _none, ...withoutBody } = { body: undefined };
    const refused = await ask(running.daemon, {
      path: route.path,
      ...withoutBody,
      ...preflight("https://evil.example"),
    });
    expect(refused.status).toBe(403);
    expect(Object.keys(refused.headers).filter((name) => name.startsWith("access-control"))).toEqual([]);
    const accepted = await ask(running.daemon, { path: route.path, ...preflight(allowed) });
    expect(accepted.status).toBe(204);
    const plain = await askRoute(route, { headers: { origin: allowed } });
    for (const answer of [accepted, plain]) {
      expect(answer.headers["access-control-allow-origin"]).toBe(allowed);
      expect(answer.headers["access-control-allow-credentials"]).toBeUndefined();
      expect(answer.headers.vary).toContain("Origin");
      expect(JSON.stringify(answer.headers)).not.toContain('"*"');
    }
  });

  test("(f) refuses what a browser marks as cross-site", async () => {
    expect(codeOf(await askRoute(route, { headers: { "sec-fetch-site": "cross-site" } }))).toBe("403 forbidden_origin");
    expect((await askRoute(route, { headers: { "sec-fetch-site": "cross-site", origin: allowed } })).status).not.toBe(
      403,
    );
    for (const site of ["none", "same-origin"])
      expect((await askRoute(route, { headers: { "sec-fetch-site": site } })).status).not.toBe(403);
  });

  test("(h, i) serves the Unix socket by the same rules: the token is needed there as well", async () => {
    const answer = await askRoute(route, {
      isLocal: true,
      isBare: true,
      headers: { host: "localhost", "content-type": "application/json" },
    });
    expect(answer.status).toBe(route.isOpen ? 200 : 401);
    const foreign = await askRoute(route, { isLocal: true, headers: { origin: "https://evil.example" } });
    expect(codeOf(foreign)).toBe("403 forbidden_origin");
    expect([401, 403, 415]).not.toContain((await askRoute(route, { isLocal: true })).status);
  });

  test("(l) refuses a body, a header and a method beyond its limits", async () => {
    const large = await askRoute(route, { method: "POST", body: `"${"x".repeat(4_095)}"` });
    expect(codeOf(large)).toBe(route.method === "POST" ? "413 payload_too_large" : "405 method_not_allowed");
    const wide = await askRoute(route, { headers: { "x-wide": "x".repeat(20_000) } });
    expect(wide.status).toBe(431);
    for (const method of ["PUT", "DELETE", "PATCH", route.method === "POST" ? "GET" : "POST"]) {
      const answer = await ask(running.daemon, { path: route.path, method });
      expect(codeOf(answer)).toBe("405 method_not_allowed");
      expect(answer.headers.allow).toContain(route.method);
    }
  });
});

test("(a) a second Host header, an absolute target and a missing Host are refused", async () => {
  const { port, token } = running.daemon;
  const { speak } = await import("../support/daemon.ts");
  const good = `127.0.0.1:${port}`;
  const rest = `Authorization: Bearer ${token}\r\nConnection: close\r\n\r\n`;
  expect(
    await speak(running.daemon, [`GET /health HTTP/1.1\r\nHost: ${good}\r\nHost: evil.example\r\n${rest}`]),
  ).toMatch(/^HTTP\/1.1 40[03]/);
  expect(await speak(running.daemon, [`GET http://evil.example/health HTTP/1.1\r\nHost: ${good}\r\n${rest}`])).toMatch(
    /^HTTP\/1.1 400/,
  );
  expect(await speak(running.daemon, [`GET //evil.example/health HTTP/1.1\r\nHost: ${good}\r\n${rest}`])).toMatch(
    /^HTTP\/1.1 400/,
  );
  expect(await speak(running.daemon, [`GET /health HTTP/1.0\r\n${rest}`])).toMatch(/^HTTP\/1.1 403/);
  expect(await speak(running.daemon, [`GET /health HTTP/1.1\r\n${rest}`])).toMatch(/^HTTP\/1.1 400/);
});

test("(c) unknown routes tell a stranger nothing", async () => {
  const host = `127.0.0.1:${running.daemon.port}`;
  for (const path of [
    "/",
    "/v1/",
    "/v1/nothing",
    "/v1/../v1/queue.status",
    "/health/",
    "/health%2f",
    "/HEALTH",
    "/metrics/x",
    "/.env",
  ]) {
    expect(codeOf(await ask(running.daemon, { path, isBare: true, headers: { host } }))).toBe("401 unauthorized");
  }
  expect(codeOf(await ask(running.daemon, { path: "/v1/nothing", body: "{}" }))).toBe("404 unknown_verb");
  expect(codeOf(await ask(running.daemon, { path: "/nothing" }))).toBe("404 not_found");
});

test("(c) no token, right or wrong, gets into the log or the metrics", async () => {
  const { token } = running.daemon;
  await ask(running.daemon, { path: `/v1/queue.status?token=${token}`, body: "{" });
  const metrics = await ask(running.daemon, { path: "/metrics" });
  expect(metrics.text).toContain('holdfast_http_refusals_total{code="unauthorized"}');
  expect(metrics.text + JSON.stringify(running.lines)).not.toContain(token);
});

test("(g) it listens on loopback addresses alone, and a wider address needs its own permission", async () => {
  const others = Object.values(networkInterfaces())
    .flatMap((each) => each ?? [])
    .filter((each) => !each.internal && each.family === "IPv4");
  for (const { address } of others) {
    const outcome = await new Promise<string>((resolve) => {
      const socket = connect({ port: running.daemon.port, host: address, timeout: 1_000 });
      socket.on("connect", () => resolve("connected"));
      socket.on("error", () => resolve("refused"));
      socket.on("timeout", () => resolve("refused"));
    });
    expect(outcome).toBe("refused");
  }
  const own = temporaryDirectory();
  const options = { openEngine: () => openMemoryEngine(), version: "0", directory: own.path };
  for (const host of ["0.0.0.0", "::", "192.0.2.1", "example.com"]) {
    await expect(runDaemon({ ...options, host })).rejects.toMatchObject({ code: "config_invalid" });
  }
  own.remove();
});

test("(h, j) directory, token, port file and socket are the owner's alone", () => {
  const { home } = running.daemon;
  const modeOf = (path: string): string => (statSync(path).mode & 0o777).toString(8);
  expect(modeOf(home.directory)).toBe("700");
  for (const path of [home.token, home.portFile, home.socket]) expect(modeOf(path)).toBe("600");
  expect(lstatSync(home.socket).isSocket()).toBe(true);
  expect(readFileSync(home.portFile, "utf8")).not.toContain(running.daemon.token);
});

test("(h) a token that was open, or a link in the place of token or socket, stops the start", async () => {
  const own = temporaryDirectory();
  const options = { openEngine: () => openMemoryEngine(), version: "0", directory: own.path };
  const token = join(own.path, "token");
  writeFileSync(token, `${"A".repeat(43)}\n`, { mode: 0o644 });
  chmodSync(token, 0o644);
  await expect(runDaemon(options)).rejects.toThrow(/read by other users/);
  rmSync(token);
  symlinkSync("/etc/hostname", token);
  await expect(runDaemon(options)).rejects.toThrow(/not a plain file/);
  rmSync(token);
  symlinkSync("/etc/hostname", join(own.path, "daemon.sock"));
  await expect(runDaemon(options)).rejects.toThrow(/in the way/);
  rmSync(join(own.path, "daemon.sock"));
  mkdirSync(join(own.path, "daemon.sock"));
  await expect(runDaemon(options)).rejects.toThrow(/in the way/);
  own.remove();
});

test("(k) a challenge is answered by who knows the token, bound to the port, and without it nothing is sent", async () => {
  const host = `127.0.0.1:${running.daemon.port}`;
  const challenge = "c".repeat(32);
  const { token, port } = running.daemon;
  const overTcp = await ask(running.daemon, {
    path: `/health?challenge=${challenge}`,
    isBare: true,
    headers: { host },
  });
  const { proof } = JSON.parse(overTcp.text) as { proof: string };
  expect(isProof(token, port, challenge, proof)).toBe(true);
  expect(isProof(token, port + 1, challenge, proof)).toBe(false);
  expect(isProof(token, port, "d".repeat(32), proof)).toBe(false);
  expect(isProof(`x${token}`, port, challenge, proof)).toBe(false);
  const overSocket = await ask(running.daemon, {
    isLocal: true,
    path: `/health?challenge=${challenge}`,
    isBare: true,
    headers: { host: "localhost" },
  });
  expect(isProof(token, 0, challenge, (JSON.parse(overSocket.text) as { proof: string }).proof)).toBe(true);
  for (const bad of ["short", "c".repeat(129), `${"c".repeat(20)}%0a`]) {
    expect((await ask(running.daemon, { path: `/health?challenge=${bad}` })).status).toBe(400);
  }
});

test("(k) a program that took the port of a dead daemon never sees the token", async () => {
  const own = temporaryDirectory();
  const seen: string[] = [];
  const squatter = createServer((request, response) => {
    seen.push(JSON.stringify([request.url, request.headers]));
    response.end('{"status":"ok","proof":"AAAA"}');
  });
  await new Promise<void>((resolve) => squatter.listen(0, "127.0.0.1", resolve));
  const port = (squatter.address() as { port: number }).port;
  const token = "t".repeat(43);
  writeFileSync(join(own.path, "token"), token, { mode: 0o600 });
  writePortFile(join(own.path, "daemon.json"), {
    pid: 1,
    host: "127.0.0.1",
    port,
    socket: null,
    startedAt: 1,
    version: "0",
  });
  expect(await daemonStatus(own.path)).toMatchObject({ state: "stopped", stale: { port } });
  const lock = acquireFileLock(join(own.path, "daemon.lock"));
  expect(await daemonStatus(own.path)).toMatchObject({ state: "untrusted" });
  await expect(startDetached(own.path, { command: ["/bin/false"] })).rejects.toMatchObject({
    code: "daemon_untrusted",
  });
  lock?.release();
  expect(seen.length).toBeGreaterThan(0);
  expect(seen.join("\n")).not.toContain(token);
  await new Promise((resolve) => squatter.close(resolve));
  own.remove();
});

test("(l) a question for the head of the event stream opens none, however often it is asked", async () => {
  const headers = { authorization: `Bearer ${running.daemon.token}` };
  const url = `http://127.0.0.1:${running.daemon.port}/v1/events`;
  for (let asked = 0; asked < 5; asked += 1) {
    const answer = await fetch(url, { method: "HEAD", headers });
    expect([answer.status, answer.headers.get("content-type")]).toEqual([200, "text/event-stream; charset=utf-8"]);
  }
});

test("(l) more event clients than allowed are refused, and a place becomes free again", async () => {
  const open = (): Promise<Response> =>
    fetch(`http://127.0.0.1:${running.daemon.port}/v1/events`, {
      headers: { authorization: `Bearer ${running.daemon.token}` },
    });
  const first = await open();
  const second = await open();
  expect([first.status, second.status]).toEqual([200, 200]);
  const third = await open();
  expect(third.status).toBe(429);
  await third.text();
  await first.body?.cancel();
  await expect
    .poll(async () => {
      const again = await open();
      const { status } = again;
      await again.body?.cancel();
      return status;
    })
    .toBe(200);
  await second.body?.cancel();
});

test("(l) the forty-first connection is not served, and the daemon serves again when others have gone", async () => {
  const sockets = Array.from({ length: 60 }, () => connect(running.daemon.port, "127.0.0.1"));
  for (const socket of sockets) socket.on("error", () => {});
  // Sooner than the 10 s after which it closes who has sent no request.
  await expect
    .poll(() => sockets.filter((each) => each.destroyed || each.closed).length, { timeout: 8_000 })
    .toBeGreaterThanOrEqual(20);
  for (const socket of sockets) socket.destroy();
  await expect.poll(async () => (await ask(running.daemon).catch(() => ({ status: 0 }))).status).toBe(200);
});

test("(l) requests beyond the rate are answered 429 with the time to wait, strangers long before the owner", async () => {
  const own = temporaryDirectory();
  const configFile = join(own.path, "config.toml");
  writeFileSync(configFile, "[daemon]\nrequests_per_second = 100\n");
  const limited = await startTestDaemon({ configFile });
  const host = `127.0.0.1:${limited.daemon.port}`;
  const strangers = await Promise.all(
    Array.from({ length: 20 }, () => ask(limited.daemon, { isBare: true, headers: { host } })),
  );
  expect(strangers.filter((each) => each.status === 200)).toHaveLength(5);
  const refused = strangers.find((each) => each.status === 429);
  expect(Number(refused?.headers["retry-after"])).toBeGreaterThanOrEqual(1);
  expect((await ask(limited.daemon)).status).toBe(200);
  const owner = await Promise.all(Array.from({ length: 150 }, () => ask(limited.daemon)));
  expect(owner.filter((each) => each.status === 200).length).toBe(150);
  await limited.close();
  own.remove();
});

test("(l) an allowed page can read that it asked too often, and a strange one cannot", async () => {
  const own = temporaryDirectory();
  const configFile = join(own.path, "config.toml");
  const origin = "http://localhost:5173";
  writeFileSync(configFile, `[daemon]\nallowed_origins = ["${origin}"]\nrequests_per_second = 10\n`);
  const limited = await startTestDaemon({ configFile });
  const refusedFor = async (from: string): Promise<string | undefined> => {
    const answers = await Promise.all(
      Array.from({ length: 10 }, () => ask(limited.daemon, { headers: { origin: from } })),
    );
    const refused = answers.find((each) => each.status === 429);
    expect(refused).toBeDefined();
    return refused?.headers["access-control-allow-origin"];
  };
  expect(await refusedFor(origin)).toBe(origin);
  expect(await refusedFor("http://evil.example")).toBeUndefined();
  await limited.close();
  own.remove();
});
