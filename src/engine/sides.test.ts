// Owns the rules of choosing a side of a conflict: for what is in dispute, for single fields, and for what the server refused.
// When conflicts arise and what else decides them is conflicts.test.ts.
import { expect, test } from "vitest";
import { apart, base } from "../../test/support/record-bench.ts";

test.each(["remote", "remote_wins"] as const)(
  "%s decides what is in dispute: what only we changed, and what a rule merges, stays",
  async (how) => {
    const isStrategy = how === "remote_wins";
    const { ada, server, run } = await apart({
      merge: { tags: { rule: "set" } },
      ...(isStrategy ? { strategy: { version_mismatch: how } } : {}),
    });
    ada.offline();
    ada.update("n1", { title: "mine", n: 7, tags: ["a", "b"] });
    server.write("notes", "n1", { ...base, title: "theirs", tags: ["a", "c"] });
    ada.online();
    await run(3_000);
    if (!isStrategy) {
      const [open] = ada.conflicts("open");
      expect(open?.fields).toEqual(["title"]);
      ada.ask("conflicts.resolve", { ids: [open?.id ?? ""], choose: "remote" });
      await run(5_000);
    }
    const outcome = { title: "theirs", n: 7, tags: ["a", "c", "b"] };
    expect(server.get("notes", "n1")?.value).toMatchObject(isStrategy ? { title: "theirs", n: 7 } : outcome);
    expect(ada.get("n1")).toMatchObject({ value: { title: "theirs", n: 7 }, state: "synced", operations: [] });
    const [decided] = ada.conflicts("resolved");
    ada.ask("conflicts.undo", { ids: [decided?.id ?? ""] });
    await run(5_000);
    expect(server.get("notes", "n1")?.value).toEqual({ title: "mine", n: 7, tags: ["a", "b"] });
    expect(ada.ask("engine.check", {}).findings).toEqual([]);
  },
);

test.each([
  ["local", { title: "remote" }, { title: "theirs", n: 7, tags: ["mine"] }],
  ["remote", { n: "local" }, { title: "theirs", n: 7, tags: ["mine"] }],
  ["remote", { tags: "remote" }, { title: "theirs", n: 5, tags: ["a"] }],
  ["local", { title: "remote", tags: "remote" }, { title: "theirs", n: 7, tags: ["a"] }],
] as const)(
  "a person takes %s and single fields as named: %j; taking it back brings ours",
  async (choose, fields, outcome) => {
    const { ada, server, run } = await apart();
    ada.offline();
    const mine = { title: "mine", n: 7, tags: ["mine"] };
    ada.update("n1", mine);
    server.write("notes", "n1", { ...base, title: "theirs", n: 5 });
    ada.online();
    await run(3_000);
    ada.offline();
    const [open] = ada.conflicts("open");
    expect([...(open?.fields ?? [])].sort()).toEqual(["n", "title"]);
    const of = (named: Readonly<Record<string, "local" | "remote">>) => ({
      ids: [open?.id ?? ""],
      choose,
      fields: named,
    });
    expect(ada.ask("conflicts.resolve", of({ ttile: "local" })).refused).toMatchObject([{ code: "refused_by_state" }]);
    expect(() => ada.ask("conflicts.resolve", { ...of(fields), choose: "merge" })).toThrow("goes with a side");
    expect(ada.ask("conflicts.resolve", of(fields)).refused).toEqual([]);
    expect(ada.value("n1")).toEqual(outcome);
    expect(ada.conflicts("resolved")).toMatchObject([{ choice: "value", decidedBy: "person", outcome }]);
    ada.online();
    await run(5_000);
    expect(server.get("notes", "n1")?.value).toEqual(outcome);
    ada.ask("conflicts.undo", { ids: [open?.id ?? ""] });
    await run(5_000);
    expect(server.get("notes", "n1")?.value).toEqual(mine);
  },
);

test("of what the server refused, single fields go back to what it has and the others are sent", async () => {
  const { ada, server, run } = await apart();
  server.rule = (_change, value) =>
    value?.title === "bad" ? { code: "word_forbidden", message: "not this word", field: "title" } : null;
  ada.update("n1", { title: "bad", n: 7 });
  ada.online();
  await run(3_000);
  const [open] = ada.conflicts("open");
  expect(open).toMatchObject({ kind: "business_rule", fields: ["title"] });
  ada.ask("conflicts.resolve", { ids: [open?.id ?? ""], choose: "local", fields: { title: "remote" } });
  await run(5_000);
  expect(server.get("notes", "n1")?.value).toEqual({ ...base, n: 7 });
  expect(ada.get("n1")).toMatchObject({ state: "synced", operations: [] });
});
