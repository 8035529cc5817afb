/**
 * Owns the proof that a terminal gets aligned cells and no control character from outside.
 * How whole commands look is tested by the goldens in test/cli/.
 */
import { fc, it as property } from "@fast-check/vitest";
import { describe, expect, it } from "vitest";
import {
  bar,
  facts,
  formatBytes,
  grouped,
  isNarrow,
  plain,
  plural,
  shellWord,
  shortId,
  table,
  truncate,
  truncateLine,
  widthOf,
} from "./text.ts";

const asIs = (text: string): string => text;

describe("text from outside", () => {
  it("cannot drive the terminal", () => {
    expect(plain("a\u001b[31mred\u001b[0m\u0007b")).toBe("aredb");
    expect(plain("\u001b]0;owned\u0007title")).toBe("title");
    expect(plain("one\r\ntwo\tthree")).toBe("one two three");
    expect(plain("abc\u202egpj.exe")).toBe("abcgpj.exe");
    expect(plain("\u009b2J")).not.toContain("\u009b");
  });
  property.prop([fc.string({ unit: "binary" })])(
    "leaves no control character and stays as it is the second time",
    (text) => {
      const once = plain(text);
      expect([...once].some((each) => each < " " || (each >= "\u007f" && each <= "\u009f"))).toBe(false);
      expect(plain(once)).toBe(once);
    },
  );
});

describe("cells", () => {
  it.each([
    ["abc", 3],
    ["é", 1],
    ["e\u0301", 1],
    ["日本", 4],
    ["🌊", 2],
    ["👩‍🚀", 2],
    ["\u001b[31mred\u001b[0m", 3],
    ["", 0],
  ])("%j takes %d", (text, width) => expect(widthOf(text)).toBe(width));

  it("every character measured in the quick way takes the one cell that the long way finds", () => {
    const quick = Array.from({ length: 0x10000 }, (_, code) => String.fromCharCode(code)).filter((each) =>
      isNarrow.test(each),
    );
    expect(quick.length).toBeGreaterThan(900);
    // What follows is measured the long way; U+30A2 takes two cells.
    expect(quick.filter((each) => widthOf(`${each}\u30a2`) !== 3)).toEqual([]);
  });

  property.prop([fc.string({ unit: "grapheme" }), fc.nat(20)])("truncation never exceeds the width", (text, width) => {
    expect(widthOf(truncate(text, width))).toBeLessThanOrEqual(width);
  });
  it("says that something was cut, and cuts no wide letter in half", () => {
    expect(truncate("POST https://api.example.com", 10)).toBe("POST http…");
    expect(truncate("日本語", 4)).toBe("日…");
    expect(truncate("short", 5)).toBe("short");
  });
});

describe("a table", () => {
  const columns = [{ title: "ID" }, { title: "N", isRight: true }, { title: "TITLE", isFlexible: true }];
  const rows = [
    [{ text: "a" }, { text: "" }, { text: "日本語の長い題名がここにあります" }],
    [{ text: "bcd" }, { text: "" }, { text: "short" }],
  ];
  it("drops columns that say nothing and lets the flexible one give way", () => {
    expect(table(columns, rows, { width: 24, head: asIs })).toBe("ID   TITLE\na    日本語の長い題名が…\nbcd  short");
  });
  const wide = [
    { title: "ID", isWhole: true },
    { title: "LANE" },
    { title: "AGE", isOptional: true, isWhole: true },
    { title: "N", isRight: true, isOptional: true },
    { title: "TITLE", isFlexible: true },
  ];
  const long = [
    ["0f3a9c21", "a lane with a long name", "5 min ago", "1000", "POST https://api.example.com/notes"].map((text) => ({
      text,
    })),
  ];
  it("cuts texts, then leaves optional columns out from the right, and never cuts an id or a figure", () => {
    const rowAt = (width: number): string => table(wide, long, { width, head: asIs }).split("\n")[1] ?? "";
    expect(rowAt(100)).toBe("0f3a9c21  a lane with a long name  5 min ago  1000  POST https://api.example.com/notes");
    expect(rowAt(80)).toBe("0f3a9c21  a lane with a long name  5 min ago  1000  POST https://api.example.co…");
    expect(rowAt(60)).toBe("0f3a9c21  a lane with a long…  5 min ago  1000  POST https:…");
    expect(rowAt(50)).toBe("0f3a9c21  a lane with a…   5 min ago  POST https:…");
    expect(rowAt(40)).toBe("0f3a9c21  a lane with a l…  POST https:…");
    expect(rowAt(30)).toBe("0f3a9c21  a lane w…  POST htt…");
  });
  property.prop([fc.integer({ min: 24, max: 120 })])("fits into the width where it can", (width) => {
    for (const line of table(wide, long, { width, head: asIs }).split("\n"))
      expect(widthOf(line)).toBeLessThanOrEqual(width);
  });
  it("keeps right-aligned figures under each other", () => {
    const figures = [
      [{ text: "a" }, { text: "5" }, { text: "x" }],
      [{ text: "b" }, { text: "1000" }, { text: "y" }],
    ];
    expect(table(columns, figures, { width: 80, head: asIs })).toBe("ID     N  TITLE\na      5  x\nb   1000  y");
  });
  it("measures without colours", () => {
    const painted = [
      [{ text: "a", paint: (text: string) => `\u001b[31m${text}\u001b[39m` }, { text: "1" }, { text: "x" }],
    ];
    expect(table(columns, painted, { width: 80, head: asIs })).toBe("ID  N  TITLE\n\u001b[31ma\u001b[39m   1  x");
  });
});

it("a line with colours is cut by what it shows, and leaves no colour behind", () => {
  expect(truncateLine("\u001b[31mred\u001b[39m", 3)).toBe("\u001b[31mred\u001b[39m");
  expect(truncateLine("\u001b[31mbright red\u001b[39m", 7)).toBe("bright…");
});

it("a name in a command is one word of the shell, whatever is in it", () => {
  expect(["notes", "https://a.example:80", "n 1", "it's", "$(rm)", ""].map(shellWord)).toEqual([
    "notes",
    "https://a.example:80",
    "'n 1'",
    "'it'\\''s'",
    "'$(rm)'",
    "''",
  ]);
});

property.prop([fc.oneof(fc.maxSafeNat(), fc.integer())])("a number is grouped as English groups it", (count) => {
  expect(grouped(count)).toBe(count.toLocaleString("en-US"));
});

it("small words", () => {
  expect(
    facts(
      [
        ["A", "1"],
        ["Long", "2\n3"],
        ["Empty", null],
      ],
      asIs,
    ),
  ).toBe("A     1\nLong  2\n      3");
  expect([plural(1, "operation"), plural(0, "operation"), plural(1_234, "operation")]).toEqual([
    "1 operation",
    "0 operations",
    "1,234 operations",
  ]);
  expect([0, 999, 1_000, 40_000_000, 1.5e12, 1e18].map(formatBytes)).toEqual([
    "0 B",
    "999 B",
    "1.0 kB",
    "40.0 MB",
    "1.5 TB",
    "1000000.0 TB",
  ]);
  expect([bar(0, 4), bar(0.5, 4), bar(2, 4)]).toEqual(["░░░░", "██░░", "████"]);
  expect(shortId("019aa5e2-7c00-7000-8000-00000f3a9c21")).toBe("0f3a9c21");
});
