// Owns the tests of one exchange: packed bodies, connections that are kept, made late or through a proxy, limits. Leaves answers to request.test.ts.
import { execFile } from "node:child_process";
import { createServer } from "node:http";
import { createServer as createTcpServer } from "node:net";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync } from "node:zlib";
import { expect, test } from "vitest";
import { codeOf, listen, send, sendJson, serve } from "../../test/support/unruly-server.ts";
import { classifyError } from "../failure.ts";
import { readBody } from "./response.ts";
import type { Send } from "./sender.ts";
import { makeSender, namedError } from "./sender.ts";

const text = JSON.stringify({ id: 7, note: "ä".repeat(5_000) });

const get = async (by: Send, url: string): Promise<string> => {
  const asked = { url: new URL(url), method: "GET", headers: {}, body: null, onStoppable: () => undefined };
  return (await readBody((await by(asked)).body)).text;
};

test.each([
  ["gzip", gzipSync(text)],
  ["x-gzip", gzipSync(text)],
  ["deflate", deflateSync(text)],
  ["deflate", deflateRawSync(text)],
  ["br", brotliCompressSync(text)],
  ["deflate, GZIP", gzipSync(deflateSync(text))],
  ["identity", Buffer.from(text)],
])("a body packed as %s is unpacked", async (coding, body) => {
  const server = await serve((_request, response) =>
    response.writeHead(200, { "content-type": "application/json", "content-encoding": coding }).end(body),
  );
  expect(await send({ url: server.url, keep: { bodyBytes: 60_000 } })).toMatchObject({
    kind: "applied",
    serverId: "7",
    result: { body: JSON.parse(text) },
  });
  expect(server.seen[0]?.headers["accept-encoding"]).toBe("gzip, deflate");
});

test("a coding that nobody knows is kept as it came", async () => {
  const server = await serve((_request, response) =>
    response.writeHead(200, { "content-encoding": "rot13" }).end("nop"),
  );
  expect(await send({ url: server.url })).toMatchObject({ kind: "applied", result: { body: "nop" } });
});

test.each([
  ["gzip", Buffer.concat([gzipSync(text).subarray(0, 12), Buffer.alloc(40, 0xff)])],
  ["deflate", Buffer.concat([deflateSync(text).subarray(0, 4), Buffer.alloc(40, 0xff)])],
  ["br", Buffer.alloc(40, 0xff)],
])("broken %s may have landed and is asked for again", async (coding, body) => {
  const server = await serve((_request, response) => response.writeHead(200, { "content-encoding": coding }).end(body));
  expect(await send({ url: server.url })).toMatchObject({
    kind: "unknown",
    mayHaveLanded: true,
    problem: { code: "answer_undecodable" },
  });
});

test("a packed body that unpacks to gigabytes is bounded like any other", async () => {
  const bomb = gzipSync(Buffer.alloc(64 * 1_048_576));
  const server = await serve((_request, response) =>
    response.writeHead(200, { "content-type": "text/plain", "content-encoding": "gzip" }).end(bomb),
  );
  expect(await send({ url: server.url })).toMatchObject({ kind: "applied", result: { isTruncated: true } });
});

test("the answer to HEAD and a 204 may name a coding without a body", async () => {
  const server = await serve((request, response) =>
    response.writeHead(request.method === "HEAD" ? 200 : 204, { "content-encoding": "gzip" }).end(),
  );
  for (const method of ["HEAD", "POST"]) expect((await send({ url: server.url, method })).kind).toBe("applied");
});

test("a connection serves the next request, is closed when it is idle, and that limit cuts no slow answer", async () => {
  let connections = 0;
  const server = createServer((request, response) => {
    setTimeout(() => response.end(request.url), request.url === "/slow" ? 1_500 : 0);
  });
  let isClosed = false;
  server.on("connection", (socket) => {
    connections += 1;
    socket.on("close", () => {
      isClosed = true;
    });
  });
  const host = await listen(server);
  // Far longer than a moment on a busy machine, and shorter than the slow answer.
  const by = makeSender({ keptMs: 1_000 });
  expect(await get(by, `http://${host}/slow`)).toBe("/slow");
  // The pool takes the connection back a moment after the answer.
  await sleep(20);
  expect(await get(by, `http://${host}/slow`)).toBe("/slow");
  expect([connections, isClosed]).toEqual([1, false]);
  await expect.poll(() => isClosed).toBe(true);
  expect(await get(by, `http://${host}/`)).toBe("/");
  expect(connections).toBe(2);
});

test("a handshake that takes for ever is given up, and nothing was sent", async () => {
  const host = await listen(createTcpServer(() => undefined));
  const failed = await get(makeSender({ connectMs: 50 }), `https://${host}/`).catch((error: unknown) => error);
  expect(classifyError(namedError(failed), "request")).toMatchObject({
    mayHaveLanded: false,
    problem: { code: "connect_timed_out" },
  });
});

test("a connection that is closed is told from one that is reset, before the answer and within it", async () => {
  const begin = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx";
  const cases = [
    ["", false, "closed"],
    ["", true, "reset"],
    [begin, false, "closed"],
    [begin, true, "reset"],
  ] as const;
  for (const [words, isReset, code] of cases) {
    const host = await listen(
      createTcpServer((socket) =>
        socket.once("data", () => {
          socket.write(words);
          setTimeout(() => (isReset ? socket.resetAndDestroy() : socket.end()), 30);
        }),
      ),
    );
    expect(codeOf(await send({ url: `http://${host}` }))).toBe(code);
  }
});

test("a server that refuses before it has read a large file is heard, and its connection is let go", async () => {
  const host = await listen(
    createTcpServer((socket) =>
      socket.once("data", () => {
        socket.pause();
        socket.write("HTTP/1.1 413 Too Large\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}");
      }),
    ),
  );
  const block = Buffer.alloc(1_048_576);
  let read = 0;
  const readBlob = async () => ({
    sizeBytes: 64 * block.length,
    read: async function* () {
      for (; read < 64; read += 1) yield block;
    },
    close: async () => undefined,
  });
  const body = { file: { blob: "0".repeat(64), sizeBytes: 64 * block.length } };
  expect(codeOf(await send({ url: `http://${host}`, body }, { readBlob }))).toBe("too_large");
  expect(read).toBeLessThan(64);
});

const large = 64 * 1_048_576;
const largeFile = async () => ({
  sizeBytes: large,
  read: async function* () {
    for (let at = 0; at < large; at += 1_048_576) yield Buffer.alloc(1_048_576);
  },
  close: async () => undefined,
});
const largeBody = { file: { blob: "0".repeat(64), sizeBytes: large } };

test("a yes that comes while the file is still on its way stands once all of it is out", async () => {
  let taken = 0;
  // As an echo does: it takes no more than its answer is read.
  const server = createServer((request, response) => {
    request.on("data", (block: Buffer) => {
      taken += block.length;
    });
    request.pipe(response);
  });
  const host = await listen(server);
  const answer = await send({ url: `http://${host}`, body: largeBody, expect: "any" }, { readBlob: largeFile });
  expect(answer).toMatchObject({ kind: "applied", result: { isTruncated: true } });
  expect(taken).toBe(large);
});

test("a yes to a part of a file, with the connection cut or left standing, is none", async () => {
  for (const isCut of [true, false]) {
    const host = await listen(
      createTcpServer((socket) =>
        socket.once("data", () => {
          socket.pause();
          socket.write("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}");
          if (isCut) setTimeout(() => socket.destroy(), 100);
        }),
      ),
    );
    const request = { url: `http://${host}`, body: largeBody, timeoutMs: 2_000 };
    expect(await send(request, { readBlob: largeFile })).toMatchObject({ kind: "unknown", mayHaveLanded: true });
  }
});

test("a file that is shorter or longer than announced is a mistake of ours and never arrives as a whole", async () => {
  const server = await serve((_request, response) => sendJson(response, 200, {}));
  for (const sizeBytes of [9, 11]) {
    const readBlob = async () => ({
      sizeBytes,
      read: async function* () {
        yield Buffer.alloc(5);
        yield Buffer.alloc(5);
      },
      close: async () => undefined,
    });
    const body = { file: { blob: "0".repeat(64), sizeBytes } };
    expect(codeOf(await send({ url: server.url, body }, { readBlob }))).toBe("request_unusable");
  }
  expect(server.seen).toHaveLength(0);
});

test("a server on ::1 is reached by its address", async () => {
  const server = createServer((request, response) => response.end(request.headers.host));
  const isThere = await new Promise((resolve) => {
    server.once("error", () => resolve(false));
    server.listen(0, "::1", () => resolve(true));
  });
  // A machine without IPv6 has nothing to reach.
  if (isThere !== true) return;
  const { port } = server.address() as { readonly port: number };
  expect(await get(makeSender(), `http://[::1]:${port}/`)).toBe(`[::1]:${port}`);
  server.closeAllConnections();
  server.close();
});

test("the proxy of the environment is used where Node is told to use it", async () => {
  const seen: string[] = [];
  const proxy = await listen(
    createServer((request, response) => {
      seen.push(request.url ?? "");
      response.end("{}");
    }),
  );
  const file = path.join(import.meta.dirname, "sender.ts");
  const script = `const { sendHttp } = await import(${JSON.stringify(file)});
    const url = new URL("http://notes.invalid/x");
    const { status, giveUp } = await sendHttp({ url, method: "GET", headers: {}, body: null, onStoppable: () => {} });
    giveUp();
    console.log(status);`;
  const env = { ...process.env, NODE_USE_ENV_PROXY: "1", HTTP_PROXY: `http://${proxy}`, NO_PROXY: "" };
  const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", script], { env });
  expect(stdout.trim()).toBe("200");
  expect(seen).toEqual(["http://notes.invalid/x"]);
});
