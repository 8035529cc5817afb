// Owns the honesty of docs/ledger.md: every number is there, in order, and every test that it names exists.
// Leaves whether those tests pass to their own stages.
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";

const root = path.resolve(import.meta.dirname, "..");
const groups = { Q: 38, R: 24, S: 27, C: 17, L: 19, I: 6, D: 11, X: 12, U: 14, V: 7, Z: 7, K: 6, P: 3, E: 15 } as const;
const numbers = Object.entries(groups).flatMap(([letter, count]) =>
  Array.from({ length: count }, (_, index) => `${letter}${index + 1}`),
);

type Proof = { readonly file: string; readonly name: string };
type Entry = { readonly number: string; readonly state: string; readonly proofs: readonly Proof[] };

/** Reads the rows of the page's tables: number, what one can do, state, proof. */
function readLedger(markdown: string): readonly Entry[] {
  return markdown.split("\n").flatMap((line) => {
    const [number = "", , state = "", proof = ""] = line
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim());
    if (!/^[A-Z]\d+$/.test(number)) return [];
    const named = [...proof.matchAll(/`([^`]+)` "([^"]+)"/g)];
    return [{ number, state, proofs: named.map(([, file = "", name = ""]) => ({ file, name })) }];
  });
}

/** What keeps an entry from being believed; empty when nothing does. */
function doubts({ state, proofs }: Entry, read: (file: string) => string | null): readonly string[] {
  const kind = state.split(":")[0] ?? "";
  const isExplained = /^(partly|next): .{4,}/.test(state);
  const missing = proofs.flatMap(({ file, name }) => {
    const text = read(file);
    if (text === null) return [`there is no ${file}`];
    return text.includes(name) ? [] : [`${file} has no test "${name}"`];
  });
  if (kind === "works") return [...missing, ...(proofs.length === 0 ? ["works, but names no test"] : [])];
  if (kind !== "partly" && kind !== "next") return [...missing, `"${state}" is no state`];
  const hasProof = proofs.length > 0 || /`npm [^`]+`/.test(state);
  if (kind === "partly" && !hasProof) missing.push("works partly, but names neither test nor command");
  return isExplained ? missing : [...missing, `"${kind}" without what is missing`];
}

const texts = new Map<string, string | null>();
function readText(file: string): string | null {
  const known = texts.get(file);
  if (known !== undefined) return known;
  const whole = path.join(root, file);
  const text = file.endsWith(".test.ts") && existsSync(whole) ? readFileSync(whole, "utf8") : null;
  texts.set(file, text);
  return text;
}

const page = readFileSync(path.join(root, "docs/ledger.md"), "utf8");
const ledger = readLedger(page);

test("every number has its row, in order", () => {
  expect(ledger.map((entry) => entry.number)).toEqual(numbers);
});

test("every test that is named exists under that name, and what works names one", () => {
  const found = ledger.flatMap((entry) => doubts(entry, readText).map((doubt) => `${entry.number}: ${doubt}`));
  expect(found).toEqual([]);
});

test("the counts on top are those of the rows", () => {
  const count = (kind: string): number => ledger.filter(({ state }) => state.split(":")[0] === kind).length;
  expect(page).toContain(`Now: ${count("works")} work, ${count("partly")} work partly, ${count("next")} come next.`);
});

describe("an entry is doubted", () => {
  const read = (file: string): string | null => (file === "a.test.ts" ? 'test("b")' : null);
  const row = (text: string): Entry => {
    const [entry] = readLedger(text);
    if (entry === undefined) throw new Error(`no entry in ${text}`);
    return entry;
  };

  test.each([
    ['| Q1 | x | works | `a.test.ts` "b" |', []],
    ["| Q1 | x | works |  |", ["works, but names no test"]],
    ['| Q1 | x | works | `c.test.ts` "b" |', ["there is no c.test.ts"]],
    ['| Q1 | x | works | `a.test.ts` "c" |', ['a.test.ts has no test "c"']],
    ["| Q1 | x | partly: all but y |  |", ["works partly, but names neither test nor command"]],
    ["| Q1 | x | next |  |", ['"next" without what is missing']],
    ['| Q1 | x | done | `a.test.ts` "b" |', ['"done" is no state']],
  ])("%s", (text, expected) => {
    expect(doubts(row(text), read)).toEqual(expected);
  });
});
