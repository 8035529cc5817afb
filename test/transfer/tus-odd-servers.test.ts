// Owns the promise that an upload stays right with servers that check sums, live on another host, or answer wrongly.
// Leaves a well-behaved server on a bad network to tus.test.ts.
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { HoldfastError } from "../../src/errors.ts";
import { makeBlobs } from "../../src/node/blobs.ts";
import { makeFileUpload } from "../../src/node/upload.ts";
import type { Answer, Json } from "../../src/operation.ts";
import { makeAttempt } from "./support/attempts.ts";
import type { TinyServer } from "./support/tiny-server.ts";
import { bodyOf, startTinyServer } from "./support/tiny-server.ts";

const size = 1_000_000;
const chunkBytes = 400_000;
let folder: string;
let content: Buffer;
let servers: TinyServer[];
let seen: string[];

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "holdfast-odd-"));
  content = randomBytes(size);
  writeFileSync(path.join(folder, "a.bin"), content);
  servers = [];
  seen = [];
});
afterEach(async () => {
  for (const server of servers) await server.close();
  rmSync(folder, { recursive: true, force: true });
});

type Odd = {
  readonly offers?: Readonly<Record<string, string>>;
  /** Answers in place of the server and says true, or leaves it to it. */
  readonly before?: (request: IncomingMessage, response: ServerResponse, body: Buffer) => boolean;
  readonly location?: () => string;
};

/** A tus server in memory, one upload, whose oddities the test gives. */
async function serve(odd: Odd = {}): Promise<{ readonly origin: string; readonly stored: () => Buffer }> {
  let stored = Buffer.alloc(0);
  const server = await startTinyServer(async (request, response) => {
    const body = await bodyOf(request);
    seen.push(`${request.method} ${request.url}`);
    response.setHeader("tus-resumable", "1.0.0");
    if (odd.before?.(request, response, body) === true) return;
    if (request.method === "OPTIONS") return void response.writeHead(204, odd.offers ?? {}).end();
    if (request.method === "POST")
      return void response.writeHead(201, { location: odd.location?.() ?? "/files/1" }).end();
    if (request.method === "PATCH") {
      if (Number(request.headers["upload-offset"]) !== stored.length) return void response.writeHead(409).end();
      const [algorithm, sum] = String(request.headers["upload-checksum"] ?? "").split(" ");
      if (
        sum !== undefined &&
        createHash(algorithm ?? "")
          .update(body)
          .digest("base64") !== sum
      ) {
        return void response.writeHead(460).end();
      }
      stored = Buffer.concat([stored, body]);
      return void response.writeHead(204, { "upload-offset": stored.length }).end();
    }
    response.writeHead(200, { "upload-offset": stored.length, "upload-length": size }).end();
  });
  servers.push(server);
  return { origin: server.origin, stored: () => stored };
}

async function send(
  origin: string,
  more: object = {},
  checkpoint: Json = null,
  onCheckpoint: (value: Json) => void = () => undefined,
): Promise<{ answer: Answer; checkpoints: readonly Json[] }> {
  const blobs = makeBlobs(folder);
  const file = await blobs.captureFile(path.join(folder, "a.bin"));
  const input = { file, url: `${origin}/files`, protocol: "tus", chunkBytes, ...more };
  const { attempt, checkpoints } = makeAttempt(input, { checkpoint, onCheckpoint });
  const credentials = { headersFor: async () => ({ authorization: "Bearer secret" }) };
  const answer = await makeFileUpload({ blobs, credentials, timing: { reconnectMs: 10 } }).run?.(attempt);
  if (answer === undefined) throw new Error("the type has no run");
  return { answer, checkpoints };
}

const count = (method: string) => seen.filter((line) => line.startsWith(method)).length;

describe("a server that checks sums", () => {
  const offers = { "tus-extension": "creation,checksum", "tus-checksum-algorithm": "sha1,sha256" };

  test("gets one with each part, and a part that was altered on its way is sent again", async () => {
    let isAltered = false;
    const sums: unknown[] = [];
    const { origin, stored } = await serve({
      offers,
      before: (request, response) => {
        if (request.method !== "PATCH") return false;
        sums.push(request.headers["upload-checksum"]);
        if (isAltered) return false;
        isAltered = true;
        response.writeHead(460).end();
        return true;
      },
    });
    expect((await send(origin)).answer).toMatchObject({ kind: "applied" });
    expect(stored().equals(content)).toBe(true);
    const first = createHash("sha256").update(content.subarray(0, chunkBytes)).digest("base64");
    expect(sums).toHaveLength(4);
    expect(sums.slice(0, 2)).toEqual([`sha256 ${first}`, `sha256 ${first}`]);
  });

  test("gets none when the operation says so", async () => {
    const { origin } = await serve({
      offers,
      before: (request) => {
        if (request.headers["upload-checksum"] !== undefined) seen.push("checksum");
        return false;
      },
    });
    expect((await send(origin, { checksum: false })).answer).toMatchObject({ kind: "applied" });
    expect(count("checksum")).toBe(0);
  });

  test("and never finds one right is given back, charged", async () => {
    const { origin } = await serve({
      offers,
      before: (request, response) => {
        if (request.method !== "PATCH") return false;
        response.writeHead(460).end();
        return true;
      },
    });
    const { answer } = await send(origin);
    expect(answer).toMatchObject({ kind: "retry", isCharged: true, problem: { code: "checksum_mismatch" } });
    expect(count("PATCH")).toBeLessThan(6);
  });
});

describe("an upload that lives on another host", () => {
  test("gets the bytes, and neither credential nor headers that were meant for the first", async () => {
    const leaked: unknown[] = [];
    const store = await serve({
      before: (request) => {
        leaked.push(request.headers.authorization, request.headers["x-tenant"]);
        return false;
      },
    });
    const home: unknown[] = [];
    const { origin } = await serve({
      location: () => `${store.origin}/elsewhere/1`,
      before: (request) => {
        home.push(request.headers.authorization);
        return false;
      },
    });
    const { answer } = await send(origin, { credential: "api", headers: { "x-tenant": "7" } });
    expect(answer).toMatchObject({ kind: "applied", result: { uploadUrl: `${store.origin}/elsewhere/1` } });
    expect(store.stored().equals(content)).toBe(true);
    expect(leaked.filter((each) => each !== undefined)).toEqual([]);
    expect(home).toEqual(["Bearer secret", "Bearer secret"]);
  });
});

describe("a server that answers wrongly", () => {
  const wrong = (method: string, status: number, headers: Record<string, string>, text = "") => ({
    before: (request: IncomingMessage, response: ServerResponse) => {
      if (request.method !== method) return false;
      response.removeHeader("tus-resumable");
      response.writeHead(status, headers).end(text);
      return true;
    },
  });

  test("a sign-in page in its place is no answer, and the place is kept for later", async () => {
    const page = { "content-type": "text/html" };
    const { origin } = await serve(wrong("POST", 200, page, "<html>Welcome to our Wi-Fi</html>"));
    expect((await send(origin)).answer).toMatchObject({ kind: "unknown", mayHaveLanded: false });

    const { checkpoints } = await send((await serve(wrong("PATCH", 503, {}))).origin);
    const place = checkpoints.at(-1) as { uploadUrl: string; url: string };
    const portal = await serve({
      before: (_, response) => {
        response.removeHeader("tus-resumable");
        response.writeHead(404, page).end("<html>Not here</html>");
        return true;
      },
    });
    const moved = { ...place, uploadUrl: `${portal.origin}/files/1`, url: `${portal.origin}/files` };
    const second = await send(portal.origin, {}, moved);
    expect(second.answer.kind).not.toBe("applied");
    expect(second.checkpoints).toEqual([]);
  });

  test("its failure is charged, its refusal parks, both with what it said", async () => {
    expect((await send((await serve(wrong("PATCH", 500, {}))).origin)).answer).toMatchObject({
      kind: "retry",
      isCharged: true,
    });
    const json = { "content-type": "application/json" };
    const refusing = await serve(wrong("POST", 413, json, '{"title":"quota is used up"}'));
    expect((await send(refusing.origin)).answer).toMatchObject({
      kind: "rejected",
      problem: { status: 413, message: expect.stringContaining("quota is used up") },
    });
    expect((await send((await serve(wrong("POST", 412, {}))).origin)).answer).toMatchObject({
      kind: "rejected",
      problem: { code: "tus_version" },
    });
  });

  test("an offset beyond the file parks it, and the next try starts a new upload", async () => {
    const { origin } = await serve(wrong("PATCH", 204, { "upload-offset": String(size + 1) }));
    const { answer, checkpoints } = await send(origin);
    expect(answer).toMatchObject({ kind: "rejected", problem: { code: "upload_mismatch" } });
    expect(checkpoints.at(-1)).toBeNull();
  });

  test("one that says 409 for ever, takes nothing, or loses every upload does not hold the attempt for ever", async () => {
    const endings: Answer["kind"][] = [];
    for (const odd of [
      wrong("PATCH", 409, {}),
      wrong("PATCH", 204, { "upload-offset": "0" }),
      wrong("PATCH", 404, {}),
      wrong("HEAD", 423, {}),
    ]) {
      const { origin } = await serve(odd);
      const first = await send(origin);
      endings.push(first.answer.kind);
    }
    expect(endings).toEqual(["unknown", "unknown", "unknown", "applied"]);
    expect(seen.length).toBeLessThan(60);
  });

  test("a file that is larger than it takes is refused before a byte goes out", async () => {
    const { origin } = await serve({ offers: { "tus-extension": "creation", "tus-max-size": "999999" } });
    expect((await send(origin)).answer).toMatchObject({ kind: "rejected", problem: { code: "too_large" } });
    expect(count("POST")).toBe(0);
  });

  test("a failing look after its yes takes nothing back from the yes", async () => {
    const { origin, stored } = await serve(wrong("HEAD", 500, {}));
    expect((await send(origin)).answer).toMatchObject({ kind: "applied", result: { isVerified: false } });
    expect(stored().equals(content)).toBe(true);
  });

  test("a part that ends the file and is answered by a yes without an offset may have landed", async () => {
    const { origin } = await serve(wrong("PATCH", 204, {}));
    expect((await send(origin)).answer).toMatchObject({ kind: "unknown", mayHaveLanded: false });
    expect((await send(origin, { chunkBytes: size })).answer).toMatchObject({ kind: "unknown", mayHaveLanded: true });
  });
});

describe("a file whose last byte is out, and whose answer is lost", () => {
  /** Takes the last part and cuts its answer off; `then` answers what follows. */
  const silenced = (then: (request: IncomingMessage, response: ServerResponse) => void): Odd => {
    let isOut = false;
    return {
      before: (request, response) => {
        if (isOut) then(request, response);
        else if (request.method !== "PATCH") return false;
        else {
          isOut = true;
          request.socket.destroy();
        }
        return true;
      },
    };
  };

  test("may have landed, though nobody can be reached any more", async () => {
    const { origin } = await serve(silenced((request) => request.socket.destroy()));
    expect((await send(origin, { chunkBytes: size })).answer).toMatchObject({ kind: "unknown", mayHaveLanded: true });
  });

  test("may have landed, though the server knows nothing of it any more and no new upload comes about", async () => {
    const { origin } = await serve(
      silenced((request, response) => {
        if (request.method === "HEAD") response.writeHead(404).end();
        else request.socket.destroy();
      }),
    );
    expect((await send(origin, { chunkBytes: size })).answer).toMatchObject({ kind: "unknown", mayHaveLanded: true });
  });

  test("waits for credentials as what may have landed when they are refused then, and looks before it sends", async () => {
    const refuse = (_: unknown, response: ServerResponse) =>
      void response.writeHead(401, { "www-authenticate": "Bearer" }).end();
    const { origin } = await serve(silenced(refuse));
    const first = await send(origin, { chunkBytes: size });
    expect(first.answer).toMatchObject({ kind: "auth", mayHaveLanded: true, problem: { status: 401 } });
    const whole = await serve({
      before: (request, response) => {
        if (request.method === "OPTIONS") return false;
        response.writeHead(200, { "upload-offset": size, "upload-length": size }).end();
        return true;
      },
    });
    seen.length = 0;
    const checkpoint = JSON.parse(JSON.stringify(first.checkpoints.at(-1)).replaceAll(origin, whole.origin)) as Json;
    expect((await send(whole.origin, { chunkBytes: size }, checkpoint)).answer).toMatchObject({ kind: "applied" });
    expect(seen).toEqual(["OPTIONS /files", "HEAD /files/1"]);
  });

  test("is tried again as what may have landed, though a pause is asked for then", async () => {
    const { origin } = await serve(
      silenced((_, response) => void response.writeHead(429, { "retry-after": "1" }).end()),
    );
    const { answer } = await send(origin, { chunkBytes: size });
    expect(answer).toMatchObject({ kind: "retry", isCharged: false, scope: "operation", problem: { status: 429 } });
  });

  test("has not landed once the server says that bytes are missing", async () => {
    const { origin } = await serve(
      silenced((request, response) => {
        if (request.method === "HEAD") response.writeHead(200, { "upload-offset": "5", "upload-length": size }).end();
        else response.writeHead(409).end();
      }),
    );
    const { answer } = await send(origin, { chunkBytes: size });
    expect(answer).toMatchObject({ kind: "unknown", mayHaveLanded: false });
  });

  test("is done as soon as the server has said so, though its place cannot be noted", async () => {
    const { origin, stored } = await serve();
    const full = new HoldfastError("disk_full", "no room", "free some space");
    const { answer } = await send(origin, { chunkBytes: size }, null, (value) => {
      if ((value as { offset?: number } | null)?.offset === size) throw full;
    });
    expect(answer).toMatchObject({ kind: "applied", result: { isVerified: true } });
    expect(stored().equals(content)).toBe(true);
  });
});
