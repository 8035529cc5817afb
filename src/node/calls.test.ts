// Proves that the short way of a verb answers as the long way does, over real sockets, and that no sender can hurt it.
// Leaves who may call to test/security/ and hostile bytes to test/fuzz/.
import { writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Answered, Asked, TestDaemon } from "../../test/support/daemon.ts";
import { ask, speak, startTestDaemon, temporaryDirectory } from "../../test/support/daemon.ts";

const origin = "http://localhost:5173";
let place: ReturnType<typeof temporaryDirectory>;
let running: TestDaemon;
beforeAll(async () => {
  place = temporaryDirectory();
  const configFile = join(place.path, "config.toml");
  writeFileSync(
    configFile,
    `[daemon]\nallowed_origins = ["${origin}"]\nmax_body = 1024\nrequests_per_second = 100000\n`,
  );
  running = await startTestDaemon({ configFile });
});
afterAll(async () => {
  await running.close();
  place.remove();
});

/** A query is enough to send a call the long way. */
const both = async (path: string, asked: Asked): Promise<readonly Answered[]> => [
  await ask(running.daemon, { path, ...asked }),
  await ask(running.daemon, { path: `${path}?`, ...asked }),
];

test.each([
  ["/v1/queue.list", "{}"],
  ["/v1/queue.list", ""],
  ["/v1/queue.get", '{"id":"nothing"}'],
  ["/v1/queue.list", '{"limit":"many"}'],
  ["/v1/queue.list", '{"a":1,"a":2}'],
  ["/v1/queue.list", "{"],
  ["/v1/queue.list", Buffer.from([0x22, 0xff, 0x22])],
  ["/v1/queue.list", "x".repeat(1_025)],
])("%s with %j is answered alike on both ways", async (path, body) => {
  for (const headers of [{}, { origin }]) {
    const [short, long] = await both(path, { body, headers });
    expect(short?.status).toBe(long?.status);
    expect(short?.text).toBe(long?.text);
    for (const name of [
      "content-type",
      "cache-control",
      "x-content-type-options",
      "vary",
      "access-control-allow-origin",
    ])
      expect(short?.headers[name]).toBe(long?.headers[name]);
  }
});

test("a body without a length is counted while it comes, at the limit and one past it", async () => {
  const { daemon } = running;
  const head = [
    "POST /v1/queue.list HTTP/1.1",
    `Host: 127.0.0.1:${daemon.port}`,
    `Authorization: Bearer ${daemon.token}`,
    "Content-Type: application/json",
    "Transfer-Encoding: chunked",
    "Connection: close",
  ].join("\r\n");
  const bodyOf = (size: number): string => `{}${" ".repeat(size - 2)}`;
  for (const [size, status] of [
    [1_024, 200],
    [1_025, 413],
  ] as const) {
    const body = bodyOf(size);
    const chunks = [body.slice(0, 600), body.slice(600)].map((each) => `${each.length.toString(16)}\r\n${each}\r\n`);
    const said = await speak(daemon, [`${head}\r\n\r\n`, ...chunks, "0\r\n\r\n"], 5_000, 20);
    expect(said).toContain(`HTTP/1.1 ${status} `);
  }
});

test("a sender that goes away in the middle does no work and is no failure of ours", async () => {
  const { daemon, lines } = running;
  const socket = connect(daemon.port, "127.0.0.1");
  socket.write(
    `POST /v1/queue.list HTTP/1.1\r\nHost: 127.0.0.1:${daemon.port}\r\nAuthorization: Bearer ${daemon.token}\r\n` +
      'Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"limit":',
  );
  await sleep(50);
  socket.destroy();
  await sleep(50);
  expect(lines.filter(({ level }) => level === "error")).toEqual([]);
  expect((await ask(daemon, { path: "/v1/queue.list", body: "{}" })).status).toBe(200);
});

test("its answers are counted by route and status", async () => {
  await ask(running.daemon, { path: "/v1/ids.get", body: "{}" });
  const { text } = await ask(running.daemon, { path: "/metrics" });
  expect(text).toContain('holdfast_http_request_duration_seconds_count{route="/v1/ids.get",status="400"} 1');
});
