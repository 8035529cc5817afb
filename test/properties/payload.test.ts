// Owns the property that a payload comes out as it went in, byte for byte, whatever JSON it is: in the store, after a restart,
// and in the handler's hands. What JSON cannot say is defined here too: it is refused, or it becomes what JSON makes of it.
import fc from "fast-check";
import { expect, test } from "vitest";
import { HoldfastError } from "../../src/errors.ts";
import type { Json } from "../../src/operation.ts";
import { openStage } from "../support/virtual.ts";

const runs = { numRuns: 150 };

/** Keys and strings that have hurt somebody. */
const nasty = [
  "__proto__",
  "constructor",
  "toString",
  "",
  "\u0000",
  "\ud83d\ude00",
  "\ud800",
  "\udfff",
  "\u2028",
  "é",
  "e\u0301",
];
const text = fc.oneof(fc.constantFrom(...nasty), fc.string({ unit: "binary" }), fc.string({ unit: "grapheme" }));
const number = fc.oneof(
  fc.double({ noNaN: true, noDefaultInfinity: true }),
  fc.constantFrom(-0, Number.MAX_SAFE_INTEGER + 2, 5e-324, 1.7976931348623157e308, 0.1),
);
const { value: anyJson } = fc.letrec<{ value: Json }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc.constant(null),
    fc.boolean(),
    number,
    text,
    fc.array(tie("value"), { maxLength: 5 }),
    fc.array(fc.tuple(text, tie("value")), { maxLength: 5 }).map(objectOf),
  ),
}));

/** As JSON.parse makes objects: every key is the object's own, `__proto__` too. */
function objectOf(entries: readonly (readonly [string, Json])[]): Json {
  return JSON.parse(
    `{${entries.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join()}}`,
  ) as Json;
}

test("a payload is stored, restarted and sent byte for byte", async () => {
  await fc.assert(
    fc.asyncProperty(anyJson, async (payload) => {
      const sent: string[] = [];
      const run = async ({ input }: { readonly input: Json }) => {
        sent.push(JSON.stringify(input));
        return { kind: "applied", result: input } as const;
      };
      using stage = openStage({ types: [{ type: "any", run }] });
      const written = JSON.stringify(payload);
      const { id } = stage.engine().handle("queue.add", { type: "any", payload: payload as never });
      expect(JSON.stringify(stage.get(id).payload)).toBe(written);
      stage.restart();
      expect(JSON.stringify(stage.get(id).payload)).toBe(written);
      await stage.scheduler.runFor(5_000);
      expect(sent).toEqual([written]);
      expect(JSON.stringify(stage.get(id).result)).toBe(written);
    }),
    runs,
  );
});

test("an edit and an export keep every byte as well", async () => {
  await fc.assert(
    fc.asyncProperty(anyJson, anyJson, async (first, second) => {
      using stage = openStage();
      const { id } = stage.engine().handle("queue.add", { type: "unknown", payload: first as never });
      stage.engine().handle("queue.edit", { id, payload: second as never });
      const { lines } = stage.engine().handle("queue.export", {});
      using other = openStage();
      expect(other.engine().handle("queue.import", { lines: [...lines] }).imported).toEqual([id]);
      expect(JSON.stringify(other.get(id).payload)).toBe(JSON.stringify(second));
    }),
    runs,
  );
});

test("what is no JSON is refused before anything is stored", () => {
  using stage = openStage();
  const notJson = [undefined, Number.NaN, Number.POSITIVE_INFINITY, 1n, () => 1, Symbol("x"), { a: undefined, b: 1n }];
  for (const payload of notJson) {
    expect(() => stage.engine().handle("queue.add", { type: "any", payload: payload as never })).toThrow(HoldfastError);
  }
  expect(stage.engine().handle("queue.status", {}).unsent).toBe(0);
});

test("a negative zero becomes zero, because JSON has only one", () => {
  using stage = openStage();
  const { id } = stage.engine().handle("queue.add", { type: "any", payload: [-0] });
  expect(Object.is((stage.get(id).payload as readonly number[])[0], 0)).toBe(true);
});

test("a payload altered in the file is parked as corrupt and never sent", async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat(10_000), fc.integer({ min: 1, max: 255 }), async (place, flip) => {
      let sends = 0;
      const run = async () => {
        sends += 1;
        return { kind: "applied" } as const;
      };
      using stage = openStage({ types: [{ type: "any", run }] });
      const { id } = stage.engine().handle("queue.add", { type: "any", payload: "a payload that the disk alters" });
      const written = String(stage.database.prepare("SELECT payload FROM op WHERE id = ?").get(id)?.payload);
      const index = place % written.length;
      const altered = String.fromCharCode(written.charCodeAt(index) ^ flip);
      const damaged = written.slice(0, index) + altered + written.slice(index + 1);
      stage.database.prepare("UPDATE op SET payload = ? WHERE id = ?").run(damaged, id);
      await stage.scheduler.runFor(1_000);
      expect(sends).toBe(0);
      const row = stage.database.prepare("SELECT state, reason FROM op WHERE id = ?").get(id);
      expect(row).toEqual({ state: 5, reason: "corrupt" });
    }),
    runs,
  );
});
