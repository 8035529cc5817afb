// Owns abuse of the daemon's HTTP face: requests generated from its own OpenAPI document, and bytes that are no requests at all.
// Leaves who may call to test/security/.
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import * as z from "zod/mini";
import { errorTable } from "../../src/errors.ts";
import type { JsonSchema } from "../../src/node/openapi.ts";
import { makeOpenApi } from "../../src/node/openapi.ts";
import { isVerb, verbs } from "../../src/verbs.ts";
import type { Answered, TestDaemon } from "../support/daemon.ts";
import { ask, speak, startTestDaemon } from "../support/daemon.ts";
import { openRealEngine } from "../support/real-engine.ts";

const requests = Number(process.env.HOLDFAST_FUZZ_REQUESTS ?? 2_000);
const seed = Number(process.env.HOLDFAST_FUZZ_SEED ?? 20_261_121);
const document = makeOpenApi("0.0.0");
const paths = Object.keys(document.paths).filter((path) => path !== "/v1/events");
const schemas = document.components.schemas;

let running: TestDaemon;
beforeAll(async () => {
  running = await startTestDaemon({
    openEngine: openRealEngine,
    limits: { headersTimeoutMs: 1_000, requestTimeoutMs: 2_000, checkIntervalMs: 100 },
  });
});
afterAll(async () => running.close());

const problem = z.object({
  type: z.string(),
  title: z.string(),
  status: z.int(),
  detail: z.string(),
  instance: z.string(),
  code: z.enum(Object.keys(errorTable) as [string, ...string[]]),
  hint: z.string(),
});

/** Values that a schema allows, and now and then one that it does not. */
function arbitraryOf(schema: JsonSchema, depth = 0): fc.Arbitrary<unknown> {
  const odd = fc.oneof(
    fc.jsonValue({ maxDepth: 2 }),
    fc.constantFrom(-1, 1.5, 1e300, "", "\u0000", "constructor", [], {}, null),
  );
  return fc.oneof({ weight: 12, arbitrary: fittingOf(schema, depth) }, { weight: 1, arbitrary: odd });
}

/** Settings with which a full queue or disk, and so a 507, is the right answer. */
const fillingSettings = ["minFreeBytes", "maxOperations", "maxBytes"];

function fittingOf(schema: JsonSchema, depth: number): fc.Arbitrary<unknown> {
  const reference = schema.$ref;
  if (typeof reference === "string") {
    const name = reference.replace("#/components/schemas/", "");
    return name === "Json" || depth > 4 ? fc.jsonValue({ maxDepth: 3 }) : arbitraryOf(schemas[name] ?? {}, depth + 1);
  }
  const choices = (schema.anyOf ?? schema.oneOf) as readonly JsonSchema[] | undefined;
  if (choices !== undefined) return fc.oneof(...choices.map((each) => arbitraryOf(each, depth + 1)));
  if (Array.isArray(schema.enum)) return fc.constantFrom(...(schema.enum as unknown[]));
  if (schema.const !== undefined) return fc.constant(schema.const);
  const minimum = (schema.minimum as number | undefined) ?? -1_000;
  switch (schema.type) {
    case "string":
      return schema.format === "uuid"
        ? fc.uuid()
        : fc.string({ unit: "binary", minLength: (schema.minLength as number | undefined) ?? 0, maxLength: 40 });
    case "integer":
      return fc.integer({ min: minimum, max: Math.min((schema.maximum as number | undefined) ?? 1_000, 2 ** 53 - 1) });
    case "number":
      return fc.double({ min: minimum, noNaN: true, noDefaultInfinity: true });
    case "boolean":
      return fc.boolean();
    case "null":
      return fc.constant(null);
    case "array":
      return fc.array(arbitraryOf((schema.items as JsonSchema | undefined) ?? {}, depth + 1), { maxLength: 4 });
    case "object": {
      const properties = (schema.properties ?? {}) as Readonly<Record<string, JsonSchema>>;
      const fields = Object.fromEntries(
        Object.entries(properties)
          .filter(([key]) => !fillingSettings.includes(key))
          .map(([key, each]) => [key, arbitraryOf(each, depth + 1)]),
      );
      return fc.record(fields, {
        requiredKeys: ((schema.required as string[] | undefined) ?? []).filter((key) => key in fields),
      });
    }
    default:
      return fc.jsonValue({ maxDepth: 2 });
  }
}

/** Text that is broken in a way JSON.stringify never is. */
const twist = (text: string): fc.Arbitrary<string> =>
  fc.oneof(
    { weight: 20, arbitrary: fc.constant(text) },
    { weight: 1, arbitrary: fc.nat({ max: text.length }).map((at) => text.slice(0, at)) },
    { weight: 1, arbitrary: fc.constant(text.replace("{", '{"__proto__":{"isAdmin":true},')) },
    { weight: 1, arbitrary: fc.constant(text.replace("{", '{"id":"aaaa","id":"bbbb",')) },
    { weight: 1, arbitrary: fc.constant(text.replace(/\d+/, "9007199254740993")) },
    { weight: 1, arbitrary: fc.constant(text.replace(/"[^"]*"\}/, '"\\ud800"}')) },
    { weight: 1, arbitrary: fc.constant(`${"[".repeat(5_000)}${text}`) },
    { weight: 1, arbitrary: fc.constant(text.replace("{", '{"unexpected":1,')) },
  );

let ids: readonly string[] = [];
const known = (): fc.Arbitrary<string> => fc.nat().map((n) => ids[n % Math.max(1, ids.length)] ?? "none");
const call = fc.constantFrom(...paths).chain((path) => {
  const method = Object.keys(document.paths[path] ?? {})[0] ?? "get";
  const schema = document.paths[path]?.[method]?.requestBody?.content["application/json"]?.schema;
  const body =
    schema === undefined
      ? fc.constant(undefined)
      : fc.tuple(arbitraryOf(schema), known()).chain(([value, id]) => twist(withKnownId(value, id)));
  const verb = fc.oneof(
    { weight: 20, arbitrary: fc.constant(method) },
    { weight: 1, arbitrary: fc.constantFrom("PUT", "DELETE", "HEAD", "OPTIONS", "QUERY") },
  );
  const suffix = fc.oneof(
    { weight: 20, arbitrary: fc.constant("") },
    { weight: 1, arbitrary: fc.constantFrom("/", "?a=1", "%00", "?after=x", "/..", "?challenge=%ff", "x") },
  );
  return fc.record({ path: suffix.map((each) => path + each), method: verb, body });
});

function withKnownId(value: unknown, id: string): string {
  const isRecord = typeof value === "object" && value !== null && !Array.isArray(value);
  if (isRecord && typeof (value as { id?: unknown }).id === "string" && !("payload" in value))
    return JSON.stringify({ ...value, id });
  return JSON.stringify(value) ?? "";
}

function judge(asked: { readonly path: string; readonly method: string }, answer: Answered): void {
  const label = `${asked.method} ${asked.path} -> ${answer.status} ${answer.text.slice(0, 300)}`;
  expect(answer.status, label).toBeLessThan(500);
  if (asked.method === "HEAD") return;
  if (answer.status >= 400) {
    expect(answer.headers["content-type"], label).toBe("application/problem+json");
    expect(z.safeParse(problem, JSON.parse(answer.text)).success, label).toBe(true);
    return;
  }
  const verb = asked.path.replace(/\?.*/, "").slice("/v1/".length);
  if (asked.path.startsWith("/v1/") && isVerb(verb))
    expect(z.safeParse(verbs[verb].output, JSON.parse(answer.text)).success, label).toBe(true);
}

test(`${requests} requests made from the document get answers that fit the document, none of them 5xx`, {
  timeout: 120_000,
}, async () => {
  const statuses = new Map<number, number>();
  await fc.assert(
    fc.asyncProperty(fc.array(call, { minLength: 10, maxLength: 10 }), async (batch) => {
      const answers = await Promise.all(
        batch.map(({ path, method, body }) =>
          ask(running.daemon, {
            path,
            method: method.toUpperCase(),
            ...(body === undefined || ["HEAD", "OPTIONS"].includes(method) ? {} : { body }),
          }),
        ),
      );
      const page = running.daemon.engine.handle("queue.list", { order: "newest", limit: 50 });
      ids = page.operations.map((each) => each.id);
      answers.forEach((answer, index) => {
        statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1);
        judge(batch[index] as (typeof batch)[number], answer);
      });
    }),
    { numRuns: Math.ceil(requests / 10), seed, endOnFailure: true },
  );
  // The generator must reach both sides: work that is done and input that is refused.
  expect(statuses.get(200) ?? 0).toBeGreaterThan(requests / 10);
  expect(statuses.get(400) ?? 0).toBeGreaterThan(requests / 20);
  expect(({} as { isAdmin?: boolean }).isAdmin).toBeUndefined();
});

describe("bytes that are no request:", () => {
  const head = (extra = ""): string =>
    `POST /v1/queue.status HTTP/1.1\r\nHost: 127.0.0.1:${running.daemon.port}\r\nAuthorization: Bearer ${running.daemon.token}\r\nContent-Type: application/json\r\n${extra}`;
  const statusesOf = (text: string): readonly string[] =>
    [...text.matchAll(/HTTP\/1\.1 (\d{3})/g)].map((each) => each[1] ?? "");

  test("a head that never ends is answered 408 and cut", async () => {
    const drips = Array.from({ length: 40 }, (_, index) => `X-Drip-${index}: 1\r\n`);
    const text = await speak(running.daemon, [head(), ...drips], 8_000, 100);
    expect(statusesOf(text)).toEqual(["408"]);
    expect(text).not.toContain("(still open)");
  });

  test("a body that never ends is answered 408 and cut", async () => {
    const text = await speak(running.daemon, [head("Content-Length: 100\r\n\r\n"), "{", " ", " "], 8_000, 200);
    expect(statusesOf(text)).toEqual(["408"]);
    expect(text).not.toContain("(still open)");
  });

  test("a connection that says nothing is cut", async () => {
    expect(await speak(running.daemon, [], 8_000)).not.toContain("(still open)");
  });

  test("headers of 16 KiB and more are answered 431", async () => {
    for (const wide of [
      `X: ${"x".repeat(20_000)}\r\n`,
      Array.from({ length: 2_000 }, (_, index) => `X-${index}: y\r\n`).join(""),
    ]) {
      expect(statusesOf(await speak(running.daemon, [`${head(wide)}\r\n`]))).toEqual(["431"]);
    }
  });

  test.each([
    ["a chunk size that is no number", "Transfer-Encoding: chunked\r\n\r\nZZ\r\n{}\r\n0\r\n\r\n"],
    ["a negative chunk size", "Transfer-Encoding: chunked\r\n\r\n-1\r\n{}\r\n0\r\n\r\n"],
    ["a chunk size beyond every number", `Transfer-Encoding: chunked\r\n\r\n${"F".repeat(40)}\r\n{}\r\n`],
    ["a chunk longer than it says", "Transfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n"],
    ["a length and chunks", "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"],
    ["two lengths", "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"],
    ["a length that is no number", "Content-Length: two\r\n\r\n{}"],
    ["a header folded over lines", "X: a\r\n b\r\n\r\n"],
    ["a header without a name", ": x\r\n\r\n"],
    ["a zero byte in a header", "X: \0\r\n\r\n"],
    ["an unknown transfer coding", "Transfer-Encoding: gzip\r\n\r\n{}"],
  ])("%s is answered 4xx and does no work", async (_name, rest) => {
    const text = await speak(running.daemon, [head(rest)], 4_000);
    expect(statusesOf(text).filter((status) => !status.startsWith("4"))).toEqual([]);
    expect(text).not.toContain("(still open)");
  });

  test.each([
    "\0\0\0\0",
    "GET\r\n\r\n",
    "\x16\x03\x01\x02\x00\x01",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "GET / HTTP/9.9\r\n\r\n",
    "A".repeat(100_000),
  ])("%.20j is answered 4xx", async (bytes) => {
    const text = await speak(running.daemon, [bytes], 4_000);
    expect(statusesOf(text).every((status) => status.startsWith("4"))).toBe(true);
    expect(text).not.toContain("(still open)");
  });

  test("CONNECT and Upgrade open no tunnel", async () => {
    const connect = await speak(
      running.daemon,
      ["CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n"],
      4_000,
    );
    expect(statusesOf(connect).filter((status) => status.startsWith("2"))).toEqual([]);
    const upgrade = await speak(
      running.daemon,
      [head("Upgrade: websocket\r\nConnection: Upgrade, close\r\nContent-Length: 0\r\n\r\n")],
      4_000,
    );
    expect(statusesOf(upgrade)).not.toContain("101");
  });

  test("a character that is split between two packets stays whole", async () => {
    const body = Buffer.from(JSON.stringify({ type: "note", payload: "käse 🧀" }));
    const at = body.indexOf(0xf0) + 2;
    const lines = head(`Content-Length: ${body.length}\r\nConnection: close\r\n\r\n`).replace(
      "queue.status",
      "queue.add",
    );
    const text = await speak(running.daemon, [lines, body.subarray(0, at), body.subarray(at)], 4_000, 50);
    expect(statusesOf(text)).toEqual(["200"]);
    expect(running.daemon.engine.handle("queue.list", { order: "newest", limit: 1 }).operations[0]?.payload).toBe(
      "käse 🧀",
    );
  });

  test("pipelined requests are answered in order, and one that is broken ends the row", async () => {
    const one = (verb: string): string => `${head("Content-Length: 2\r\n\r\n").replace("queue.status", verb)}{}`;
    const text = await speak(
      running.daemon,
      [`${one("queue.status") + one("nothing.here") + one("network.status")}BROKEN\r\n\r\n`],
      4_000,
    );
    expect(statusesOf(text)).toEqual(["200", "404", "200", "400"]);
  });

  test("a client that goes away in the middle harms nobody", async () => {
    for (let round = 0; round < 50; round += 1) await speak(running.daemon, [head("Content-Length: 1000\r\n\r\n{")], 1);
    expect((await ask(running.daemon)).status).toBe(200);
  });
});

test("after all of this nothing has failed inside", async () => {
  expect(running.lines.filter((line) => line.level === "error")).toEqual([]);
  expect((await ask(running.daemon)).status).toBe(200);
});
