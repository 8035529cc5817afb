/**
 * Owns reading the lines of a bundle in the order in which they are taken in. One request takes few of them, and those are all that the
 * engine can put in order.
 */
import type { Tied } from "../bundle-order.ts";
import { behindWhat } from "../bundle-order.ts";

/** A line and its number in the file, from 1. */
export type NumberedLine = { readonly line: string; readonly number: number };

/**
 * Yields the lines that `read` gives, the blank ones left out. They are read twice, once for what each has to come behind and once to be
 * taken in; only what comes too early is kept in memory until its turn.
 */
export async function* linesInOrder(read: () => AsyncIterable<string>): AsyncIterable<NumberedLine> {
  const before = behindWhat(await readTies(read()));
  const gone = new Set<number>();
  const early = new Map<number, { readonly line: string; missing: number }>();
  const followers = new Map<number, number[]>();
  for await (const next of numbered(read())) {
    const missing = (before.get(next.number) ?? []).filter((number) => !gone.has(number));
    if (missing.length > 0) {
      early.set(next.number, { line: next.line, missing: missing.length });
      for (const number of missing) followers.set(number, [...(followers.get(number) ?? []), next.number]);
      continue;
    }
    const open = [next];
    for (let each = open.pop(); each !== undefined; each = open.pop()) {
      yield each;
      gone.add(each.number);
      for (const number of followers.get(each.number) ?? []) {
        const waiting = early.get(number);
        if (waiting === undefined) continue;
        waiting.missing -= 1;
        if (waiting.missing > 0) continue;
        early.delete(number);
        open.push({ line: waiting.line, number });
      }
    }
  }
  // Two that wait for each other: whoever made such a file hears of it from the engine.
  for (const [number, { line }] of early) yield { line, number };
}

async function* numbered(lines: AsyncIterable<string>): AsyncIterable<NumberedLine> {
  let number = 0;
  for await (const line of lines) {
    number += 1;
    if (line.trim() !== "") yield { line, number };
  }
}

async function readTies(lines: AsyncIterable<string>): Promise<ReadonlyMap<number, Tied>> {
  const ties = new Map<number, Tied>();
  for await (const { line, number } of numbered(lines)) {
    const read = tiesOf(line);
    if (read !== null) ties.set(number, read);
  }
  return ties;
}

/** What is no exported operation goes where it stands; what is wrong with it the engine says. */
function tiesOf(line: string): Tied | null {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return null;
  }
  const { operation, place, waitsFor } = (value ?? {}) as { readonly [key: string]: unknown };
  const { id, lane, sequence, dependsOn } = (operation ?? {}) as { readonly [key: string]: unknown };
  if (typeof id !== "string") return null;
  return {
    id,
    lane: typeof lane === "string" ? lane : null,
    place: [place, sequence, 0].find((each) => typeof each === "number") as number,
    waitsFor: [waitsFor, dependsOn].find(Array.isArray)?.filter((each) => typeof each === "string") ?? [],
  };
}
