/**
 * Owns the rule that the short way to check a page of a pull lets nothing through that its shape refuses.
 */
import fc from "fast-check";
import { expect, test } from "vitest";
import type { WireRecord } from "./wire.ts";
import { pullResponse, readPull, readWire } from "./wire.ts";

const record: WireRecord = {
  ...{ collection: "notes", key: "n1", version: 1, value: { title: "Tides", tags: ["a", null, 1.5], deep: { x: {} } } },
  ...{ schema: 1, author: "ada", at: 1 },
};
const page = { history: "h", records: [record], upTo: 1, head: 1, hasMore: false, now: 1 };

test("a page that is well-formed is handed on as it came", () => {
  expect(readPull(page)).toBe(page);
  const floored = { ...page, floor: 3, records: [{ ...record, value: null, isHidden: true }] };
  expect(readPull(floored)).toBe(floored);
  const viewed = { ...page, views: { notes: "b5bea41b6c623f7c" } };
  expect(readPull(viewed)).toBe(viewed);
});

test("what is wrong with a page is said by its shape", () => {
  const withRecord = (change: object): unknown => ({ ...page, records: [{ ...record, ...change }] });
  const wrong: readonly (readonly [unknown, RegExp])[] = [
    [null, /body/],
    [{ ...page, upTo: -1 }, /upTo/],
    [{ ...page, hasMore: "no" }, /hasMore/],
    [{ ...page, records: {} }, /records/],
    [{ ...page, views: [] }, /views/],
    [{ ...page, views: { notes: 1 } }, /views\.notes/],
    [{ ...page, views: { notes: "" } }, /views\.notes/],
    [withRecord({ key: 1 }), /records\.0\.key/],
    [withRecord({ version: 1.5 }), /records\.0\.version/],
    [withRecord({ isHidden: "yes" }), /records\.0\.isHidden/],
    [withRecord({ value: [1] }), /records\.0\.value/],
    [withRecord({ value: "text" }), /records\.0\.value/],
    [withRecord({ value: JSON.parse('{"big":1e999}') }), /records\.0\.value/],
  ];
  for (const [value, words] of wrong) expect(() => readPull(value)).toThrow(words);
});

test("the short way and the shape agree on whatever is made of a page", () => {
  const odd = fc.oneof(fc.jsonValue(), fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY, -1, 0.5, 2 ** 53));
  const places = fc.constantFrom(...Object.keys(page), "views", ...Object.keys(record).map((name) => `record ${name}`));
  fc.assert(
    fc.property(places, odd, (where, value) => {
      const name = where.replace("record ", "");
      const changed =
        name === where ? { ...page, [name]: value } : { ...page, records: [{ ...record, [name]: value }] };
      const accepts = (read: (given: unknown) => unknown): boolean => {
        try {
          read(changed);
          return true;
        } catch {
          return false;
        }
      };
      expect(accepts(readPull)).toBe(accepts((given) => readWire("pull", pullResponse, given)));
    }),
  );
});
