// Owns the promise that a plain PUT sends the whole captured content or nothing that could be taken for it.
// Leaves the judgement of answers to src/failure.test.ts and tus to tus.test.ts.
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { IncomingHttpHeaders } from "node:http";
import { createServer as createTcpServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { HoldfastError } from "../../src/errors.ts";
import { blockBytes } from "../../src/node/blob-file.ts";
import type { Blobs } from "../../src/node/blobs.ts";
import { makeBlobs } from "../../src/node/blobs.ts";
import { stallMs } from "../../src/node/exchange.ts";
import { makeFileUpload } from "../../src/node/upload.ts";
import type { Answer } from "../../src/operation.ts";
import type { AttemptOptions } from "./support/attempts.ts";
import { makeAttempt, operationId } from "./support/attempts.ts";
import { openFaultProxy } from "./support/proxy.ts";
import type { Answering, TinyServer } from "./support/tiny-server.ts";
import { bodyOf, startTinyServer } from "./support/tiny-server.ts";

const size = 20_000_000;
let folder: string;
let source: string;
let blobs: Blobs;
let server: TinyServer | undefined;
let content: Buffer;

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "holdfast-put-"));
  source = path.join(folder, "big.bin");
  content = randomBytes(size);
  writeFileSync(source, content);
  blobs = makeBlobs(folder);
});
afterEach(async () => {
  await server?.close();
  server = undefined;
  rmSync(folder, { recursive: true, force: true });
});

const serve = async (answer: Answering, onContinue?: Answering): Promise<string> => {
  server = await startTinyServer(answer, onContinue === undefined ? {} : { onContinue });
  return `${server.origin}/files/big.bin`;
};

const credentials = {
  headersFor: async (name: string, subject: string, url: string) => {
    if (name !== "api") throw new HoldfastError("credential_missing", `no credential ${name}`, "add it");
    return { authorization: `Bearer ${subject} for ${new URL(url).pathname}` };
  },
};

async function put(url: string, more: object = {}, options: AttemptOptions = {}, timing: object = {}): Promise<Answer> {
  const file = await blobs.captureFile(source, { mediaType: "application/x-big" });
  const { attempt } = makeAttempt({ file, url, protocol: "put", ...more }, options);
  const answer = await makeFileUpload({ blobs, credentials, timing }).run?.(attempt);
  if (answer === undefined) throw new Error("the type has no run");
  return answer;
}

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest();

describe("a PUT", () => {
  test("sends the whole content with its length, digest, type, key and credential", async () => {
    let seen: { headers: IncomingHttpHeaders; body: Buffer } | undefined;
    const url = await serve(async (request, response) => {
      seen = { headers: request.headers, body: await bodyOf(request) };
      response.writeHead(201, { etag: '"1"', location: "/files/77" }).end('{"file":{"id":42}}');
    });
    const done: number[] = [];
    const options = { subject: "ann", onProgress: (progress: { done: number }) => done.push(progress.done) };
    const answer = await put(url, { credential: "api", headers: { "X-Tenant": "7" } }, options);
    expect(seen?.body.equals(content)).toBe(true);
    expect(seen?.headers).toMatchObject({
      "content-length": String(size),
      "content-digest": `sha-256=:${sha256(content).toString("base64")}:`,
      "content-type": "application/x-big",
      "idempotency-key": operationId,
      "x-tenant": "7",
      authorization: "Bearer ann for /files/big.bin",
    });
    expect(answer).toMatchObject({
      kind: "applied",
      serverId: "77",
      result: { status: 201, headers: { etag: '"1"' } },
    });
    expect(done.at(-1)).toBe(size);
    expect(await put(url, { idFrom: "/file/id" })).toMatchObject({ serverId: "42" });
  });

  test("that is refused beforehand costs no transfer", async () => {
    let received = 0;
    const url = await serve(
      () => undefined,
      (request, response) => {
        request.on("data", (block: Buffer) => {
          received += block.length;
        });
        response.writeHead(401, { "www-authenticate": "Bearer", "content-type": "application/json" }).end("{}");
      },
    );
    expect(await put(url)).toMatchObject({ kind: "auth" });
    expect(received).toBe(0);
  });

  test("reaches a server that does not know the question whether it wants the body", async () => {
    let body: Buffer | undefined;
    const url = await serve(
      () => undefined,
      async (request, response) => {
        body = await bodyOf(request);
        response.writeHead(204).end();
      },
    );
    expect(await put(url)).toMatchObject({ kind: "applied" });
    expect(body?.equals(content)).toBe(true);
  });

  test("that is refused in the middle ends there", async () => {
    const url = await serve((request, response) => {
      let received = 0;
      request.on("data", (block: Buffer) => {
        received += block.length;
        if (received > 1_000_000 && !response.headersSent) {
          response.writeHead(413, { "content-type": "application/json" }).end('{"title":"too big"}');
        }
      });
    });
    const began = Date.now();
    expect(await put(url)).toMatchObject({ kind: "rejected", problem: { status: 413 } });
    // The answer ends it, and not that nothing moves any more.
    expect(Date.now() - began).toBeLessThan(stallMs);
  });

  test("whose connection is cut has not landed; whose answer is lost may have", async () => {
    const url = new URL(
      await serve(async (request, response) => {
        await bodyOf(request);
        response.writeHead(201).end();
      }),
    );
    const proxy = await openFaultProxy(Number(url.port));
    const through = `http://127.0.0.1:${proxy.port}/files/big.bin`;
    proxy.cutAfter(5_000_000);
    expect(await put(through)).toMatchObject({ kind: "unknown", mayHaveLanded: false });
    proxy.loseAnswerWith("HTTP/1.1 201");
    expect(await put(through)).toMatchObject({ kind: "unknown", mayHaveLanded: true });
    expect(await put(through)).toMatchObject({ kind: "applied" });
    expect(proxy.armed()).toEqual([]);
    await proxy.close();
  });

  test("that is accepted before its body was asked for is sent all the same, and a cut then leaves doubt", async () => {
    for (const isCut of [false, true]) {
      let taken = 0;
      const plain = createTcpServer((socket) => {
        socket.on("error", () => undefined);
        socket.once("data", () => {
          socket.write("HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n");
          socket.on("data", (block) => {
            taken += block.length;
            if (isCut) socket.resetAndDestroy();
          });
        });
      });
      await new Promise<void>((resolve) => plain.listen(0, "127.0.0.1", resolve));
      const url = `http://127.0.0.1:${(plain.address() as { port: number }).port}/big.bin`;
      const answer = await put(url, {}, {}, { stallMs: 2_000 });
      expect(answer).toMatchObject(isCut ? { kind: "unknown", mayHaveLanded: true } : { kind: "applied" });
      if (!isCut) await expect.poll(() => taken).toBe(size);
      plain.close();
    }
  });

  test("whose file changed since an attempt that may have landed is refused with that doubt", async () => {
    for (const mayHaveLanded of [true, false]) {
      const file = await blobs.captureFile(source, { mode: "reference" });
      const { attempt } = makeAttempt({ file, url: "http://127.0.0.1:9/a", protocol: "put" }, { mayHaveLanded });
      writeFileSync(source, randomBytes(size));
      const answer = await makeFileUpload({ blobs, credentials }).run?.(attempt);
      expect(answer).toMatchObject({ kind: "rejected", problem: { code: "file_changed" } });
      expect(answer !== undefined && "mayHaveLanded" in answer && answer.mayHaveLanded === true).toBe(mayHaveLanded);
    }
  });

  test("to a server that never answers ends by itself", async () => {
    const url = await serve(async (request) => {
      await bodyOf(request);
    });
    expect(await put(url, {}, {}, { answerMs: 300 })).toMatchObject({
      kind: "unknown",
      problem: { code: "timed_out" },
    });
  });

  test("whose answer breaks off in its body is not taken for an answer", async () => {
    const url = await serve(async (request, response) => {
      await bodyOf(request);
      response.writeHead(201, { "content-length": "100" }).write("{");
      setTimeout(() => response.destroy(), 50);
    });
    expect(await put(url)).toMatchObject({ kind: "unknown", mayHaveLanded: true });
  });

  // In the middle the next block shows it; once the last block is read, only the look before it goes out does.
  test.each([
    ["in the middle", size / 2],
    ["before its last block", size - (size % blockBytes)],
  ])("of a file that changes %s gives no server a whole body", async (_, changeAt) => {
    let isWhole = false;
    const url = await serve(async (request, response) => {
      await bodyOf(request).then(
        () => {
          isWhole = true;
          response.end();
        },
        () => undefined,
      );
    });
    const file = await blobs.captureFile(source, { mode: "reference" });
    let isChanged = false;
    const onProgress = ({ done }: { done: number }) => {
      if (isChanged || done < changeAt) return;
      isChanged = true;
      writeFileSync(source, "changed", { flag: "r+" });
    };
    expect(await put(url, { file }, { onProgress })).toMatchObject({
      kind: "rejected",
      problem: { code: "file_changed" },
    });
    expect(isWhole).toBe(false);
  });

  test("without its credential waits for it and sends nothing", async () => {
    let requests = 0;
    const url = await serve((_, response) => {
      requests += 1;
      response.end();
    });
    expect(await put(url, { credential: "none" })).toMatchObject({
      kind: "auth",
      problem: { code: "credential_missing" },
    });
    expect(requests).toBe(0);
  });

  test("of an empty file arrives", async () => {
    writeFileSync(source, "");
    let length: string | undefined;
    const url = await serve(async (request, response) => {
      length = request.headers["content-length"];
      await bodyOf(request);
      response.writeHead(201).end();
    });
    expect(await put(url)).toMatchObject({ kind: "applied", result: { sizeBytes: 0 } });
    expect(length).toBe("0");
  });
});
