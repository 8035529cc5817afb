// Owns the tests of sending over real sockets: what lands, a network that fails or lies, answers in bounds. Leaves judging to failure.test.ts.
import { createServer } from "node:http";
import { createServer as createTcpServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { codeOf, listen, operation, send, sendJson, serve } from "../../test/support/unruly-server.ts";
import { HoldfastError } from "../errors.ts";
import { evidenceOf } from "../network.ts";
import type { Send } from "./sender.ts";
import { sendHttp } from "./sender.ts";

describe("a request that lands", () => {
  test("carries key, credential, body and headers, and keeps the answer and the server's id", async () => {
    const server = await serve((_request, response) =>
      sendJson(response, 201, { id: 42 }, { etag: '"1"', "set-cookie": "sid=1" }),
    );
    const answer = await send({
      url: `${server.url}/notes?a=1`,
      headers: { "X-Kind": "note" },
      body: { json: { a: "ä" } },
      credential: "api",
    });
    expect(server.seen).toEqual([
      expect.objectContaining({
        method: "POST",
        url: "/notes?a=1",
        body: '{"a":"ä"}',
        headers: expect.objectContaining({
          "idempotency-key": "key-1",
          authorization: "Bearer s3cret",
          "content-type": "application/json",
          "x-kind": "note",
        }),
      }),
    ]);
    expect(answer).toEqual({
      kind: "applied",
      serverId: "42",
      result: {
        status: 201,
        url: `${server.url}/notes?a=1`,
        headers: { "content-type": "application/json", etag: '"1"' },
        body: { id: 42 },
        isTruncated: false,
      },
    });
  });

  test.each([
    ["/data/id", {}, { data: { id: "x" } }, "x"],
    ["location", { location: "/notes/a%20b/" }, {}, "a b"],
    [undefined, { location: "https://x.example/notes/7?v=1" }, {}, "7"],
    [undefined, {}, { name: "no id" }, undefined],
  ])("finds the server's id by %j in %j %j", async (idFrom, headers, body, expected) => {
    const server = await serve((_request, response) => sendJson(response, 201, body, headers));
    const answer = await send({ url: server.url, ...(idFrom === undefined ? {} : { idFrom }) });
    expect(answer.kind === "applied" ? answer.serverId : "no").toBe(expected);
  });

  test("an id beyond 2 ** 53 keeps its digits", async () => {
    const server = await serve((_request, response) => response.writeHead(200).end('{"id":12345678901234567890}'));
    expect(await send({ url: server.url })).toMatchObject({ serverId: "12345678901234567890" });
  });

  test("the key can be sent as a structured field", async () => {
    const server = await serve((_request, response) => sendJson(response, 200, {}));
    await send({ url: server.url, idempotency: "quoted" });
    expect(server.seen[0]?.headers["idempotency-key"]).toBe('"key-1"');
  });

  test("a file is streamed with its length", async () => {
    const server = await serve((_request, response) => sendJson(response, 200, {}));
    const bytes = Buffer.alloc(300_000, "x");
    let closed = 0;
    const readBlob = async () => ({
      sizeBytes: bytes.length,
      read: async function* (start: number, end: number) {
        for (let at = start; at < end; at += 65_536) yield bytes.subarray(at, Math.min(end, at + 65_536));
      },
      close: async () => {
        closed += 1;
      },
    });
    const file = { blob: "0".repeat(64), sizeBytes: bytes.length, mediaType: "image/png" };
    expect((await send({ url: server.url, body: { file } }, { readBlob })).kind).toBe("applied");
    expect(server.seen[0]?.headers).toMatchObject({ "content-length": "300000", "content-type": "image/png" });
    expect(server.seen[0]?.headers["transfer-encoding"]).toBeUndefined();
    expect(server.seen[0]?.body.length).toBe(300_000);
    expect(closed).toBe(1);

    const asked = await serve((_request, response) => response.writeHead(401, { "www-authenticate": "Bearer" }).end());
    expect((await send({ url: asked.url, body: { file } }, { readBlob })).kind).toBe("auth");
    const moved = await serve((_request, response) => response.writeHead(307, { location: `${server.url}/new` }).end());
    expect((await send({ url: moved.url, body: { file } }, { readBlob })).kind).toBe("applied");
    expect(server.seen[1]?.body.length).toBe(300_000);
  });
});

describe("a captured file that cannot be sent as it was captured", () => {
  const file = { blob: "0".repeat(64), sizeBytes: 200_000 };
  const changed = () => new HoldfastError("file_changed", "notes.txt changed", "queue it again");
  const body = async function* () {
    yield Buffer.alloc(100_000, "a");
    yield Buffer.alloc(100_000, "b");
  };

  test("a file that is gone is a refusal of ours and no evidence of the remote", async () => {
    const server = await serve((_request, response) => sendJson(response, 200, {}));
    const readBlob = async () =>
      Promise.reject(new HoldfastError("file_missing", "notes.txt is gone", "queue it again"));
    const answer = await send({ url: server.url, body: { file } }, { readBlob });
    expect(answer).toMatchObject({ kind: "rejected", problem: { code: "file_missing" } });
    expect(evidenceOf(answer, 0)).toBeNull();
    expect(server.seen).toHaveLength(0);
  });

  test("says nothing about an earlier attempt that may have landed", async () => {
    const server = await serve((_request, response) => sendJson(response, 422, {}));
    const readBlob = async () => Promise.reject(changed());
    const again = { ...operation, mayHaveLanded: true };
    expect(await send({ url: server.url, body: { file } }, { readBlob, operation: again })).toMatchObject({
      kind: "rejected",
      mayHaveLanded: true,
    });
    const said = await send({ url: server.url }, { operation: again });
    expect(said.kind).toBe("rejected");
    expect(said).not.toHaveProperty("mayHaveLanded");
  });

  test("a file that could not be read this time is tried again", async () => {
    const readBlob = async () => Promise.reject(new HoldfastError("io_failed", "reading failed (EMFILE)", "wait"));
    expect(await send({ url: "http://127.0.0.1:9/", body: { file } }, { readBlob })).toMatchObject({
      kind: "unknown",
      mayHaveLanded: false,
      problem: { code: "io_failed" },
    });
  });

  test("a file that changes under way never arrives as a whole", async () => {
    const server = await serve((_request, response) => sendJson(response, 200, {}));
    const readBlob = async () => ({
      sizeBytes: file.sizeBytes,
      read: body,
      assertUnchanged: async () => Promise.reject(changed()),
      close: async () => undefined,
    });
    const answer = await send({ url: server.url, body: { file } }, { readBlob });
    expect(answer).toMatchObject({ kind: "rejected", problem: { code: "file_changed" } });
    expect(server.seen).toHaveLength(0);
  });
});

describe("a network that fails", () => {
  test("the connection is cut in the middle of the answer", async () => {
    const server = await serve((_request, response) => {
      response.writeHead(200, { "content-type": "application/json", "content-length": "100" }).write('{"id":');
      setTimeout(() => response.destroy(), 30);
    });
    const answer = await send({ url: server.url });
    expect(answer).toMatchObject({ kind: "unknown", mayHaveLanded: true });
  });

  test("the answer is lost after the effect", async () => {
    const server = await serve((_request, response) => response.destroy());
    expect(await send({ url: server.url })).toMatchObject({ kind: "unknown", mayHaveLanded: true });
    expect(server.seen).toHaveLength(1);
  });

  test("nobody listens: certainly not landed", async () => {
    const server = createServer();
    const host = await listen(server);
    server.close();
    expect(await send({ url: `http://${host}` })).toMatchObject({
      kind: "unknown",
      mayHaveLanded: false,
      problem: { code: "refused" },
    });
    const nowhere = await send({ url: "http://nowhere.invalid/" });
    expect(nowhere).toMatchObject({ kind: "unknown", mayHaveLanded: false });
  });

  test("a server that hangs, one that drips its headers and one that drips its body are given up in time", async () => {
    const hanging = await serve(() => undefined);
    const drip = (first: string) =>
      listen(
        createTcpServer((socket) => {
          socket.write(first);
          const timer = setInterval(() => socket.write("x"), 20);
          socket.on("close", () => clearInterval(timer));
        }),
      );
    const hosts = [
      hanging.host,
      await drip("HTTP/1.1 200 OK\r\nx-slow: "),
      await drip("HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n"),
    ];
    for (const host of hosts) {
      // Long enough to have sent it, on a busy machine too.
      const answer = await send({ url: `http://${host}`, timeoutMs: 1_000 });
      expect(answer).toMatchObject({ kind: "unknown", mayHaveLanded: true, problem: { code: "timed_out" } });
    }
  });

  test("what answers does not speak HTTP", async () => {
    const host = await listen(createTcpServer((socket) => socket.end("SSH-2.0-OpenSSH_9.2\r\n")));
    expect(await send({ url: `http://${host}` })).toMatchObject({ kind: "unknown", problem: { code: "not_http" } });
  });

  test("a kept-alive connection that the server dropped between two requests costs nothing", async () => {
    let connections = 0;
    const host = await listen(
      createTcpServer((socket) => {
        connections += 1;
        let count = 0;
        socket.on("data", () => {
          count += 1;
          // The second request on the same connection meets a server that has forgotten it.
          if (count === 1) socket.write("HTTP/1.1 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\n{}");
          else socket.resetAndDestroy();
        });
      }),
    );
    expect((await send({ url: `http://${host}` })).kind).toBe("applied");
    // The pool takes the connection back a moment after the answer.
    await sleep(50);
    const second = await send({ url: `http://${host}` });
    expect(connections).toBe(1);
    expect(second).toMatchObject({ kind: "unknown", mayHaveLanded: true });
    expect((await send({ url: `http://${host}` })).kind).toBe("applied");
  });

  test("our own stop is no failure of the remote", async () => {
    const server = await serve(() => undefined);
    const stop = new AbortController();
    setTimeout(() => stop.abort(new Error("the daemon stops")), 50);
    expect(await send({ url: server.url }, { signal: stop.signal })).toMatchObject({
      kind: "unknown",
      mayHaveLanded: true,
      problem: { code: "stopped" },
    });
    expect(codeOf(await send({ url: server.url }, { signal: stop.signal }))).toBe("stopped");
  });

  test("a port that fetch refuses is a mistake of the operation, not of the network", async () => {
    expect(await send({ url: "http://127.0.0.1:9/" })).toMatchObject({
      kind: "rejected",
      problem: { code: "blocked_port" },
    });
  });

  test("an address that only we could read is refused, not thrown", async () => {
    expect(await send({ url: "http://256.256.256.256/" })).toMatchObject({
      kind: "rejected",
      problem: { code: "request_unusable" },
    });
  });
});

describe("a network that lies", () => {
  /** Reaches a local server under a foreign name, as a request through a hotel's network does. */
  const through =
    (host: string): Send =>
    (outgoing) =>
      sendHttp({ ...outgoing, url: new URL(outgoing.url.pathname, `http://${host}`) });

  test("a portal's page with status 200 over plain http is no answer", async () => {
    const portal = await serve((_request, response) =>
      response.writeHead(200, { "content-type": "text/html" }).end("<html>Welcome"),
    );
    const answer = await send({ url: "http://api.example.com/notes" }, { send: through(portal.host) });
    expect(answer).toMatchObject({ kind: "unknown", mayHaveLanded: true, problem: { code: "portal_page" } });
  });

  test("a portal's redirect over plain http is not followed by an operation that changes data", async () => {
    const portal = await serve((_request, response) =>
      response.writeHead(302, { location: "http://login.hotel.example/" }).end(),
    );
    const answer = await send({ url: "http://api.example.com/notes" }, { send: through(portal.host) });
    expect(answer).toMatchObject({ kind: "unknown", problem: { code: "portal_redirect" } });
    expect(portal.seen).toHaveLength(1);
  });

  test("a session that ended and leads to a sign-in page is not taken for success", async () => {
    const server = await serve((request, response) => {
      if (request.url === "/login") response.writeHead(200, { "content-type": "text/html" }).end("<html>Sign in");
      else response.writeHead(302, { location: "/login" }).end();
    });
    expect(await send({ url: `${server.url}/notes` })).toMatchObject({
      kind: "unknown",
      problem: { code: "portal_page" },
    });
  });
});

describe("answers", () => {
  test("Retry-After is honoured in both forms", async () => {
    const at = Date.now() + 3_600_000;
    const server = await serve((_request, response, count) => {
      const headers = {
        date: new Date(at).toUTCString(),
        "retry-after": count === 1 ? "7" : new Date(at + 9_000).toUTCString(),
      };
      response.writeHead(count === 1 ? 429 : 503, headers).end();
    });
    const paced = { kind: "retry", isCharged: false, scope: "remote" };
    expect(await send({ url: server.url })).toMatchObject({ ...paced, afterMs: 7_000 });
    expect(await send({ url: server.url })).toMatchObject({ ...paced, afterMs: 9_000 });
  });

  test("a conflict carries the remote's side", async () => {
    const server = await serve((_request, response) => sendJson(response, 412, { n: 7 }, { etag: '"v7"' }));
    expect(await send({ url: server.url, headers: { "if-match": '"v6"' } })).toMatchObject({
      kind: "conflict",
      remote: { status: 412, headers: { etag: '"v7"' }, body: { n: 7 } },
    });
  });

  test("a missing or forbidden credential pauses and nothing is sent", async () => {
    const server = await serve((_request, response) => sendJson(response, 200, {}));
    const payload = { url: server.url, credential: "api" };
    expect(await send(payload, { resolved: { kind: "missing", reason: "not yet" } })).toMatchObject({
      kind: "auth",
      problem: { code: "credential_missing" },
    });
    expect(await send(payload, { resolved: { kind: "refused", reason: "no" } })).toMatchObject({
      kind: "auth",
      problem: { code: "credential_refused" },
    });
    expect(server.seen).toHaveLength(0);
  });

  test("a hundred megabytes of answer are bounded in memory and in the result", async () => {
    const block = Buffer.alloc(1_048_576, "x");
    let sent = 0;
    const server = await serve((_request, response) => {
      response.writeHead(200, { "content-type": "text/plain" });
      const more = (): void => {
        while (sent < 100 && !response.destroyed) {
          sent += 1;
          if (!response.write(block)) {
            response.once("drain", more);
            return;
          }
        }
        response.end();
      };
      more();
    });
    const answer = await send({ url: server.url });
    expect(answer).toMatchObject({ kind: "applied", result: { isTruncated: true } });
    expect(answer.kind === "applied" && JSON.stringify(answer.result).length).toBeLessThan(66_000);
    expect(sent).toBeLessThan(50);
  });

  test("what is kept ends at the limit, and binary is kept as base64", async () => {
    const server = await serve((request, response) => {
      if (request.url === "/png")
        response.writeHead(200, { "content-type": "image/png" }).end(Buffer.from([0, 255, 1]));
      else response.writeHead(200, { "content-type": "text/plain" }).end("äbcdef");
    });
    const kept = async (path: string, bodyBytes: number) => {
      const answer = await send({ url: `${server.url}${path}`, keep: { bodyBytes, headers: [] } });
      return answer.kind === "applied" ? answer.result : answer;
    };
    expect(await kept("/", 7)).toMatchObject({ body: "äbcdef", isTruncated: false });
    expect(await kept("/", 6)).toMatchObject({ body: "äbcde", isTruncated: true });
    expect(await kept("/", 1)).toMatchObject({ body: "", isTruncated: true });
    expect(await kept("/png", 100)).toMatchObject({ body: "AP8B", encoding: "base64", isTruncated: false });
  });
});
