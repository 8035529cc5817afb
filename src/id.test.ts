// Proves the rules about ids: their form, and that rewriting touches references and nothing else. Leaves the engine out.
import fc from "fast-check";
import { validate, version } from "uuid";
import { describe, expect, test } from "vitest";
import { findReferences, localIdLength, newUuidV7, rewriteReferences, uuidRandomBytes } from "./id.ts";
import type { Json } from "./operation.ts";
import { limits } from "./shapes.ts";

const locals = ["local-1", "local-2", "local-3"] as const;
const isLocal = (text: string): boolean => (locals as readonly string[]).includes(text);
const serverIdOf = (text: string): string | null => (isLocal(text) ? `srv:${text.slice(-1)}` : null);

/** JSON values in which local ids are frequent, as values and as keys. */
const jsonWithReferences: fc.Arbitrary<Json> = fc.letrec<{ json: Json }>((tie) => ({
  json: fc.oneof(
    { maxDepth: 6, depthSize: "small" },
    fc.constantFrom<Json>(...locals, "about local-1", "local-11", "", null, true, 0, -1.5),
    fc.string(),
    fc.array(tie("json"), { maxLength: 5 }),
    fc.dictionary(fc.oneof(fc.string(), fc.constantFrom(...locals, "__proto__", "constructor")), tie("json"), {
      maxKeys: 5,
      noNullPrototype: true,
    }),
  ),
})).json;

/** The obvious recursive rule, to compare with. */
function rewritePlainly(value: Json): Json {
  if (typeof value === "string") return serverIdOf(value) ?? value;
  if (Array.isArray(value)) return value.map(rewritePlainly);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, rewritePlainly(each)]));
}

describe("a UUIDv7", () => {
  test("carries its instant, its version and its variant for any clock and any bytes", () => {
    const bytes = fc.uint8Array({ minLength: uuidRandomBytes, maxLength: uuidRandomBytes });
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 48 - 1 }), bytes, (now, random) => {
        const id = newUuidV7(now, random);
        expect(validate(id) && version(id)).toBe(7);
        expect(Number.parseInt(id.replaceAll("-", "").slice(0, 12), 16)).toBe(now);
      }),
    );
  });

  test("keeps all 74 random bits", () => {
    expect(newUuidV7(0, new Uint8Array(10).fill(255))).toBe("00000000-0000-7fff-bfff-ffffffffffff");
    expect(newUuidV7(0, Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]))).toBe("00000000-0000-7102-8304-05060708090a");
  });

  test("is valid with a clock that is wrong, and refuses too few bytes", () => {
    expect(validate(newUuidV7(-5, new Uint8Array(10)))).toBe(true);
    expect(validate(newUuidV7(Number.MAX_SAFE_INTEGER, new Uint8Array(10)))).toBe(true);
    expect(() => newUuidV7(0, new Uint8Array(9))).toThrow("newUuidV7 takes 10 random bytes, not 9");
  });
});

describe("references", () => {
  test("are exact string values at any depth, each once, in order of appearance; keys and longer strings are none", () => {
    const value = { a: ["local-2", { b: "local-1" }], "local-3": "see local-3", c: "local-2", d: 3 };
    expect(findReferences(value, isLocal)).toEqual(["local-2", "local-1"]);
  });

  test("a string longer than a local id can be is never looked up", () => {
    const asked: string[] = [];
    const ask = (text: string): boolean => asked.push(text) > 0;
    expect(findReferences(["x".repeat(localIdLength), "x".repeat(localIdLength + 1), ""], ask)).toHaveLength(1);
    expect(asked).toEqual(["x".repeat(localIdLength)]);
  });

  test("a local id is as long as any other name", () => {
    expect(localIdLength).toBe(limits.nameLength);
  });

  test("are rewritten wherever the plain recursive rule would, and nothing else changes", () => {
    fc.assert(
      fc.property(jsonWithReferences, (value) => {
        const before = JSON.stringify(value);
        const after = rewriteReferences(value, serverIdOf);
        expect(JSON.stringify(after)).toBe(JSON.stringify(rewritePlainly(value)));
        expect(JSON.stringify(value)).toBe(before);
        expect(findReferences(after, isLocal)).toEqual([]);
      }),
      { numRuns: 500 },
    );
  });

  test("a value that refers to nothing known comes back as the same object", () => {
    fc.assert(
      fc.property(jsonWithReferences, (value) => {
        expect(rewriteReferences(value, () => null)).toBe(value);
        const after = rewriteReferences(value, serverIdOf);
        expect(rewriteReferences(after, serverIdOf)).toBe(after);
      }),
    );
  });

  test("a payload nested 200,000 deep is searched and rewritten without touching the call stack", () => {
    let value: Json = "local-1";
    for (let depth = 0; depth < 200_000; depth += 1) value = depth % 2 === 0 ? [value] : { x: value };
    expect(findReferences(value, isLocal)).toEqual(["local-1"]);
    let inner = rewriteReferences(value, serverIdOf);
    while (typeof inner === "object" && inner !== null) inner = Object.values(inner)[0] as Json;
    expect(inner).toBe("srv:1");
  });

  test("a key __proto__ stays a key", () => {
    const value = JSON.parse('{"__proto__":{"a":"local-1"},"b":1}') as Json;
    expect(JSON.stringify(rewriteReferences(value, serverIdOf))).toBe('{"__proto__":{"a":"srv:1"},"b":1}');
  });
});
