/**
 * Owns the proof that words become the right values, and that wrong ones are refused with their right form.
 * What the values are used for is tested with the commands in test/cli/.
 */
import { fc, it as property } from "@fast-check/vitest";
import { describe, expect, it } from "vitest";
import { HoldfastError } from "../errors.ts";
import * as parse from "./parse.ts";

const now = Date.UTC(2026, 10, 21, 12);
const refusal = (act: () => unknown): HoldfastError => {
  try {
    act();
  } catch (error) {
    if (error instanceof HoldfastError) return error;
  }
  throw new Error("it was not refused");
};

describe("durations", () => {
  it.each([
    ["500ms", 500],
    ["30s", 30_000],
    ["5m", 300_000],
    ["5min", 300_000],
    ["1.5h", 5_400_000],
    ["1h30m", 5_400_000],
    ["2d", 172_800_000],
    ["1w", 604_800_000],
    [" 2 d ", 172_800_000],
  ])("%s is %d ms", (text, ms) => expect(parse.parseDuration(text, "--in")).toBe(ms));

  it.each(["", "5", "m", "5x", "-5m", "5m!", "1h 30", `${"9".repeat(30)}d`])(
    "%j is refused with the right form",
    (text) => {
      const error = refusal(() => parse.parseDuration(text, "--in"));
      expect(error.code).toBe("invalid_input");
      expect(error.message).toContain("--in");
      expect(error.hint).toContain("5m");
    },
  );
});

describe("instants", () => {
  it("a clock time is the next one", () => {
    const at = parse.parseInstant("00:00", "--at", now);
    expect(at).toBeGreaterThan(now);
    expect(at - now).toBeLessThanOrEqual(86_400_000 + 3_600_000);
  });
  it("ISO 8601 with and without zone", () => {
    expect(parse.parseInstant("2026-12-31T18:30Z", "--at", now)).toBe(Date.UTC(2026, 11, 31, 18, 30));
    expect(parse.parseInstant("2026-12-31 18:30+01:00", "--at", now)).toBe(Date.UTC(2026, 11, 31, 17, 30));
    expect(parse.parseInstant("2026-12-31", "--at", now)).toBe(Date.UTC(2026, 11, 31));
  });
  it.each(["tomorrow", "25:00", "2026-13-01", "2026-02-30T25:00", "2026-02-30", "2026-06-31T10:00", "1", ""])(
    "%j is refused",
    (text) => {
      expect(refusal(() => parse.parseInstant(text, "--at", now)).hint).toContain("18:30");
    },
  );
  it("one that no calendar holds is refused, and a deadline that is over", () => {
    expect(refusal(() => parse.parseAfter("99999999d", "--in", now)).message).toContain("beyond the year 9999");
    expect(refusal(() => parse.parseDeadline("99999999d", "--at", now)).message).toContain("beyond the year 9999");
    expect(refusal(() => parse.parseExpiry("2020-01-01", now)).message).toContain("is over already");
    expect(parse.parseExpiry("2d", now)).toBe(now + 172_800_000);
  });
  it("a deadline is either", () => {
    expect(parse.parseDeadline("2d", "--expires", now)).toBe(now + 172_800_000);
    expect(parse.parseDeadline("2026-12-31T18:30Z", "--expires", now)).toBe(Date.UTC(2026, 11, 31, 18, 30));
  });
});

describe("headers and variables", () => {
  it("names are lower-case, values keep their colons", () => {
    expect(parse.parseHeaders(["X-Trace: a:b", "accept:text/plain"])).toEqual({
      "x-trace": "a:b",
      accept: "text/plain",
    });
  });
  it.each(["nothing", ": value", "bad name: x"])("%j is no header", (line) => {
    expect(refusal(() => parse.parseHeaders([line])).code).toBe("invalid_input");
  });
  it("a name without a value takes this shell's value", () => {
    expect(parse.parseEnv(["A=1", "B", "C="], { B: "two" })).toEqual({ A: "1", B: "two", C: "" });
    expect(refusal(() => parse.parseEnv(["MISSING"], {})).message).toContain("MISSING");
  });
});

describe("JSON that would change on the way stays text", () => {
  it.each(["12345678901234567890", '{"id":9007199254740993}', "1e999", "nope", "0.12345678901234567891"])(
    "%s",
    (text) => {
      expect(parse.parseExactJson(text)).toBeUndefined();
    },
  );
  property.prop([fc.jsonValue()])("what JSON can say exactly comes back as it is", (value) => {
    const text = JSON.stringify(value);
    const read = parse.parseExactJson(text);
    if (read !== undefined) expect(JSON.stringify(read.value)).toBe(text);
  });
});

it("a near miss is named, a far one is not", () => {
  expect(parse.nearest("syncmode", ["syncMode", "retry"])).toBe("syncMode");
  expect(parse.nearest("zzzz", ["syncMode", "retry"])).toBeUndefined();
});

describe("a whole number that would be another one afterwards", () => {
  it("is refused in JSON, by its digits, and is a text where texts are taken", () => {
    for (const digits of ["12345678901234567890", "-9007199254740993"]) {
      expect(() => parse.parseJson(`{"id":[${digits}]}`, "--data")).toThrow(`--data: the number ${digits} is too long`);
      expect(parse.parseLoose(digits)).toBe(digits);
    }
  });

  it("is not one that is kept as it is, nor digits of a text or of a fraction", () => {
    for (const text of [
      "9007199254740992",
      "12345678901234567000",
      "1000000000000000000000",
      "0.30000000000000004",
      '"12345678901234567890"',
    ])
      for (const read of [parse.parseLoose(text), parse.parseJson(text, "it")]) expect(read).toBe(JSON.parse(text));
  });
});
