// Proves the drop-in fetch against a real receiver and a real engine: what passes, what is queued, in which order, once.
// Leaves how a queued request is sent to node/request.ts; the type here sends with the plainest code that can.
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { TestEngine } from "../../test/support/test-engine.ts";
import { openTestEngine } from "../../test/support/test-engine.ts";
import type { RequestPayload } from "../request.ts";
import { httpRequest } from "../request.ts";
import { limits } from "../shapes.ts";
import type { OperationType } from "../world.ts";
import { payloadLimitBytes } from "./capture.ts";
import type { Client } from "./client.ts";
import { connect } from "./client.ts";
import { offlineFetch, queuedId } from "./fetch.ts";

type Received = {
  readonly method: string;
  readonly path: string;
  readonly key: string;
  readonly body: string;
  readonly headers: IncomingMessage["headers"];
};

const received: Received[] = [];
let answer: (response: ServerResponse, request: Received) => void = (response) => response.end("ok");
let engine: TestEngine;
let client: Client;
let url = "";
let close = async (): Promise<void> => {};

/** Sends as little as is needed to see which key and body a queued request carries. */
const sending: OperationType = {
  ...httpRequest,
  run: async ({ input, idempotencyKey }) => {
    const { method, url: target, headers = {}, body = null } = input as RequestPayload;
    const text = body === null ? null : "json" in body ? JSON.stringify(body.json) : "text" in body ? body.text : null;
    await fetch(target, { method, headers: { ...headers, "idempotency-key": idempotencyKey }, body: text });
    return { kind: "applied" };
  },
};

beforeEach(async () => {
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const { method = "", url: path = "", headers } = request;
    const seen = {
      method,
      path,
      key: String(headers["idempotency-key"]),
      body: Buffer.concat(chunks).toString(),
      headers,
    };
    received.push(seen);
    answer(response, seen);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  engine = openTestEngine([sending]);
  client = connect({ engine });
  close = async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    await engine.close();
  };
});

afterEach(async () => {
  await close();
  received.length = 0;
  answer = (response) => response.end("ok");
});

/** Does what was asked, and never answers: the case in which only the key keeps the effect single. */
const loseAnswer = (response: ServerResponse): void => {
  response.socket?.destroy();
};
const post = (body: unknown): RequestInit => ({
  method: "POST",
  body: JSON.stringify(body),
  headers: { "content-type": "application/json" },
});
const queued = async (): Promise<number> => (await client.queue.list({ type: "http.request" })).operations.length;

describe("while the remote answers", () => {
  test("reads, unmatched writes and writes that opt out pass as they are", async () => {
    const fetch = offlineFetch(client, { match: "/notes" });
    await fetch(`${url}/notes`);
    await fetch(`${url}/other`, post(1));
    await fetch(`${url}/notes`, { ...post(2), holdfast: false });
    await offlineFetch(client)(new Request(`${url}/notes`, post(3)));
    expect(received.map(({ method, path, key, body }) => [method, path, key, body])).toEqual([
      ["GET", "/notes", "undefined", ""],
      ["POST", "/other", "undefined", "1"],
      ["POST", "/notes", "undefined", "2"],
      ["POST", "/notes", "undefined", "3"],
    ]);
    expect(await queued()).toBe(0);
  });

  test("a matched write goes out at once with a key, and its answer is the remote's, refusals included", async () => {
    answer = (response) => response.writeHead(422).end("no");
    const fetch = offlineFetch(client, { match: [/\/never/, (request) => request.url.endsWith("/notes")] });
    const response = await fetch(`${url}/notes`, {
      ...post({ a: "é" }),
      headers: { "content-type": "application/json", "x-mine": "1" },
    });
    expect([response.status, await response.text(), queuedId(response)]).toEqual([422, "no", null]);
    expect(received).toMatchObject([
      { key: expect.stringMatching(/^[0-9a-f-]{36}$/), body: '{"a":"é"}', headers: { "x-mine": "1" } },
    ]);
    expect(await queued()).toBe(0);
  });

  test("a body that is empty text goes out at once like any other", async () => {
    const fetch = offlineFetch(client, { match: "/notes" });
    const response = await fetch(`${url}/notes`, { method: "POST", body: "" });
    expect([response.status, queuedId(response), received.length]).toEqual([200, null, 1]);
  });

  test("requests of one lane go in the order in which they were asked for, however long their bodies take to read", async () => {
    const fetch = offlineFetch(client, { match: "/notes" });
    const file = new Blob(["x".repeat(500_000)], { type: "text/plain" });
    await Promise.all([
      fetch(`${url}/notes/1`, { method: "PUT", body: file }),
      fetch(`${url}/notes/1`, post(1)),
      fetch(`${url}/notes/1`, { method: "DELETE" }),
    ]);
    expect(received.map(({ method }) => method)).toEqual(["PUT", "POST", "DELETE"]);
  });

  test("a refusal does not wait for its turn, and lets those behind it go on", async () => {
    let release = (): void => {};
    answer = (response) => {
      release = () => response.end("ok");
    };
    const fetch = offlineFetch(client, { match: "/notes" });
    const first = fetch(`${url}/notes`, post(1));
    await expect(fetch(`${url}/notes`, { method: "POST", body: new FormData() })).rejects.toMatchObject({
      code: "invalid_input",
    });
    const last = fetch(`${url}/notes`, post(2));
    await expect.poll(() => received.length).toBe(1);
    answer = (response) => response.end("ok");
    release();
    expect([(await first).status, (await last).status]).toEqual([200, 200]);
  });

  test("a pattern with a memory matches every request alike", async () => {
    await client.network.offline();
    const fetch = offlineFetch(client, { match: /notes/g, lane: null });
    for (let times = 0; times < 3; times += 1)
      expect(queuedId(await fetch(`${url}/notes`, post(times)))).not.toBe(null);
  });
});

describe("when no answer comes", () => {
  test("the request is queued under the key of the direct attempt, and lands with the same bytes", async () => {
    answer = (response) => (received.length === 1 ? loseAnswer(response) : response.end("ok"));
    const fetch = offlineFetch(client, { match: `${url}/notes` });
    const response = await fetch(`${url}/notes?x=1`, post({ title: "Tides", n: [1, null] }));
    const id = queuedId(response) as string;
    expect([response.status, response.headers.get("location")]).toEqual([202, `holdfast:${id}`]);
    expect(await response.json()).toEqual({ queued: true, id, status: "pending" });
    expect((await client.settled(id, { timeoutMs: 20_000 })).status).toBe("completed");
    expect(received.map(({ key, path, body }) => [key, path, body])).toEqual([
      [id, "/notes?x=1", '{"title":"Tides","n":[1,null]}'],
      [id, "/notes?x=1", '{"title":"Tides","n":[1,null]}'],
    ]);
  });

  test("a gateway's 503 counts as no answer only where that was said", async () => {
    answer = (response) => response.writeHead(503).end();
    expect((await offlineFetch(client, { match: "/" })(`${url}/a`, post(1))).status).toBe(503);
    const patient = offlineFetch(client, { match: "/", queueOnStatus: [502, 503, 504] });
    expect(queuedId(await patient(`${url}/a`, post(1)))).not.toBe(null);
  });

  test("nothing overtakes what is queued in its lane; other lanes go on", async () => {
    await client.queue.pause({ scope: { kind: "lane", name: "a" } });
    await client.network.offline();
    const fetch = offlineFetch(client, { match: "/", lane: (request) => new URL(request.url).pathname.slice(1) });
    const first = await fetch(`${url}/a`, post(1));
    await client.network.online();
    const second = await fetch(`${url}/a`, post(2));
    const other = await fetch(`${url}/b`, post(3));
    expect([queuedId(first), queuedId(second)].includes(null)).toBe(false);
    expect(queuedId(other)).toBe(null);
    await client.queue.resume({ scope: { kind: "lane", name: "a" } });
    await client.settled(queuedId(second) as string, { timeoutMs: 20_000 });
    expect(received.map(({ body }) => body)).toEqual(["3", "1", "2"]);
  });

  test("requests of one lane are tried one after the other, so that one that fails is not overtaken by the next", async () => {
    answer = (response, { body }) => {
      if (body === "1" && received.length === 1) setTimeout(() => loseAnswer(response), 50);
      else response.end("ok");
    };
    const fetch = offlineFetch(client, { match: "/" });
    const responses = await Promise.all([1, 2, 3].map((body) => fetch(`${url}/a`, post(body))));
    expect(responses.map((response) => queuedId(response) !== null).slice(0, 2)).toEqual([true, true]);
    for (const id of responses.map(queuedId)) if (id !== null) await client.settled(id, { timeoutMs: 20_000 });
    expect(received.map(({ body }) => body)).toEqual(["1", "1", "2", "3"]);
  });

  test("`work offline` and `always` send nothing directly", async () => {
    const always = offlineFetch(client, { match: "/", queueWhen: "always" });
    const id = queuedId(await always(`${url}/a`, { ...post(1), holdfast: { priority: 7, title: "A note" } })) as string;
    expect(await client.settled(id, { timeoutMs: 20_000 })).toMatchObject({ priority: 7, title: "A note", lane: url });
    await client.network.offline();
    expect(queuedId(await offlineFetch(client, { match: "/" })(`${url}/a`, post(2)))).not.toBe(null);
    expect(received.map(({ body }) => body)).toEqual(["1"]);
  });
});

describe("before anything is sent,", () => {
  const refused: readonly (readonly [string, RequestInit, string])[] = [
    ["a FormData", { body: new FormData() }, "a FormData body cannot be queued"],
    ["bytes", { body: new Uint8Array([1, 2]) }, "a body of type unnamed bytes cannot be queued"],
    ["a typed blob", { body: new Blob(["x"], { type: "image/png" }) }, "a body of type image/png cannot be queued"],
    ["a stream", { body: new ReadableStream(), duplex: "half" } as RequestInit, "a stream can be read only once"],
    [
      "an Authorization without a credential's name",
      { body: "x", headers: { authorization: "Bearer s" } },
      "authorization cannot be queued",
    ],
    ["a key that is no UUID", { body: "x", headers: { "idempotency-key": "mine" } }, "must be a UUID"],
    ["a body over the limit", { body: "x".repeat(payloadLimitBytes) }, "one operation carries up to"],
    [
      "text that is no UTF-8",
      { body: new Uint8Array([0xff, 0xfe]), headers: { "content-type": "text/plain" } },
      "not UTF-8",
    ],
  ];
  test.each(refused)("%s is refused", async (_, init, message) => {
    const fetch = offlineFetch(client, { match: "/" });
    await expect(fetch(`${url}/a`, { method: "POST", ...init })).rejects.toThrow(new RegExp(message));
    expect(received).toEqual([]);
    expect(await queued()).toBe(0);
  });

  test("a GET that asks to be queued and a wrong option are TypeErrors", async () => {
    const fetch = offlineFetch(client, { match: "/" });
    await expect(fetch(`${url}/a`, { holdfast: true })).rejects.toThrow(
      new TypeError(
        "init.holdfast: a GET cannot be queued; queue what changes something, with POST, PUT, PATCH or DELETE",
      ),
    );
    await expect(fetch(`${url}/a`, { ...post(1), holdfast: { lanes: "x" } as never })).rejects.toThrow(
      'did you mean "lane"?',
    );
    expect(() => offlineFetch(client, { matches: "/" } as never)).toThrow('did you mean "match"?');
  });

  test("an abort ends it, and nothing is left behind", async () => {
    const fetch = offlineFetch(client, { match: "/" });
    const reason = new Error("enough");
    await expect(fetch(`${url}/a`, { ...post(1), signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const abort = new AbortController();
    answer = () => abort.abort(reason);
    await expect(fetch(`${url}/a`, { ...post(1), signal: abort.signal })).rejects.toBe(reason);
    expect(await queued()).toBe(0);
  });
});

describe("what is stored", () => {
  test("never holds a secret: the credential's name stands for it, and the direct attempt carries it", async () => {
    answer = loseAnswer;
    const fetch = offlineFetch(client, { match: "/", credential: "api" });
    const headers = {
      authorization: "Bearer s3cret",
      cookie: "sid=s3cret",
      "x-kept": "1",
      "content-type": "text/plain",
    };
    const id = queuedId(await fetch(`${url}/a`, { method: "PUT", body: "x", headers })) as string;
    expect(received[0]?.headers.authorization).toBe("Bearer s3cret");
    const { payload } = await client.queue.get({ id });
    expect(payload).toMatchObject({
      method: "PUT",
      credential: "api",
      headers: { "x-kept": "1" },
      body: { text: "x" },
    });
    expect(JSON.stringify(payload)).not.toContain("s3cret");
  });

  test("form fields and text keep their bytes, also in a Request of the caller's", async () => {
    await client.network.offline();
    const fetch = offlineFetch(client, { match: "/", lane: null });
    const bodies = [new URLSearchParams({ a: "1 & 2" }), '{"a": 1.0}', "plain ✓"];
    const types = [undefined, "application/json", undefined];
    for (const [index, body] of bodies.entries()) {
      const headers = types[index] === undefined ? {} : { "content-type": types[index] };
      await fetch(new Request(`${url}/a`, { method: "POST", body, headers }));
    }
    const { operations } = await client.queue.list({ type: "http.request", order: "oldest" });
    expect(operations.map(({ payload }) => (payload as RequestPayload).body)).toEqual([
      { text: "a=1+%26+2" },
      { text: '{"a": 1.0}' },
      { text: "plain ✓" },
    ]);
  });

  test("the limit of a payload is that of the verb table", () => {
    expect(payloadLimitBytes).toBe(limits.payloadBytes);
  });
});
