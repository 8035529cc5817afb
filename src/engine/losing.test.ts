/**
 * Owns the proof that whatever side of a dispute loses is in the record's history, and comes back in one action, whoever decided.
 * How each choice decides is `conflicts.test.ts` and `inbox.test.ts`.
 */
import { describe, expect, test } from "vitest";
import type { RecordClient } from "../../test/support/record-bench.ts";
import { apart } from "../../test/support/record-bench.ts";
import { isSameJson } from "../canonical.ts";
import type { Fields } from "../record.ts";
import type { Collection } from "../world.ts";

const theirs = { title: "theirs", n: 1 };

type Case = { readonly collection?: Partial<Collection>; readonly decide?: (ada: RecordClient) => unknown };

const byPerson = (choice: { readonly choose: "local" | "merge" | "value"; readonly value?: Fields | null }): Case => ({
  decide: (ada) => ada.ask("conflicts.resolve", { filter: {}, ...choice }),
});

const cases: Readonly<Record<string, Case>> = {
  "a person takes the local side": byPerson({ choose: "local" }),
  "a person merges, and ours fills what no rule decides": byPerson({ choose: "merge" }),
  "a person writes another value": byPerson({ choose: "value", value: { title: "both", n: 1 } }),
  "a person removes it": byPerson({ choose: "value", value: null }),
  "the strategy says local_wins": { collection: { strategy: { version_mismatch: "local_wins" } } },
  "a function of the program decides": {
    collection: { decide: { version_mismatch: ({ local }) => ({ value: local }) } },
  },
  "a field's rule prefers ours": { collection: { merge: { title: { rule: "prefer-local" } } } },
  "it was chosen beforehand": {},
};

/** The record as each entry of its history left it, oldest first; each begins where the one before it ended. */
function lives(ada: RecordClient): readonly { readonly sequence: number; readonly after: Fields | null }[] {
  const entries = ada.ask("records.history", { collection: "notes", key: "n1" }).entries.toReversed();
  for (const [at, entry] of entries.entries())
    if (at > 0) expect(isSameJson(entry.before, entries[at - 1]?.after)).toBe(true);
  return entries;
}

describe("what the server had is in the history and comes back in one action, when", () => {
  test.each(Object.keys(cases))("%s", async (name) => {
    const { collection = {}, decide } = cases[name] ?? {};
    const { ada, server, run } = await apart(collection);
    ada.update("n1", { title: "ours" });
    server.write("notes", "n1", theirs);
    if (name === "it was chosen beforehand")
      ada.ask("conflicts.prefer", { collection: "notes", key: "n1", choose: "local", version: server.head() });
    ada.online();
    await run(5_000);
    decide?.(ada);
    await run(5_000);
    expect(ada.conflicts("open")).toEqual([]);
    expect(server.get("notes", "n1")?.value ?? null).not.toEqual(theirs);
    const lost = lives(ada).filter(({ after }) => isSameJson(after, theirs));
    expect(lost).toHaveLength(1);
    ada.ask("records.restore", { collection: "notes", key: "n1", sequence: lost[0]?.sequence ?? 0 });
    await run(5_000);
    expect(server.get("notes", "n1")?.value).toEqual(theirs);
    lives(ada);
    expect(ada.ask("engine.check", {}).findings).toEqual([]);
  });

  test("it was removed here, and stays removed", async () => {
    const { ada, server, run } = await apart({ localOnly: ["mark"] });
    ada.remove("n1");
    server.write("notes", "n1", theirs);
    ada.online();
    await run(5_000);
    ada.ask("conflicts.resolve", { filter: { kind: "deleted_here" }, choose: "local" });
    await run(5_000);
    expect(server.all("notes")).toEqual({});
    const [lost] = lives(ada).filter(({ after }) => isSameJson(after, theirs));
    ada.ask("records.restore", { collection: "notes", key: "n1", sequence: lost?.sequence ?? 0 });
    await run(5_000);
    expect(server.all("notes")).toEqual({ n1: theirs });
  });
});

test("what never leaves the device is not given up with it", async () => {
  const { ada, server, run } = await apart({ localOnly: ["mark"] });
  ada.update("n1", { title: "ours", mark: "mine alone" });
  server.write("notes", "n1", theirs);
  ada.online();
  await run(5_000);
  ada.ask("conflicts.resolve", { filter: {}, choose: "local" });
  await run(5_000);
  const [lost] = lives(ada).filter(({ after }) => after?.title === "theirs");
  ada.ask("records.restore", { collection: "notes", key: "n1", sequence: lost?.sequence ?? 0 });
  await run(5_000);
  expect([ada.value("n1"), server.get("notes", "n1")?.value]).toEqual([{ ...theirs, mark: "mine alone" }, theirs]);
});

test("where nothing is lost the history says nothing of it: both counted, both tagged, or the server's side was taken", async () => {
  const { ada, server, run } = await apart({ merge: { n: { rule: "counter" }, tags: { rule: "set" } } });
  ada.update("n1", { n: 5, tags: ["a", "c"], title: "ours" });
  server.write("notes", "n1", { title: "theirs", n: 9, tags: ["a", "b"] });
  ada.online();
  await run(5_000);
  const before = lives(ada).length;
  ada.ask("conflicts.resolve", { filter: {}, choose: "remote" });
  await run(5_000);
  expect(server.get("notes", "n1")?.value).toMatchObject({ title: "theirs", n: 13, tags: ["a", "b", "c"] });
  expect(lives(ada)).toHaveLength(before + 1);
});

test("a run in which a strategy let ours win is rolled back as one in which nothing changed", async () => {
  const { ada, server, run } = await apart({ strategy: { version_mismatch: "local_wins" } });
  ada.update("n1", { title: "ours" });
  server.write("notes", "n1", theirs);
  ada.online();
  await run(20_000);
  for (const { id, endedAt } of ada.ask("sync.runs", {}).runs.slice(0, 3))
    if (endedAt !== null) ada.ask("sync.rollback", { run: id });
  await run(5_000);
  expect(server.get("notes", "n1")?.value).toMatchObject({ title: "ours" });
});
