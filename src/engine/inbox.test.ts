// Owns the rules of the inbox where several disputes hang together, and of what ended each of them.
// When conflicts arise and what decides them is conflicts.test.ts.
import { expect, test } from "vitest";
import { apart, base } from "../../test/support/record-bench.ts";

test("two disputes of one transaction are asked about at once, and go out in one request when both are decided", async () => {
  for (const choices of [
    ["local", "merge"],
    ["value", "local"],
  ] as const) {
    const { ada, server, run, pushes } = await apart();
    server.write("notes", "n2", base);
    ada.online();
    await run();
    ada.offline();
    ada.ask("records.transaction", {
      writes: ["n1", "n2", "n3"].map((key) =>
        key === "n3"
          ? ({ kind: "create", collection: "notes", key, value: { n: 3 } } as const)
          : ({ kind: "update", collection: "notes", key, fields: { title: "mine" } } as const),
      ),
    });
    server.write("notes", "n1", { ...base, title: "theirs" });
    server.write("notes", "n2", { ...base, title: "theirs", n: 2 });
    ada.ask("queue.pause", { scope: { kind: "type", name: "record.write" } });
    ada.online();
    await run(3_000);
    ada.ask("queue.resume", { scope: { kind: "type", name: "record.write" } });
    await run(3_000);
    expect(ada.conflicts("open").map(({ key }) => key)).toEqual(["n2", "n1"]);
    const before = pushes();
    for (const [at, choose] of choices.entries()) {
      expect(pushes()).toBe(before);
      const value = choose === "value" ? { value: { title: "both" } } : {};
      const key = at === 0 ? "n1" : "n2";
      expect(ada.ask("conflicts.resolve", { filter: { key }, choose, ...value }).done).toHaveLength(1);
      await run();
    }
    await run(3_000);
    expect(pushes()).toBe(before + 1);
    expect(server.all("notes")).toEqual({
      n1: choices[0] === "value" ? { title: "both" } : { ...base, title: "mine" },
      n2: { ...base, title: "mine", n: 2 },
      n3: { n: 3 },
    });
    expect(["n1", "n2", "n3"].map((key) => ada.state(key))).toEqual(["synced", "synced", "synced"]);
    expect(ada.conflicts("resolved").map(({ decidedBy }) => decidedBy)).toEqual(["person", "person"]);
    expect(ada.ask("engine.check", {}).findings).toEqual([]);
  }
});

test("an inbox tells what really ended a dispute: a person, both sides saying the same, or an operation that was given up", async () => {
  const { ada, server, run } = await apart();
  const dispute = async (title: string): Promise<void> => {
    ada.offline();
    ada.update("n1", { title });
    server.write("notes", "n1", { ...base, title: `not ${title}` });
    ada.online();
    await run(3_000);
  };
  await dispute("a");
  server.write("notes", "n1", { ...base, title: "a" });
  await run(3_000);
  expect(ada.conflicts("resolved")).toMatchObject([{ decidedBy: "agreement" }]);
  await dispute("b");
  ada.ask("queue.cancel", { ids: [ada.conflicts("open")[0]?.operation ?? ""] });
  expect(ada.conflicts("resolved")[0]).toMatchObject({ decidedBy: "withdrawal", choice: "remote" });
  await dispute("c");
  ada.ask("conflicts.resolve", { filter: {}, choose: "remote" });
  expect(ada.conflicts("resolved")[0]).toMatchObject({ decidedBy: "person", choice: "remote" });
});
