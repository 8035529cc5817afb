// Owns the rules of strict bodies. Leaves what a verb makes of a body to verbs.ts.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { requestDepth } from "../json.ts";
import { parseJson, readJson } from "./body.ts";

const nested = (levels: number): string => "[".repeat(levels) + "]".repeat(levels);
const refused = (text: string): string => {
  try {
    parseJson(text);
  } catch (error) {
    return `${(error as { code: string }).code}: ${(error as Error).message}`;
  }
  return "accepted";
};

test("whatever JSON.stringify writes is read back as it was", () => {
  fc.assert(
    fc.property(fc.jsonValue({ depthSize: "medium" }), (value) => {
      fc.pre(!JSON.stringify(value).includes("__proto__"));
      const text = JSON.stringify(value);
      fc.pre(!/\\ud[89a-f]/i.test(text) && everyNumberIsKept(value));
      expect(parseJson(text)).toEqual(JSON.parse(text));
    }),
    { numRuns: 500 },
  );
});

test("no text at all makes it throw anything but invalid_input", () => {
  const pieces = fc.constantFrom(
    "{",
    "}",
    "[",
    "]",
    '"',
    "\\",
    ":",
    ",",
    "1e",
    "-",
    "0",
    "null",
    "\\u",
    "d800",
    " ",
    "a",
    "__proto__",
  );
  fc.assert(
    fc.property(fc.array(pieces, { maxLength: 30 }), (parts) => {
      expect(refused(parts.join(""))).toMatch(/^(accepted|invalid_input: )/);
    }),
    { numRuns: 2_000 },
  );
});

describe("is refused:", () => {
  test.each([
    ['{"a":1,"a":2}', "twice"],
    ['{"a":1,"\\u0061":2}', "twice"],
    ['{"b":{"a":1,"c":[],"a":2}}', "twice"],
    ['{"__proto__":{}}', "__proto__"],
    ['{"\\u005f_proto__":1}', "__proto__"],
    ["9007199254740993", "cannot be kept exactly"],
    ["-9007199254740992", "cannot be kept exactly"],
    ["[1e400]", "cannot be kept exactly"],
    ['"\\ud800"', "surrogate"],
    ['{"\\udc00":1}', "surrogate"],
    [nested(requestDepth + 1), "deeper than"],
    [nested(500_000), "deeper than"],
    ["{", "not valid JSON"],
    ["", "not valid JSON"],
    ["\ufeff{}", "not valid JSON"],
  ])("%.40s", (text, words) => {
    expect(refused(text)).toContain("invalid_input");
    expect(refused(text)).toContain(words);
  });
});

test.each([
  '{"a":{"b":1},"b":{"b":2}}',
  '[{"a":1},{"a":1}]',
  "9007199254740991",
  '"\\ud83d\\ude00"',
  '{"a":"a","b":"a"}',
  nested(requestDepth),
  '"__proto__"',
  '{"constructor":1}',
])("%.60s is accepted", (text) => expect(refused(text)).toBe("accepted"));

test("a body of the limit is read, one byte more is refused, declared or streamed", async () => {
  const body = (size: number): string => `"${"x".repeat(size - 2)}"`;
  const declared = (size: number): Request =>
    new Request("http://localhost/", { method: "POST", body: body(size), headers: { "content-length": String(size) } });
  const streamed = (size: number): Request =>
    new Request("http://localhost/", {
      method: "POST",
      body: new Blob([body(size)]).stream(),
      duplex: "half",
    } as RequestInit);
  for (const make of [declared, streamed]) {
    expect(await readJson(make(1_000), 1_000)).toHaveLength(998);
    await expect(readJson(make(1_001), 1_000)).rejects.toMatchObject({ code: "payload_too_large" });
  }
});

test("an empty body is an empty object, and bytes that are not UTF-8 are refused", async () => {
  const post = (body: Uint8Array<ArrayBuffer>): Request => new Request("http://localhost/", { method: "POST", body });
  expect(await readJson(post(new Uint8Array()), 10)).toEqual({});
  await expect(readJson(post(new Uint8Array([0x22, 0xc3, 0x28, 0x22])), 10)).rejects.toMatchObject({
    code: "invalid_input",
  });
});

function everyNumberIsKept(value: unknown): boolean {
  if (typeof value === "number")
    return Number.isSafeInteger(value) || !Number.isInteger(value) || /e/.test(String(value));
  if (typeof value !== "object" || value === null) return true;
  return Object.values(value).every(everyNumberIsKept);
}
