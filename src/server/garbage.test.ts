/**
 * Owns the proof that no body brings the server down: whatever JSON comes, the answer is a 200 or a refusal with a code, never a 500.
 */
import { fc, test } from "@fast-check/vitest";
import { afterAll, beforeAll, expect } from "vitest";
import { closeServers, openTestServer } from "../../test/support/sync-server.ts";
import { routes } from "../wire.ts";

let opened: ReturnType<typeof openTestServer>;
beforeAll(() => {
  opened = openTestServer({ limits: { requestsPerSecond: 1e9, burst: 1e9 } });
});
const seen = new Map<string, number>();
afterAll(async () => {
  // Garbage that never gets past the first check would prove little.
  expect(seen.get("fine") ?? 0).toBeGreaterThan(100);
  await closeServers();
});

const odd = fc.oneof(
  fc.jsonValue(),
  fc.constantFrom("__proto__", "constructor", "\u0000", "\ud800", "", -1, 1.5, 2 ** 53, 1e308, [], {}, "x".repeat(201)),
);
/** A right value most of the time, so that the wrong ones get past the first check. */
const mostly = <T>(right: fc.Arbitrary<T>) => fc.oneof({ weight: 39, arbitrary: right }, { weight: 1, arbitrary: odd });
const fields = mostly(fc.dictionary(fc.constantFrom("a", "b", "__proto__", "toString", "\u0000"), fc.jsonValue()));
const change = fc.record(
  {
    collection: mostly(fc.constantFrom("notes", "tags")),
    key: mostly(fc.constantFrom("a", "b", "k\u0000", "k\ud800", "é")),
    kind: mostly(fc.constantFrom("create", "update", "remove")),
    base: mostly(fc.nat(20)),
    fields,
    unset: mostly(fc.array(fc.constantFrom("a", "__proto__"), { maxLength: 2 })),
    strict: mostly(fc.array(fc.constantFrom("a", "b"), { maxLength: 2 })),
    schema: mostly(fc.nat(3)),
  },
  { requiredKeys: ["collection", "key", "kind", "base", "fields", "schema"] },
);
const item = fc.record({
  id: mostly(fc.uuid()),
  number: mostly(fc.nat()),
  at: mostly(fc.nat()),
  changes: mostly(fc.array(mostly(change), { minLength: 1, maxLength: 3 })),
});
const where = fc.dictionary(
  fc.constantFrom("a", "$key", "__proto__"),
  fc.oneof(fc.jsonValue(), fc.record({ gt: odd, prefix: odd }, { requiredKeys: [] })),
);
const requests = fc.oneof(
  fc.record({
    route: fc.constant(routes.push),
    body: fc.record({
      space: mostly(fc.constant("main")),
      client: mostly(fc.constant("c")),
      floor: mostly(fc.constant(0)),
      items: mostly(fc.array(item, { minLength: 1, maxLength: 4 })),
    }),
  }),
  fc.record({
    route: fc.constant(routes.pull),
    body: fc.record({
      space: mostly(fc.constant("main")),
      history: mostly(fc.constant("")),
      wants: mostly(
        fc.array(fc.record({ collection: mostly(fc.constant("notes")), after: mostly(fc.nat(3)), filter: where }), {
          minLength: 1,
          maxLength: 3,
        }),
      ),
      limit: mostly(fc.integer({ min: 1, max: 10 })),
    }),
  }),
  fc.record({
    route: fc.constant(routes.fetch),
    body: fc.record({
      space: mostly(fc.constant("main")),
      collection: mostly(fc.constant("notes")),
      keys: mostly(fc.array(mostly(fc.string({ minLength: 1 })), { minLength: 1 })),
    }),
  }),
  fc.record({ route: fc.constantFrom(routes.push, routes.pull, routes.fetch), body: fc.jsonValue() }),
);

test.prop([requests], { numRuns: 1_000 })(
  "every body is answered, and answered in our words",
  async ({ route, body }) => {
    const server = await opened;
    const response = await server.ask(route, { body: JSON.stringify(body) });
    const answer = JSON.parse(await response.text());
    const code = response.status === 200 ? "fine" : answer.code;
    expect(["fine", "invalid_input", "space_forbidden"]).toContain(code);
    seen.set(code, (seen.get(code) ?? 0) + 1);
    expect(server.log).toEqual([]);
  },
);
