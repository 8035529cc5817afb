// Owns the rules that a name or key which storage would change is refused before anything is acknowledged, wherever one is given, and that
// what is accepted here nests no deeper than a server takes it.
// Leaves every other shape to the verbs that are given it.
import { describe, expect, test } from "vitest";
import { maxDepth } from "./json.ts";
import type { Json } from "./operation.ts";
import type { Verb } from "./verbs.ts";
import { parseInput } from "./verbs.ts";
import { pushRequest, readWire } from "./wire.ts";

// Node 22 reads a text from SQLite up to its U+0000; half of a surrogate pair becomes U+FFFD, on any Node.
const bad = ["a\0b", "\0", "a\ud800b", "\udc00a"];
const good = ["tab\t", "é", "\u{1f30a}", "\u007f", "\ufffd"];

const add = (more: object): readonly [Verb, object] => ["queue.add", { type: "note", payload: 1, ...more }];
const write = (more: object): readonly [Verb, object] => ["records.write", { collection: "notes", value: {}, ...more }];

const places: Readonly<Record<string, (text: string) => readonly [Verb, object]>> = {
  "the type of an operation, by the quick way": (type) => ["queue.add", { type, payload: 1 }],
  "the lane of an operation, by the quick way": (lane) => add({ lane }),
  "one of several, by the quick way": (lane) => ["queue.addMany", { operations: [{ type: "note", payload: 1, lane }] }],
  "a type beside other options": (type) => ["queue.add", { type, payload: 1, priority: 1 }],
  "a group": (group) => add({ group }),
  "a local id": (creates) => add({ creates }),
  "a subject": (subject) => add({ subject }),
  "a remote": (remote) => add({ remote }),
  "a title": (title) => add({ title }),
  "a key of deduplication": (key) => add({ dedupe: { key, mode: "keep-first" } }),
  "a lane to pause": (name) => ["queue.pause", { scope: { kind: "lane", name } }],
  "a record to put": (key) => write({ kind: "put", key }),
  "a record to create": (key) => write({ kind: "create", key }),
  "a record of a transaction": (key) => [
    "records.transaction",
    { writes: [{ kind: "put", collection: "notes", key, value: {} }] },
  ],
};

describe.each(Object.entries(places))("%s", (_, inputOf) => {
  test.each(bad)("is refused as %j", (text) => {
    const [verb, input] = inputOf(text);
    expect(() => parseInput(verb, input as never)).toThrow(
      expect.objectContaining({
        code: "invalid_input",
        message: expect.stringContaining("U+0000 or half of a character"),
      }),
    );
  });

  test.each(good)("may be %j", (text) => {
    const [verb, input] = inputOf(text);
    expect(() => parseInput(verb, input as never)).not.toThrow();
  });
});

test("inside payloads and values of records any text is kept, because JSON escapes it", () => {
  for (const text of bad) {
    expect(parseInput("queue.add", { type: "note", payload: { [text]: text } }).payload).toEqual({ [text]: text });
    const input = { kind: "put", collection: "notes", key: "n1", value: { [text]: text } } as const;
    expect(parseInput("records.write", input)).toEqual(input);
  }
});

test("a record nests as deep here as a server takes it, and not one level deeper", () => {
  const nest = (depth: number): Json => (depth === 0 ? 1 : [nest(depth - 1)]);
  const here = (depth: number) =>
    parseInput("records.write", { kind: "put", collection: "notes", key: "n1", value: { a: nest(depth - 1) } });
  const there = (depth: number) => {
    const change = {
      collection: "notes",
      key: "n1",
      kind: "create",
      base: 0,
      fields: { a: nest(depth - 1) },
      schema: 1,
    };
    const items = [{ id: "op", number: 1, changes: [change], at: 1 }];
    return readWire("push", pushRequest, { space: "main", client: "c", floor: 0, items });
  };
  for (const take of [here, there]) {
    expect(() => take(maxDepth)).not.toThrow();
    expect(() => take(maxDepth + 1)).toThrow(
      expect.objectContaining({ code: "invalid_input", message: expect.stringContaining(`deeper than ${maxDepth}`) }),
    );
  }
});
