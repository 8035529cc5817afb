/**
 * Owns the rules of finding records: conditions mean what `meets` says, pages cover everything once, and every walk is along an index.
 */
import { test as property } from "@fast-check/vitest";
import fc from "fast-check";
import { expect, test } from "vitest";
import { newRows } from "../../test/support/record-rows.ts";
import { isKeepable } from "../json.ts";
import type { Json } from "../operation.ts";
import type { Condition, Fields, Where } from "../record.ts";
import { compareTexts, meets } from "../where.ts";
import { countRecords, ensureIndexes, findRecords } from "./record-query.ts";

type Row = { readonly key: string; readonly value: Fields; readonly changed: number };
type Order = readonly { readonly field: string; readonly direction?: "asc" | "desc" }[];

const keyed = (row: { readonly key?: unknown }): string => String(row.key);

// Few names and few values, so that rows meet and miss; names and values that SQL, JSON or UTF-16 could get wrong.
const fieldNames = [
  "a",
  "b",
  "c",
  "it's",
  'say "x"',
  "a.b",
  "$",
  "back\\slash",
  "Ünïcode",
  "__proto__",
  "tab\t",
] as const;
const texts = [
  "",
  "a",
  "ab",
  "b",
  "1",
  "true",
  "null",
  "[1]",
  "{}",
  "\uffff",
  "\u{1f30a}",
  "it's",
  "nul\0l",
  "\u{10ffff}x",
];
const scalar = fc.oneof(
  fc.constantFrom(...texts),
  fc.constantFrom(0, 1, -1, 1.5, 2, 1e21, -0.1, 9_007_199_254_740_991),
  fc.boolean(),
  fc.constant(null),
);
const orderable = fc.oneof(fc.constantFrom(...texts), fc.constantFrom(0, 1, 1.5, 2, -1));
const json: fc.Arbitrary<Json> = fc.oneof(
  { weight: 8, arbitrary: scalar },
  { weight: 1, arbitrary: fc.constantFrom<Json>([1], {}, { x: 1 }, []) },
);
const value: fc.Arbitrary<Fields> = fc.dictionary(fc.constantFrom(...fieldNames), json, { maxKeys: 5 });
const rows: fc.Arbitrary<readonly Row[]> = fc
  .array(fc.record({ key: fc.oneof(fc.constantFrom(...texts), fc.uuid()), value, changed: fc.nat(5) }), {
    maxLength: 30,
  })
  .map((all) => [
    ...new Map(all.filter(({ key }) => key !== "" && isKeepable(key)).map((row) => [row.key, row])).values(),
  ]);
const condition: fc.Arbitrary<Condition> = fc.oneof(
  scalar,
  fc.record(
    {
      eq: scalar,
      ne: scalar,
      lt: orderable,
      lte: orderable,
      gt: orderable,
      gte: orderable,
      in: fc.array(scalar, { minLength: 1, maxLength: 4 }),
      prefix: fc.constantFrom("", "a", "\u{10ffff}", "\ud7ff", "nul\0"),
    },
    { requiredKeys: [] },
  ),
);
const where: fc.Arbitrary<Where> = fc.dictionary(fc.constantFrom(...fieldNames, "$key", "$changed"), condition, {
  maxKeys: 3,
});
const indexes = ["a", "it's", ["b", "a"], ["c", "a", 'say "x"']] as const;
const order: fc.Arbitrary<Order> = fc
  .tuple(
    fc.constantFrom<readonly string[]>(
      [],
      ["a"],
      ["it's"],
      ["b", "a"],
      ["b"],
      ["c", "a"],
      ["$key"],
      ["$changed"],
      ["a", "$key"],
    ),
    fc.constantFrom<"asc" | "desc">("asc", "desc"),
  )
  .map(([fields, direction]) => fields.map((field) => ({ field, direction })));

/** Null or missing, then numbers with booleans among them, then texts, with lists and objects as their texts. */
function compareValues(a: Json, b: Json): number {
  const weight = (each: Json): number =>
    each === null ? 0 : typeof each === "number" || typeof each === "boolean" ? 1 : 2;
  if (weight(a) !== weight(b)) return weight(a) - weight(b);
  if (weight(a) === 0) return 0;
  if (weight(a) === 1) return Number(a) - Number(b);
  const written = (each: Json): string => (typeof each === "string" ? each : JSON.stringify(each));
  return compareTexts(written(a), written(b));
}

function inOrder(order: Order): (a: Row, b: Row) => number {
  return (a, b) => {
    for (const { field, direction } of order) {
      const of = (row: Row): Json =>
        field === "$key" ? row.key : field === "$changed" ? row.changed : own(row.value, field);
      const difference = compareValues(of(a), of(b)) * (direction === "desc" ? -1 : 1);
      if (difference !== 0) return difference;
    }
    return 0;
  };
}

const own = (value: Fields, field: string): Json => (Object.hasOwn(value, field) ? (value[field] ?? null) : null);

property.prop([rows, where, order, fc.integer({ min: 1, max: 7 })], { numRuns: 400 })(
  "a query finds what the conditions say, in the order asked for, each record on exactly one page",
  (all, where, order, limit) => {
    using bench = newRows({ indexes });
    for (const { key, value, changed } of all) bench.put(key, value, { changed });
    bench.put("removed", null);
    const expected = all.filter((row) => meets(where, { key: row.key, value: row.value, changedAt: row.changed }));
    const found: Row[] = [];
    let cursor: string | undefined;
    for (let page = 0; page <= all.length; page += 1) {
      const { rows, next } = findRecords(bench.store, bench.collection, {
        where,
        order,
        limit,
        ...(cursor === undefined ? {} : { cursor }),
      });
      expect(rows.length).toBeLessThanOrEqual(limit);
      for (const row of rows)
        found.push({ key: keyed(row), value: JSON.parse(String(row.value)), changed: Number(row.changed) });
      if (next === null) break;
      expect(rows.length).toBe(limit);
      cursor = next;
    }
    expect(found.map(keyed).sort(compareTexts)).toEqual(expected.map(keyed).sort(compareTexts));
    expect(found).toEqual([...found].sort(inOrder(order)));
    expect(countRecords(bench.store, bench.collection, { where })).toBe(expected.length);
  },
);

property.prop([rows, rows, order, fc.integer({ min: 1, max: 5 })], { numRuns: 100 })(
  "pages hold everything that was there from the first to the last, once, while records come and go between them",
  (before, during, order, limit) => {
    using bench = newRows({ indexes });
    for (const { key, value, changed } of before) bench.put(key, value, { changed });
    const known = new Set(before.map(keyed));
    const late = during.filter(({ key }) => !known.has(key));
    const found: string[] = [];
    let cursor: string | undefined;
    for (;;) {
      const { rows, next } = findRecords(bench.store, bench.collection, {
        order,
        limit,
        ...(cursor === undefined ? {} : { cursor }),
      });
      found.push(...rows.map(keyed));
      if (next === null) break;
      cursor = next;
      const row = late.pop();
      if (row !== undefined) bench.put(row.key, row.value, { changed: row.changed });
    }
    expect(new Set(found).size).toBe(found.length);
    expect(before.filter(({ key }) => !found.includes(key))).toEqual([]);
  },
);

test("values are compared with their JSON types: 1 is neither true nor a text", () => {
  using bench = newRows({ indexes: ["v"] });
  const values: Record<string, Json> = {
    one: 1,
    yes: true,
    text: "1",
    no: false,
    zero: 0,
    none: null,
    list: [1],
    json: "[1]",
  };
  for (const [key, v] of Object.entries(values)) bench.put(key, { v });
  bench.put("missing", {});
  const keys = (condition: Condition) =>
    findRecords(bench.store, bench.collection, { where: { v: condition } })
      .rows.map(keyed)
      .sort();
  expect(keys(1)).toEqual(["one"]);
  expect(keys(true)).toEqual(["yes"]);
  expect(keys("1")).toEqual(["text"]);
  expect(keys("[1]")).toEqual(["json"]);
  expect(keys(false)).toEqual(["no"]);
  expect(keys(null)).toEqual(["missing", "none"]);
  expect(keys({ gte: 0 })).toEqual(["one", "zero"]);
  expect(keys({ ne: 1 })).toHaveLength(8);
  expect(keys({ in: [true, "1", null] })).toEqual(["missing", "none", "text", "yes"]);
});

test("an order without an index is refused with the index to declare", () => {
  using bench = newRows({ indexes: ["status"] });
  const find = (order: Order) => () => findRecords(bench.store, bench.collection, { order });
  expect(find([{ field: "fee" }])).toThrow(
    expect.objectContaining({ code: "invalid_input", hint: expect.stringContaining('"fee"') }),
  );
  expect(find([{ field: "status" }, { field: "fee" }])).toThrow(
    expect.objectContaining({ hint: expect.stringContaining('["status","fee"]') }),
  );
  expect(find([{ field: "status" }, { field: "$key", direction: "desc" }])).toThrow(
    expect.objectContaining({ code: "invalid_input" }),
  );
});

test("a field that a condition binds to one value needs no place in the order", () => {
  using bench = newRows({ indexes: [["status", "fee"]] });
  for (const [key, fee] of [
    ["x", 3],
    ["y", 1],
    ["z", 2],
  ] as const)
    bench.put(key, { status: "open", fee });
  const found = findRecords(bench.store, bench.collection, {
    where: { status: "open" },
    order: [{ field: "fee", direction: "desc" }],
  });
  expect(found.rows.map(keyed)).toEqual(["x", "z", "y"]);
});

test.each([
  "",
  "x",
  "[]",
  "null",
  '["asc 0 $key"]',
  '["asc 0 $key",{}]',
  '["desc 0 $key","a"]',
  '["asc 0 a $key",1,"k"]',
])("the cursor %j of no page of this query is refused", (cursor) => {
  using bench = newRows({ indexes: ["a"] });
  expect(() => findRecords(bench.store, bench.collection, { cursor })).toThrow(
    expect.objectContaining({ code: "invalid_input" }),
  );
});

const attacks = [
  "') OR 1=1 --",
  "'; DROP TABLE record; --",
  '"',
  '")',
  "a' || (SELECT payload FROM op) || '",
  '$."x"',
  "\\",
  '\\"',
  "'",
  "''",
  "?",
  "?1",
  "[0]",
  "$key' --",
];
test.each(attacks)("the field %j is a name and nothing else, in conditions, orders and indexes", (field) => {
  using bench = newRows({ indexes: [field] });
  bench.put("hit", { [field]: "x" });
  bench.put("miss", { [`${field}2`]: "x", x: "x" });
  for (const order of [[], [{ field }]]) {
    const found = findRecords(bench.store, bench.collection, { where: { [field]: "x" }, order });
    expect(found.rows.map(keyed)).toEqual(["hit"]);
  }
  expect(findRecords(bench.store, bench.collection, { where: { [field]: { prefix: field } } }).rows).toEqual([]);
  expect(findRecords(bench.store, bench.collection, { where: { x: field } }).rows).toEqual([]);
  expect(findRecords(bench.store, bench.collection, { order: [{ field }] }).rows.map(keyed)).toEqual(["miss", "hit"]);
  expect(countRecords(bench.store, bench.collection, {})).toBe(2);
});

test("a name with a zero character is refused, because SQLite would take it for the part before", () => {
  using bench = newRows({});
  const refusal = expect.objectContaining({ code: "invalid_input" });
  expect(() => findRecords(bench.store, bench.collection, { where: { "a\0b": 1 } })).toThrow(refusal);
  expect(() => ensureIndexes(bench.store, { ...bench.collection, spec: { name: "notes", indexes: ["a\0b"] } })).toThrow(
    refusal,
  );
});

test("indexes that are no longer declared are dropped, and none of another collection", () => {
  using bench = newRows({ indexes: ["a", ["b", "a"]], unique: [["c"]], maxBytes: 100 });
  const names = () =>
    bench.database
      .prepare(
        "SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'record' AND name GLOB 'record_[0-9]*' ORDER BY name",
      )
      .all()
      .map(({ name }) => String(name));
  const first = names();
  expect(first).toHaveLength(5);
  ensureIndexes(bench.store, { id: 55, name: "others", spec: { name: "others", indexes: ["a"] } });
  ensureIndexes(bench.store, { ...bench.collection, spec: { name: "notes", indexes: ["a"] } });
  expect(names().filter((name) => name.startsWith("record_5_"))).toHaveLength(2);
  expect(names().filter((name) => name.startsWith("record_55_"))).toHaveLength(2);
  ensureIndexes(bench.store, bench.collection);
  expect(names().filter((name) => name.startsWith("record_5_"))).toEqual(first);
});

/** Conditions, order, and what the plan of each page after the first must be. */
const walks: readonly (readonly [Where, Order, RegExp])[] = [
  [{}, [], /^SEARCH record USING INDEX sqlite_autoindex_record_1 \(collection=\?( AND key>\?)?\)$/],
  [{}, [{ field: "$changed", direction: "desc" }], /^(SCAN|SEARCH) record USING INDEX record_5_\w+/],
  [{ status: "open" }, [], /^SEARCH record USING INDEX record_5_\w+ \(<expr>=\?/],
  [{ status: "open" }, [{ field: "fee", direction: "desc" }], /^SEARCH record USING INDEX record_5_\w+ \(<expr>=\?/],
  [{ status: "open", fee: { gt: 5 } }, [], /^SEARCH record USING INDEX record_5_\w+ \(<expr>=\? AND <expr>/],
  [{ status: "open", other: { lt: 5 } }, [{ field: "$key" }], /^SEARCH record USING INDEX sqlite_autoindex_record_1/],
  [{ kind: "a", fee: 1 }, [{ field: "$key" }], /^SEARCH record USING INDEX record_5_\w+ \(<expr>=\?/],
  [{ status: { in: ["open", "done"] } }, [{ field: "status" }], /^(SCAN|SEARCH) record USING INDEX record_5_\w+/],
  [
    { fee: { gte: 1, lt: 9 } },
    [{ field: "status" }, { field: "fee" }],
    /^(SCAN|SEARCH) record USING INDEX record_5_\w+/,
  ],
  [
    { kind: { prefix: "a" } },
    [{ field: "kind" }],
    /^SEARCH record USING INDEX record_5_\w+ \(<expr>>\? AND <expr><\?\)|^SEARCH record USING INDEX record_5_\w+ \(<expr>=\? AND key>\?\)/,
  ],
];
test.each(walks)(
  "conditions %j in the order %j walk along an index and sort nothing, on every page",
  (where, order, plan) => {
    const prepared: string[] = [];
    using bench = newRows({ indexes: ["kind", ["status", "fee"]] }, (database) => ({
      ...database,
      prepare: (sql) => {
        prepared.push(sql);
        return database.prepare(sql);
      },
    }));
    for (let n = 0; n < 40; n += 1) {
      bench.put(
        `k${n}`,
        { status: n % 2 === 0 ? "open" : null, fee: n % 7, kind: `a${n % 3}`, other: 1 },
        { changed: n % 4 },
      );
    }
    prepared.length = 0;
    let cursor: string | undefined;
    do {
      const { next } = findRecords(bench.store, bench.collection, {
        where,
        order,
        limit: 1,
        ...(cursor === undefined ? {} : { cursor }),
      });
      cursor = next ?? undefined;
    } while (cursor !== undefined);
    const queries = [...new Set(prepared)].filter((sql) => sql.startsWith("SELECT record.*"));
    expect(queries.length).toBeGreaterThan(0);
    for (const sql of queries) {
      const steps = bench.database
        .prepare(`EXPLAIN QUERY PLAN ${sql}`)
        .all()
        .map(({ detail }) => String(detail));
      expect(steps).toEqual([expect.stringMatching(plan)]);
    }
  },
);

test("a count over an index does not read the records", () => {
  const prepared: string[] = [];
  using bench = newRows({ indexes: ["status"] }, (database) => ({
    ...database,
    prepare: (sql) => {
      prepared.push(sql);
      return database.prepare(sql);
    },
  }));
  bench.put("k", { status: "open" });
  expect(countRecords(bench.store, bench.collection, { where: { status: "open" } })).toBe(1);
  const [detail] = bench.database.prepare(`EXPLAIN QUERY PLAN ${prepared[prepared.length - 1]}`).all();
  expect(String(detail?.detail)).toMatch(/^SEARCH record USING INDEX record_5_\w+ \(<expr>=\?\)$/);
});
