// Owns the tests of the three-way merge: each rule by examples, and what must hold for all values by properties.
// Leaves when a merge happens, and what becomes of a dispute, to the engine's conflicts.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { canonicalText, isSameJson } from "./canonical.ts";
import type { FieldRule, FieldRules } from "./merge.ts";
import { mergeFields, mergeLimit } from "./merge.ts";
import type { Json } from "./operation.ts";
import type { Fields } from "./record.ts";

/** Merges one field `f`; a side that is undefined does not have it. */
function one(rule: FieldRule | undefined, [base, local, remote]: readonly (Json | undefined)[]) {
  const side = (value: Json | undefined): Fields => (value === undefined ? {} : { f: value });
  const merged = mergeFields(
    { base: side(base), local: side(local), remote: side(remote) },
    rule === undefined ? {} : { f: rule },
  );
  return merged.disputed.length > 0 ? "disputed" : merged.value.f;
}

describe("without a rule", () => {
  test("the side that changed a field wins, and a removal is a change", () => {
    expect(one(undefined, [1, 2, 1])).toBe(2);
    expect(one(undefined, [1, 1, 3])).toBe(3);
    expect(one(undefined, [1, undefined, 1])).toBeUndefined();
    expect(one(undefined, [1, 1, undefined])).toBeUndefined();
    expect(one(undefined, [undefined, undefined, 3])).toBe(3);
  });

  test("two different changes of one field are in dispute; the same change is not", () => {
    expect(one(undefined, [1, 2, 3])).toBe("disputed");
    expect(one(undefined, [1, undefined, 3])).toBe("disputed");
    expect(one(undefined, [1, { a: 1, b: 2 }, { b: 2, a: 1 }])).toEqual({ a: 1, b: 2 });
  });

  test("a field in dispute holds the local value, the others are merged", () => {
    const merged = mergeFields(
      { base: { a: 1, b: 1, c: 1 }, local: { a: 2, b: 2, c: 1 }, remote: { a: 3, b: 1, c: 4 } },
      {},
    );
    expect(merged).toEqual({ value: { a: 2, b: 2, c: 4 }, disputed: ["a"], decisions: [] });
  });

  test("records that share no beginning dispute what differs", () => {
    const merged = mergeFields({ base: null, local: { a: 1, b: 1 }, remote: { a: 1, b: 2, c: 3 } }, {});
    expect(merged).toMatchObject({ value: { a: 1, b: 1, c: 3 }, disputed: ["b"] });
  });
});

describe("the rule", () => {
  test("critical leaves a difference to a person", () => {
    expect(one({ rule: "critical" }, [1, 2, 3])).toBe("disputed");
    expect(one({ rule: "critical" }, [1, 2, 1])).toBe(2);
  });

  test("prefer-local takes the local value unless it is empty or a placeholder", () => {
    const rule = { rule: "prefer-local", placeholders: ["N/A"] } as const;
    expect(one(rule, ["a", "b", "c"])).toBe("b");
    for (const empty of ["", null, undefined, "N/A"]) expect(one(rule, ["a", empty, "c"])).toBe("c");
    // Zero and false are values.
    expect(one(rule, [1, 0, 2])).toBe(0);
    expect(one(rule, [true, false, 2])).toBe(false);
  });

  test("prefer-remote takes the remote value", () => {
    expect(one({ rule: "prefer-remote" }, ["a", "b", "c"])).toBe("c");
  });

  test("override takes what was set by hand, and the computed value where nobody did", () => {
    const rules: FieldRules = {
      fee: { rule: "override", flag: "fee_manually_set", tolerance: 0.01 },
      fee_manually_set: { rule: "prefer-local" },
    };
    const fee = (local: Fields, remote: Fields) => {
      const { value, disputed } = mergeFields({ base: { fee: 10, fee_manually_set: false }, local, remote }, rules);
      return disputed.includes("fee") ? "disputed" : value.fee;
    };
    const byHand = (value: number): Fields => ({ fee: value, fee_manually_set: true });
    const computed = (value: number): Fields => ({ fee: value, fee_manually_set: false });
    expect(fee(byHand(15), computed(12))).toBe(15);
    expect(fee(computed(15), byHand(12))).toBe(12);
    expect(fee(computed(15), computed(12))).toBe(12);
    expect(fee(byHand(15), byHand(12))).toBe("disputed");
    expect(fee(byHand(12.01), byHand(12))).toBe(12);
    expect(fee(byHand(12.011), byHand(12))).toBe("disputed");
  });

  test("max and min compare numbers and texts, never a mixture", () => {
    expect(one({ rule: "max" }, [1, 5, 3])).toBe(5);
    expect(one({ rule: "min" }, [9, 5, 3])).toBe(3);
    expect(one({ rule: "max" }, ["2026-01-01", "2026-03-01", "2026-02-01"])).toBe("2026-03-01");
    expect(one({ rule: "max" }, [1, undefined, 3])).toBe(3);
    expect(one({ rule: "max" }, [1, 5, null])).toBe(5);
    expect(one({ rule: "max" }, [1, 5, "3"])).toBe("disputed");
  });

  test("counter adds both differences", () => {
    expect(one({ rule: "counter" }, [5, 7, 6])).toBe(8);
    expect(one({ rule: "counter" }, [undefined, 2, 3])).toBe(5);
    expect(one({ rule: "counter" }, [5, undefined, 6])).toBe("disputed");
    expect(one({ rule: "counter" }, ["5", 7, 6])).toBe("disputed");
    expect(one({ rule: "counter" }, [5, 6, 6])).toBe(7);
    expect(one({ rule: "counter" }, [0, Number.MAX_VALUE, Number.MAX_VALUE])).toBe("disputed");
  });

  test("set keeps what neither side took away and adds what either added", () => {
    expect(
      one({ rule: "set" }, [
        ["a", "b"],
        ["b", "c"],
        ["a", "b", "d"],
      ]),
    ).toEqual(["b", "d", "c"]);
    expect(one({ rule: "set" }, [["a"], ["a", { x: 1, y: 2 }], ["a", { y: 2, x: 1 }, "z"]])).toEqual([
      "a",
      { y: 2, x: 1 },
      "z",
    ]);
    expect(one({ rule: "set" }, [undefined, ["a"], ["b"]])).toEqual(["b", "a"]);
    expect(one({ rule: "set" }, [[], "a", ["b"]])).toBe("disputed");
  });

  test("list merges elements by their key and keeps the order that somebody gave", () => {
    const rule = { rule: "list", by: "id" } as const;
    const [a, b, c] = [
      { id: 1, t: "a" },
      { id: 2, t: "b" },
      { id: 3, t: "c" },
    ];
    expect(
      one(rule, [
        [a, b],
        [a, { ...b, done: true }],
        [{ ...a, t: "A" }, b, c],
      ]),
    ).toEqual([{ id: 1, t: "A" }, { id: 2, t: "b", done: true }, c]);
    expect(
      one(rule, [
        [a, b, c],
        [c, a, b],
        [a, { ...b, t: "B" }, c],
      ]),
    ).toEqual([c, a, { id: 2, t: "B" }]);
    expect(
      one(rule, [
        [a, b],
        [a, c, b],
        [b, a],
      ]),
    ).toEqual([b, a, c]);
    expect(one(rule, [[a, b], [b], [{ ...a }, { ...b, t: "B" }]])).toEqual([{ id: 2, t: "B" }]);
    expect(one(rule, [[a, b], [b], [{ ...a, t: "A" }, b]])).toBe("disputed");
    expect(one(rule, [[a], [{ ...a, t: "x" }], [{ ...a, t: "y" }]])).toBe("disputed");
    expect(one(rule, [[a], [a, a], [b]])).toBe("disputed");
    expect(one(rule, [[a], [a, { t: "no id" }], [b]])).toBe("disputed");
    // A number and a text are two keys.
    expect(one(rule, [[], [{ id: 1 }], [{ id: "1" }]])).toEqual([{ id: 1 }, { id: "1" }]);
  });

  test("text merges lines, then words of a line, and leaves what overlaps to a person", () => {
    const base = "low tide at four\nhigh tide at ten\nwind from the west\n";
    expect(
      one({ rule: "text" }, [
        base,
        base.replace("four", "five"),
        base.replace("the west", "the south").replace("high tide", "high water"),
      ]),
    ).toBe("low tide at five\nhigh water at ten\nwind from the south\n");
    expect(one({ rule: "text" }, ["tide at ten", "tide at eleven", "a tide at ten"])).toBe("a tide at eleven");
    expect(one({ rule: "text" }, ["tide at ten", "tide at eleven", "tide at nine"])).toBe("disputed");
    expect(one({ rule: "text" }, ["", "", "x"])).toBe("x");
    expect(one({ rule: "text" }, ["a", 1, "x"])).toBe("disputed");
  });

  test("a list or text at its limit is merged, one past it is left to a person", () => {
    const list = (length: number): readonly number[] => Array.from({ length }, (_, index) => index);
    expect(one({ rule: "set" }, [[], list(mergeLimit), [-1]])).toHaveLength(mergeLimit + 1);
    expect(one({ rule: "set" }, [[], list(mergeLimit + 1), [-1]])).toBe("disputed");
  });
});

test("what a rule decided is told with both sides, so that the loser can be found again", () => {
  const { decisions } = mergeFields({ base: { n: 1 }, local: { n: 2 }, remote: {} }, { n: { rule: "prefer-remote" } });
  expect(decisions).toEqual([{ field: "n", rule: "prefer-remote", chosen: "remote", base: 1, local: 2, remote: null }]);
});

test("a field named like a member of every object is a field like any other", () => {
  const local = JSON.parse('{"__proto__": {"a": 1}, "constructor": 2}') as Fields;
  const merged = mergeFields({ base: null, local, remote: {} }, {});
  expect(JSON.stringify(merged.value)).toBe('{"__proto__":{"a":1},"constructor":2}');
});

describe("for all values", () => {
  const rules = fc.constantFrom<FieldRule | undefined>(
    undefined,
    { rule: "critical" },
    { rule: "prefer-local" },
    { rule: "prefer-remote" },
    { rule: "override", flag: "b", tolerance: 1 },
    { rule: "max" },
    { rule: "min" },
    { rule: "counter" },
    { rule: "set" },
    { rule: "list", by: "id" },
    { rule: "text" },
  );
  const value = fc.oneof(
    fc.jsonValue({ maxDepth: 2 }) as fc.Arbitrary<Json>,
    fc.integer({ min: -9, max: 9 }),
    fc.array(fc.record({ id: fc.integer({ min: 0, max: 3 }), t: fc.integer({ min: 0, max: 2 }) }), { maxLength: 4 }),
    fc.array(fc.constantFrom("a ", "b ", "\n", "c")).map((parts) => parts.join("")),
  );
  const names = ["a", "b", "id"] as const;
  const fields = fc.dictionary(fc.constantFrom(...names), value, { maxKeys: 3 }) as fc.Arbitrary<Fields>;
  const ruleSet = fc.record({ a: rules, b: rules, id: rules }) as fc.Arbitrary<FieldRules>;
  const side = (text: Fields) => canonicalText(text);

  test("a side that changed nothing takes the other side whole", () => {
    fc.assert(
      fc.property(fields, fields, ruleSet, (base, changed, set) => {
        expect(side(mergeFields({ base, local: base, remote: changed }, set).value)).toBe(side(changed));
        expect(side(mergeFields({ base, local: changed, remote: base }, set).value)).toBe(side(changed));
        expect(mergeFields({ base, local: changed, remote: base }, set).disputed).toEqual([]);
      }),
      { numRuns: 500 },
    );
  });

  test("equal sides merge to themselves", () => {
    fc.assert(
      fc.property(fc.option(fields), fields, ruleSet, (base, both, set) => {
        fc.pre(Object.values(set).every((rule) => rule?.rule !== "counter"));
        const merged = mergeFields({ base, local: both, remote: both }, set);
        expect([side(merged.value), merged.disputed]).toEqual([side(both), []]);
      }),
      { numRuns: 500 },
    );
  });

  test("merging the result once more with the remote changes nothing: there is no echo", () => {
    fc.assert(
      fc.property(fields, fields, fields, ruleSet, (base, local, remote, set) => {
        const first = mergeFields({ base, local, remote }, set);
        fc.pre(first.disputed.length === 0);
        const again = mergeFields({ base: remote, local: first.value, remote }, set);
        expect(side(again.value)).toBe(side(first.value));
      }),
      { numRuns: 500 },
    );
  });

  test("no field is lost: each is taken from a side, made by its rule, or in dispute", () => {
    fc.assert(
      fc.property(fields, fields, fields, (base, local, remote) => {
        const { value, disputed } = mergeFields({ base, local, remote }, {});
        for (const name of names) {
          const isFromASide = isSameJson(value[name], local[name]) || isSameJson(value[name], remote[name]);
          expect(isFromASide).toBe(true);
          const isDisputed =
            !isSameJson(local[name], remote[name]) &&
            !isSameJson(local[name], base[name]) &&
            !isSameJson(remote[name], base[name]);
          expect(disputed.includes(name)).toBe(isDisputed);
        }
      }),
      { numRuns: 500 },
    );
  });

  test("rules that do not prefer a side give both replicas the same", () => {
    const fair = fc.constantFrom<FieldRule>({ rule: "max" }, { rule: "min" }, { rule: "counter" });
    const numbers = fc.integer({ min: -1000, max: 1000 });
    fc.assert(
      fc.property(fair, numbers, numbers, numbers, (rule, base, local, remote) => {
        expect(one(rule, [base, local, remote])).toEqual(one(rule, [base, remote, local]));
      }),
      { numRuns: 500 },
    );
    const tags = fc.uniqueArray(fc.constantFrom("a", "b", "c", "d"));
    fc.assert(
      fc.property(tags, tags, tags, (base, local, remote) => {
        const sorted = (merged: Json | undefined) => [...(merged as readonly string[])].sort();
        const rule = { rule: "set" } as const;
        expect(sorted(one(rule, [base, local, remote]))).toEqual(sorted(one(rule, [base, remote, local])));
      }),
      { numRuns: 500 },
    );
  });
});
