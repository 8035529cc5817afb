// Owns the proof that the history checker rejects what cannot have happened: one good history, and bad ones made from it.
// Real histories come from the simulation and from test/sync.
import { expect, test } from "vitest";
import type { HistoryEvent } from "./history.ts";
import { checkHistory } from "./history.ts";

const [history, record] = ["h1", "notes/k"];
const commit = (version: number, a: string | null, of = record): HistoryEvent => ({
  ...{ kind: "commit", history, record: of, version, value: a === null ? null : { a } },
});
const write = (operation: string, a: string): HistoryEvent => ({
  ...{ kind: "write", client: "c1", record, fields: { a }, isWhole: false, operation },
});
const land = (operation: string, version: number): HistoryEvent => ({
  ...{ kind: "land", history, operation, record, version },
});
const read = (
  version: number,
  a: string,
  more: Partial<Extract<HistoryEvent, { kind: "read" }>> = {},
): HistoryEvent => ({
  ...{ kind: "read", client: "c1", history, record, version, value: { a }, isSettled: false },
  ...more,
});

const good: readonly HistoryEvent[] = [
  commit(1, "x"),
  read(1, "x", { isSettled: true }),
  write("o1", "y"),
  read(1, "y"),
  commit(2, "y"),
  land("o1", 2),
  read(1, "y"),
  read(2, "y", { isSettled: true }),
  commit(3, "z"),
  read(3, "z", { isSettled: true }),
];

test("a history that can have happened passes", () => {
  expect(checkHistory(good)).toBeNull();
});

test("what a server lost when it was set back may be shown by who had read it, and nothing else", () => {
  const later = { history: "h2" };
  const setBack = (shown: string): readonly HistoryEvent[] => [
    ...good.slice(0, 8),
    commit(3, "z"),
    { ...commit(2, "y"), ...later } as HistoryEvent,
    { ...land("o1", 2), ...later } as HistoryEvent,
    read(2, shown, later),
  ];
  expect(checkHistory(setBack("z"))).toBeNull();
  expect(checkHistory(setBack("x"))?.rule).toBe("read your writes");
  expect(checkHistory(setBack("w"))?.rule).toBe("read your writes");
});

test.for([
  ["a version that two records have", [commit(1, "x"), commit(1, "x", "notes/other")], "linearizable"],
  ["a record whose version goes back at the server", [commit(2, "x"), commit(1, "y")], "linearizable"],
  ["one version with two values", [commit(1, "x"), commit(1, "y")], "linearizable"],
  [
    "a client that shows what that version never was",
    [commit(1, "x"), read(1, "w", { isSettled: true })],
    "linearizable",
  ],
  ["a client that goes back to an older version", [read(2, "y"), read(1, "x")], "monotonic reads"],
  [
    "an unsent write that its author does not see",
    [commit(1, "x"), write("o1", "y"), read(1, "x")],
    "read your writes",
  ],
  [
    "an acknowledged write that is gone until its echo comes",
    [commit(1, "x"), write("o1", "y"), read(1, "y"), commit(2, "y"), land("o1", 2), read(1, "x")],
    "read your writes",
  ],
  [
    "an unsent write that a pull has swallowed",
    [commit(1, "x"), write("o1", "y"), read(1, "y"), commit(2, "z"), read(2, "z", { isSettled: true })],
    "read your writes",
  ],
  [
    "an unsent write that a server with another history has swallowed",
    [commit(1, "x"), write("o1", "y"), read(1, "y"), read(1, "x", { history: "h2", isSettled: true })],
    "read your writes",
  ],
  [
    "two writes of one client that landed in the wrong order",
    [write("o1", "x"), write("o2", "y"), commit(1, "y"), land("o2", 1), commit(2, "x"), land("o1", 2)],
    "causal order",
  ],
] as const)("%s is rejected", ([, events, rule]) => {
  expect(checkHistory(events)).toMatchObject({ rule });
});

test("what a person or a rule decided ends what a client has to see", () => {
  const decided: HistoryEvent = { kind: "decide", client: "c1", record };
  expect(checkHistory([commit(1, "x"), write("o1", "y"), decided, read(1, "x", { isSettled: true })])).toBeNull();
});

test("the answer to a later write may bring others' work before a pull does, and nothing else", () => {
  const both = (version: number, a: string, b: string): HistoryEvent => ({
    ...{ kind: "commit", history, record, version, value: { a, b } },
  });
  const begun = [write("o1", "x"), commit(1, "x"), land("o1", 1), commit(2, "y")];
  const later: HistoryEvent = { ...write("o2", "unused"), fields: { b: "mine" } } as HistoryEvent;
  const answered = [...begun, later, both(3, "y", "mine"), land("o2", 3)];
  const shown = (a: string): HistoryEvent => read(1, "x", { value: { a, b: "mine" } });
  expect(checkHistory([...answered, shown("y")])).toBeNull();
  expect(checkHistory([...answered, shown("w")])).toMatchObject({ rule: "read your writes" });
  // Before the answer nobody can have told it.
  expect(checkHistory([...begun, later, shown("y")])).toMatchObject({ rule: "read your writes" });
});

test("a record that is gone is shown so, at whatever version, once its removal was committed", () => {
  const landed = [write("o1", "x"), commit(1, "x"), land("o1", 1)];
  const shown = read(1, "x", { value: null, isSettled: true });
  expect(checkHistory([...landed, commit(2, null), shown])).toBeNull();
  expect(checkHistory([...landed, shown])).toMatchObject({ rule: "linearizable" });
  expect(checkHistory([...landed, commit(2, null), { ...shown, isSettled: false } as HistoryEvent])).toMatchObject({
    rule: "read your writes",
  });
});
