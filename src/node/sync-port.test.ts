// Proves the way to a sync server against real HTTP servers: tokens, failures, sizes, pokes. Leaves what servers do to src/server/.
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { gunzipSync } from "node:zlib";
import { afterEach, expect, test } from "vitest";
import { evidenceOf } from "../network.ts";
import { serverLimits } from "../server/core.ts";
import type { PushRequest } from "../wire.ts";
import { wireLimits } from "../wire.ts";
import { makeSyncPort } from "./sync-port.ts";
import { syncLimits } from "./sync-request.ts";
import { watchSpace } from "./sync-watch.ts";

type Seen = { readonly url: string; readonly headers: IncomingMessage["headers"]; readonly body: string };
type Serve = (request: Seen, response: ServerResponse) => void;

const ends: (() => void)[] = [];
afterEach(() => {
  for (const end of ends.splice(0)) end();
});

async function serve(handler: Serve): Promise<{ readonly url: string; readonly seen: Seen[] }> {
  const seen: Seen[] = [];
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const raw = Buffer.concat(chunks);
    const bytes = request.headers["content-encoding"] === "gzip" ? gunzipSync(raw) : raw;
    const each = { url: request.url ?? "", headers: request.headers, body: bytes.toString("utf8") };
    seen.push(each);
    handler(each, response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  ends.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, seen };
}

const json = (response: ServerResponse, status: number, body: unknown, headers: Record<string, string> = {}): void => {
  response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(body));
};
const pullAnswer = { history: "h", records: [], upTo: 0, head: 0, hasMore: false, now: 1 };
const pullRequest = { space: "team", history: "", wants: [{ collection: "notes", after: 0 }], limit: 10 };
const item = (id: string, text = "x"): PushRequest["items"][number] => ({
  id,
  number: 1,
  at: 0,
  changes: [{ collection: "notes", key: id, kind: "create", base: 0, fields: { text }, schema: 1 }],
});
const pushOf = (...items: PushRequest["items"]): PushRequest => ({ space: "team", client: "c", floor: 0, items });
const applied = (id: string) => ({
  id,
  outcome: "applied",
  changes: [{ collection: "notes", key: id, version: 1 }],
});
const idsOf = (body: string) => (JSON.parse(body) as PushRequest).items.map(({ id }) => id);
const signal = new AbortController().signal;

test("a request carries protocol and token, and the token is asked for each time", async () => {
  const { url, seen } = await serve((_, response) => json(response, 200, pullAnswer));
  let count = 0;
  const port = makeSyncPort({ url: `${url}/base/`, space: "team", token: () => `t${++count}` });
  expect(port.remote).toBe(url);
  expect(await port.pull(pullRequest, signal)).toMatchObject({ kind: "answered", response: pullAnswer });
  await port.pull(pullRequest, signal);
  expect(seen.map(({ headers }) => headers.authorization)).toEqual(["Bearer t1", "Bearer t2"]);
  expect(seen[0]?.url).toBe("/base/v1/pull");
  expect(seen[0]?.headers["holdfast-protocol"]).toBe("1");
});

test("a token that the server refuses is fetched anew once, and the request sent again with it", async () => {
  const { url, seen } = await serve((request, response) =>
    request.headers.authorization === "Bearer fresh"
      ? json(response, 200, pullAnswer)
      : json(response, 401, { code: "token_expired", detail: "it ended at noon" }),
  );
  const port = makeSyncPort({ url, space: "team", token: async ({ isRefused }) => (isRefused ? "fresh" : "stale") });
  expect((await port.pull(pullRequest, signal)).kind).toBe("answered");
  expect(seen).toHaveLength(2);
  const stubborn = makeSyncPort({ url, space: "team", token: "stale" });
  const refused = await stubborn.pull(pullRequest, signal);
  expect(refused).toMatchObject({
    kind: "failed",
    answer: { kind: "auth", problem: { code: "token_expired", message: "it ended at noon" } },
  });
  expect(seen).toHaveLength(3);
});

test("a token function that fails is told in its words and says nothing of the server; one without a network waits for it", async () => {
  const { url, seen } = await serve((_, response) =>
    json(response, 401, { code: "token_expired", detail: "it ended" }),
  );
  const failed = { code: "token_failed", message: "no token could be had: sign in again" };
  const port = makeSyncPort({ url, space: "team", token: () => Promise.reject(new Error("sign in again")) });
  const refused = await port.pull(pullRequest, signal);
  expect(refused).toMatchObject({ kind: "failed", answer: { kind: "auth", problem: failed } });
  if (refused.kind === "failed") expect(evidenceOf(refused.answer, 0)).toBeNull();
  const thrower = (): string => {
    throw new Error("sign in again");
  };
  expect(await makeSyncPort({ url, space: "team", token: thrower }).pull(pullRequest, signal)).toEqual(refused);
  expect(seen).toHaveLength(0);
  const renewing = ({ isRefused }: { readonly isRefused: boolean }) => (isRefused ? thrower() : "stale");
  expect(await makeSyncPort({ url, space: "team", token: renewing }).pull(pullRequest, signal)).toEqual(refused);
  expect(seen).toHaveLength(1);
  const offline = Object.assign(new TypeError("fetch failed"), { cause: { code: "ENOTFOUND" } });
  const waiting = makeSyncPort({ url, space: "team", token: () => Promise.reject(offline) });
  expect(await waiting.pull(pullRequest, signal)).toMatchObject({ kind: "failed", answer: { kind: "unknown" } });
});

test("a credential is found by name for the server's origin, and none is no request at all", async () => {
  const { url, seen } = await serve((_, response) => json(response, 200, pullAnswer));
  const asked: unknown[] = [];
  const credentials = {
    resolve: (request: { readonly name: string }) => {
      asked.push(request);
      return request.name === "sync"
        ? ({ kind: "found", headers: { authorization: "Bearer s" } } as const)
        : ({ kind: "missing", reason: "not there" } as const);
    },
  };
  const port = makeSyncPort({ url, space: "team", subject: "ada", credential: "sync", credentials });
  expect((await port.pull(pullRequest, signal)).kind).toBe("answered");
  expect(asked).toEqual([{ name: "sync", subject: "ada", origin: url }]);
  const other = makeSyncPort({ url, space: "team", credential: "other", credentials });
  expect(await other.pull(pullRequest, signal)).toMatchObject({
    kind: "failed",
    answer: { kind: "auth", problem: { code: "credential_missing" } },
  });
  expect(seen).toHaveLength(1);
});

test("nothing that answers wrongly is believed", async () => {
  const bodies: readonly (readonly [string, string, number])[] = [
    ["<html>Sign in to the hotel</html>", "text/html", 200],
    ['{"history": "h"', "application/json", 200],
    ['{"history": "h", "records": "none"}', "application/json", 200],
    ["[]", "application/json", 200],
  ];
  for (const [body, type, status] of bodies) {
    const { url } = await serve((_, response) => response.writeHead(status, { "content-type": type }).end(body));
    const reply = await makeSyncPort({ url, space: "team" }).pull(pullRequest, signal);
    expect(reply, body).toMatchObject({ kind: "failed", answer: { kind: "unknown" } });
  }
  const { url } = await serve((_, response) => json(response, 200, { answers: [applied("b")], now: 1 }));
  const mixedUp = await makeSyncPort({ url, space: "team" }).push(pushOf(item("a")), signal);
  expect(mixedUp).toMatchObject({ kind: "failed", answer: { kind: "unknown" } });
});

test("no server, a cut connection, silence and a stop are no answer", async () => {
  const gone = await makeSyncPort({ url: "http://127.0.0.1:1024", space: "t" }).pull(pullRequest, signal);
  expect(gone).toMatchObject({ kind: "failed", answer: { kind: "unknown", mayHaveLanded: false } });
  const unusable = await makeSyncPort({ url: "http://127.0.0.1:9", space: "t" }).pull(pullRequest, signal);
  expect(unusable).toMatchObject({
    answer: { kind: "retry", isCharged: false, problem: { code: "not_a_sync_server" } },
  });
  const cut = await serve((_, response) => response.socket?.destroy());
  expect(await makeSyncPort({ url: cut.url, space: "t" }).pull(pullRequest, signal)).toMatchObject({
    answer: { kind: "unknown", mayHaveLanded: true },
  });
  const silent = await serve(() => {});
  const impatient = makeSyncPort({ url: silent.url, space: "t", limits: { answerMs: 50 } });
  expect(await impatient.pull(pullRequest, signal)).toMatchObject({
    answer: { kind: "unknown", problem: { code: "timed_out" } },
  });
  const abort = new AbortController();
  setTimeout(() => abort.abort(), 20);
  const stopped = await makeSyncPort({ url: silent.url, space: "t" }).pull(pullRequest, abort.signal);
  expect(stopped).toMatchObject({ answer: { kind: "unknown", problem: { code: "stopped" } } });
  const hanging = makeSyncPort({
    url: silent.url,
    space: "t",
    token: () => new Promise(() => {}),
    limits: { answerMs: 50 },
  });
  expect((await hanging.pull(pullRequest, signal)).kind).toBe("failed");
});

test("an answer that never ends is given up at the limit", async () => {
  const { url } = await serve((_, response) => {
    response.writeHead(200, { "content-type": "application/json" });
    response.write("[");
    const timer = setInterval(() => response.write(`"${"x".repeat(65_536)}",`), 1);
    response.on("close", () => clearInterval(timer));
  });
  const port = makeSyncPort({ url, space: "t", limits: { answerBytes: 1_000_000 } });
  expect(await port.pull(pullRequest, signal)).toMatchObject({ answer: { problem: { code: "answer_too_large" } } });
});

test("large requests are compressed, unless the server does not take that", async () => {
  const good = await serve((request, response) =>
    json(response, 200, { answers: idsOf(request.body).map(applied), now: 1 }),
  );
  await makeSyncPort({ url: good.url, space: "t" }).push(pushOf(item("a", "y".repeat(5_000))), signal);
  expect(good.seen[0]?.headers["content-encoding"]).toBe("gzip");
  const plain = await serve((request, response) =>
    request.headers["content-encoding"] === undefined
      ? json(response, 200, { answers: idsOf(request.body).map(applied), now: 1 })
      : json(response, 415, { title: "no gzip" }),
  );
  const port = makeSyncPort({ url: plain.url, space: "t" });
  expect((await port.push(pushOf(item("a", "y".repeat(5_000))), signal)).kind).toBe("answered");
  expect((await port.push(pushOf(item("b", "y".repeat(5_000))), signal)).kind).toBe("answered");
  expect(plain.seen.map(({ headers }) => headers["content-encoding"])).toEqual(["gzip", undefined, undefined]);
});

test("answers of two histories are not told together: what came after a restore is asked again", async () => {
  const { url } = await serve((request, response) => {
    const ids = idsOf(request.body);
    if (ids.includes("bad")) json(response, 400, { code: "invalid_input", detail: "items.1: no" });
    else json(response, 200, { answers: ids.map(applied), history: ids.includes("a") ? "h1" : "h2", now: 5 });
  });
  const reply = await makeSyncPort({ url, space: "t" }).push(
    pushOf(item("a"), item("bad"), item("b"), item("c")),
    signal,
  );
  const response = reply.kind === "answered" ? reply.response : null;
  expect(response?.history).toBe("h1");
  expect(response?.answers.map(({ id, outcome }) => [id, outcome])).toEqual([
    ["a", "applied"],
    ["bad", "rejected"],
    ["b", "retry"],
    ["c", "retry"],
  ]);
});

test("a refusal of the first item says no history, so the answers behind it are of the only one", async () => {
  const { url } = await serve((request, response) => {
    const ids = idsOf(request.body);
    if (ids.includes("bad")) json(response, 400, { code: "invalid_input", detail: "items.0: no" });
    else json(response, 200, { answers: ids.map(applied), history: "h1", now: 5 });
  });
  const reply = await makeSyncPort({ url, space: "t" }).push(pushOf(item("bad"), item("a"), item("b")), signal);
  const response = reply.kind === "answered" ? reply.response : null;
  expect(response?.history).toBe("h1");
  expect(response?.answers.map(({ id, outcome }) => [id, outcome])).toEqual([
    ["bad", "rejected"],
    ["a", "applied"],
    ["b", "applied"],
  ]);
});

test("the head of a push is handed on, of several requests the lowest, so that a server that was set back shows", async () => {
  const { url } = await serve((request, response) => {
    const ids = idsOf(request.body);
    const head = ids.includes("c") ? 4 : 9;
    json(response, 200, { answers: ids.map(applied), history: "h1", head, now: 5 });
  });
  const port = makeSyncPort({ url, space: "t" });
  expect(await port.push(pushOf(item("a")), signal)).toMatchObject({ response: { history: "h1", head: 9 } });
  const big = "z".repeat(3_000_000);
  const parts = await port.push(pushOf(item("a", big), item("b", big), item("c", big), item("d", big)), signal);
  expect(parts).toMatchObject({ response: { history: "h1", head: 4 } });
});

test("one item that the server cannot take does not speak for its neighbours, and order is kept", async () => {
  const { url, seen } = await serve((request, response) => {
    const ids = idsOf(request.body);
    if (ids.includes("bad")) json(response, 400, { code: "invalid_input", detail: "items.2: no" });
    else json(response, 200, { answers: ids.map(applied), now: 5 });
  });
  const port = makeSyncPort({ url, space: "t" });
  const reply = await port.push(pushOf(item("a"), item("b"), item("bad"), item("c")), signal);
  expect(reply).toMatchObject({ kind: "answered", response: { now: 5 } });
  const answers = reply.kind === "answered" ? reply.response.answers : [];
  expect(answers.map(({ id, outcome }) => [id, outcome])).toEqual([
    ["a", "applied"],
    ["b", "applied"],
    ["bad", "rejected"],
    ["c", "applied"],
  ]);
  const landed = seen.map(({ body }) => idsOf(body)).filter((ids) => !ids.includes("bad"));
  expect(landed).toEqual([["a", "b"], ["c"]]);
  expect(await port.push(pushOf(item("bad")), signal)).toMatchObject({ answer: { kind: "rejected" } });
});

test("a push beyond the bytes of one request goes in several, and what did not get its turn is asked for again", async () => {
  let count = 0;
  const { url, seen } = await serve((request, response) => {
    count += 1;
    if (count === 2) response.socket?.destroy();
    else json(response, 200, { answers: idsOf(request.body).map(applied), now: 1 });
  });
  const big = "z".repeat(3_000_000);
  const port = makeSyncPort({ url, space: "t" });
  const reply = await port.push(pushOf(item("a", big), item("b", big), item("c", big)), signal);
  const answers = reply.kind === "answered" ? reply.response.answers : [];
  expect(answers.map(({ id, outcome }) => [id, outcome])).toEqual([
    ["a", "applied"],
    ["b", "applied"],
    ["c", "retry"],
  ]);
  expect(seen.map(({ body }) => idsOf(body))).toEqual([["a", "b"], ["c"]]);
});

test("a fetch that is too large for one answer goes in several, and all that was asked for comes", async () => {
  const sizes: number[] = [];
  const { url } = await serve((request, response) => {
    const { keys } = JSON.parse(request.body) as { readonly keys: readonly string[] };
    sizes.push(keys.length);
    if (keys.length > 3) return json(response, 413, { code: "payload_too_large", detail: "too much" });
    const text = "z".repeat(keys.length === 1 ? 10 : 900);
    const records = keys.map((key) => ({
      ...{ collection: "notes", key, version: 1, value: { text }, schema: 1, author: "a", at: 1 },
    }));
    json(response, 200, { history: "h", head: 10 - sizes.length, records, now: 5 });
  });
  const keys = ["a", "b", "c", "d", "e"];
  const fetched = { space: "t", collection: "notes", keys };
  const port = makeSyncPort({ url, space: "t", limits: { answerBytes: 1_000 } });
  const reply = await port.fetch(fetched, signal);
  const response = reply.kind === "answered" ? reply.response : null;
  expect(response?.records.map(({ key }) => key)).toEqual(keys);
  expect(response).toMatchObject({ history: "h", head: 10 - sizes.length });
  expect(sizes).toEqual([5, 3, 2, 1, 1, 1, 2, 1, 1]);
});

test("a push whose answer is too large goes again in halves, and each operation gets its answer", async () => {
  const sizes: number[] = [];
  const { url } = await serve((request, response) => {
    const { items } = JSON.parse(request.body) as { readonly items: readonly { readonly id: string }[] };
    sizes.push(items.length);
    const change = { collection: "notes", key: "k", version: 1, value: { text: "z".repeat(400) } };
    const answers = items.map(({ id }) => ({ id, outcome: "duplicate", changes: [change] }));
    json(response, 200, { answers, history: "h", head: 1, now: 5 });
  });
  const ids = ["a", "b", "c", "d", "e"];
  const changes = [{ collection: "notes", key: "k", kind: "update" as const, base: 1, fields: { n: 1 }, schema: 1 }];
  const items = ids.map((id, number) => ({ id, number, changes, at: 1 }));
  const port = makeSyncPort({ url, space: "t", limits: { answerBytes: 1_200 } });
  const reply = await port.push({ space: "t", client: "c", floor: 0, items }, signal);
  const answers = reply.kind === "answered" ? reply.response.answers : [];
  expect(answers.map(({ id, outcome }) => [id, outcome])).toEqual(ids.map((id) => [id, "duplicate"]));
  expect(sizes).toEqual([5, 3, 2, 1, 2]);
});

test("the largest page of a server, and the largest operation, fit into the largest answer that a client takes", () => {
  const bytesPerCharacter = 3;
  const { pageBytes, operationBytes } = serverLimits;
  const roomForNames = 2 * wireLimits.pullPage * 1_024;
  expect(operationBytes * bytesPerCharacter + roomForNames).toBeLessThanOrEqual(syncLimits.answerBytes);
  expect(pageBytes * bytesPerCharacter + roomForNames).toBeLessThanOrEqual(syncLimits.answerBytes);
});

test("a redirect of the pokes to another origin takes no header of the credential along", async () => {
  const other = await serve((_, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" }).end('data: {"space":"team","head":1}\n\n');
  });
  const { url, seen } = await serve((request, response) => {
    const isMoved = request.url?.startsWith("/moved") === true;
    const location = isMoved ? `${other.url}${request.url}` : `/moved${request.url}`;
    response.writeHead(307, { location }).end();
  });
  const credentials = { resolve: () => ({ kind: "found", headers: { "x-pass": "secret" } }) as const };
  const port = makeSyncPort({ url, space: "team", credential: "sync", credentials });
  const heads: number[] = [];
  ends.push(port.watch("team", ({ head }) => heads.push(head)));
  await expect.poll(() => heads).toEqual([1]);
  expect(seen.map(({ headers }) => headers["x-pass"])).toEqual(["secret", "secret"]);
  expect(other.seen[0]?.headers["x-pass"]).toBeUndefined();
});

test("a redirect is followed with its body within the origin, and the token never leaves it", async () => {
  const other = await serve((_, response) => json(response, 200, pullAnswer));
  const { url, seen } = await serve((request, response) => {
    if (request.url === "/v1/pull") response.writeHead(308, { location: "/moved/v1/pull" }).end();
    else if (request.url === "/moved/v1/pull") json(response, 200, pullAnswer);
    else response.writeHead(307, { location: `${other.url}/v1/fetch` }).end();
  });
  const port = makeSyncPort({ url, space: "t", token: "secret" });
  expect((await port.pull(pullRequest, signal)).kind).toBe("answered");
  expect(seen[1]?.body).toBe(JSON.stringify(pullRequest));
  await port.fetch({ space: "t", collection: "notes", keys: ["a"] }, signal);
  expect(other.seen[0]?.headers.authorization).toBeUndefined();
});

test("pokes come through, also after the stream broke, and end when nobody wants them", async () => {
  let count = 0;
  const { url, seen } = await serve((_, response) => {
    count += 1;
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write(`: hello\n\nevent: poke\ndata: {"space":"team","head":${count}}\n\n`);
    response.write('data: nonsense\n\ndata: {"space":"other","head":99}\n\n');
    if (count < 3) setTimeout(() => response.destroy(), 5);
  });
  const heads: number[] = [];
  const port = makeSyncPort({ url, space: "team", token: "t" });
  const health: unknown[] = [];
  const end = port.watch(
    "team",
    ({ head }) => heads.push(head),
    (each) => health.push(each),
  );
  await expect.poll(() => heads).toEqual([1, 2, 3]);
  end();
  const [up, down] = [
    { isListening: true, reason: "" },
    { isListening: false, reason: expect.stringMatching(/^the stream (broke|ended)/) },
  ];
  expect(health).toEqual([up, down, up, down, up]);
  const gone: unknown[] = [];
  const nowhere = makeSyncPort({ url: "http://127.0.0.1:9", space: "team", token: "t" });
  ends.push(
    nowhere.watch(
      "team",
      () => {},
      (each) => gone.push(each),
    ),
  );
  await expect
    .poll(() => gone[0])
    .toEqual({ isListening: false, reason: expect.stringMatching(/bad port|ECONNREFUSED/) });
  expect(seen[0]).toMatchObject({ url: "/v1/events?space=team", headers: { authorization: "Bearer t" } });
});

test("a stream that falls silent is opened again, and vain tries become rare", async () => {
  const times = { silenceMs: 30, firstDelayMs: 1, longestDelayMs: 2, quietAfter: 4, quietDelayMs: 60_000 };
  let opened = 0;
  const said: string[] = [];
  const hanging = (): Promise<ReadableStream<Uint8Array>> => {
    opened += 1;
    const stream = new ReadableStream<Uint8Array>({ start: (to) => to.enqueue(new TextEncoder().encode(": hi\n\n")) });
    return Promise.resolve(stream);
  };
  const open = (_: string, stop: AbortSignal) =>
    hanging().then((stream) => stream.pipeThrough(new TransformStream(), { signal: stop }));
  ends.push(watchSpace(open, "team", () => {}, { times, onHealth: ({ reason }) => said.push(reason) }));
  await expect.poll(() => opened).toBeGreaterThan(2);
  expect(said.slice(0, 3)).toEqual(["", "the stream fell silent", ""]);
  let tries = 0;
  const none = () => {
    tries += 1;
    return Promise.resolve("it answered 503");
  };
  ends.push(watchSpace(none, "team", () => {}, { times }));
  await expect.poll(() => tries).toBe(4);
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(tries).toBe(4);
});

test("what cannot be an address, a space or a pair of identities is refused with the right spelling", () => {
  expect(() => makeSyncPort({ url: "sync.example.com", space: "t" })).toThrow(/no address/);
  expect(() => makeSyncPort({ url: "https://me:pw@x.example", space: "t" })).toThrow(/^(?!.*pw@).*with a password/);
  expect(() => makeSyncPort({ url: "https://x.example", space: "" })).toThrow(/space/);
  expect(() => makeSyncPort({ url: "https://x.example", space: "t", token: "a", credential: "b" })).toThrow(/not both/);
  expect(() => makeSyncPort({ url: "https://x.example", space: "t", tokn: "a" } as never)).toThrow(
    /did you mean "token"/,
  );
});
