/**
 * Owns the proof, over random concurrent pushes, that the feed has no gap and no skip: whoever follows it from any cursor ends with the state.
 */
import { fc, test } from "@fast-check/vitest";
import { expect } from "vitest";
import { closeServers, openTestServer } from "../../test/support/sync-server.ts";
import type { Fields } from "../record.ts";

type Server = Awaited<ReturnType<typeof openTestServer>>;
type Step =
  | { readonly kind: "create" | "update" | "remove"; readonly key: string; readonly base: number; readonly n: number }
  | { readonly kind: "pair"; readonly n: number };

const key = fc.constantFrom("a", "b", "c", "d", "e", "f");
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constantFrom("create", "update", "remove"), key, base: fc.nat(60), n: fc.nat(3) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("pair"), n: fc.nat(1_000) }) },
);
/** Several clients push at once, batch after batch; followers read in between with pages of their own size. */
const plan = fc.record({
  rounds: fc.array(fc.array(fc.array(step, { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 4 }), {
    minLength: 1,
    maxLength: 6,
  }),
  limits: fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 3 }),
});

const editsOf = (each: Step) =>
  each.kind === "pair"
    ? // Written together, always: whoever sees one without the other has seen half an operation.
      ["p", "q"].map((key) => ({ kind: "create" as const, key, base: 1_000_000, fields: { n: each.n } }))
    : [
        {
          kind: each.kind,
          key: each.key,
          base: each.base,
          fields: each.kind === "remove" ? {} : { [`f${each.n}`]: each.n },
        },
      ];

type Follower = {
  cursor: number;
  readonly limit: number;
  readonly seen: number[];
  readonly replica: Map<string, Fields>;
};

async function follow(server: Server, follower: Follower, isToEnd: boolean): Promise<void> {
  for (let hasMore = true; hasMore; ) {
    const wants = [{ collection: "notes", after: follower.cursor }];
    const page = await server.pull({ wants, limit: follower.limit });
    for (const { key, version, value } of page.records) {
      follower.seen.push(version);
      if (value === null) follower.replica.delete(key);
      else follower.replica.set(key, value);
    }
    expect(page.upTo).toBeGreaterThanOrEqual(follower.cursor);
    follower.cursor = page.upTo;
    expect(follower.replica.get("p")).toEqual(follower.replica.get("q"));
    hasMore = page.hasMore && isToEnd;
  }
}

test.prop([plan], { numRuns: 60 })(
  "a follower sees every change once, whole operations only, and ends with the state",
  async ({ rounds, limits }) => {
    const server = await openTestServer();
    const followers = limits.map((limit): Follower => ({ cursor: 0, limit, seen: [], replica: new Map() }));
    const versions: number[] = [];
    for (const [index, round] of rounds.entries()) {
      const pushes = round.map(async (steps, client) => {
        const items = steps.map((each) => ({ client: `client-${client}`, edits: editsOf(each) }));
        const { answers } = await server.pushAll(items);
        for (const answer of answers)
          if (answer.outcome === "applied") versions.push(...answer.changes.map(({ version }) => version));
      });
      const reading = followers.map((follower) => follow(server, follower, index % 2 === 0));
      await Promise.all([...pushes, ...reading]);
    }
    for (const follower of followers) await follow(server, follower, true);
    const whole: Follower = { cursor: 0, limit: 1_000, seen: [], replica: new Map() };
    await follow(server, whole, true);
    const { head } = await server.pull();
    expect([...new Set(versions.filter((version) => version > 0))].sort((a, b) => a - b)).toEqual(
      Array.from({ length: head }, (_, n) => n + 1),
    );
    for (const follower of followers) {
      expect(follower.seen).toEqual([...new Set(follower.seen)].sort((a, b) => a - b));
      expect(follower.replica).toEqual(whole.replica);
    }
    await closeServers();
  },
);
