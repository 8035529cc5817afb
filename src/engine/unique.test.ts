// Owns the rules of unique values that are checked here early: what is refused at once, what is left to the server.
// The server's own answer is conflicts.test.ts.
import { expect, test } from "vitest";
import type { RecordClient } from "../../test/support/record-bench.ts";
import { startRecords } from "../../test/support/record-bench.ts";
import { HoldfastError } from "../errors.ts";

const collections = [{ name: "notes", unique: [["slug"], ["shelf", "place"]], keys: "client" as const }];

function refusalOf(work: () => unknown): HoldfastError {
  try {
    work();
  } catch (error) {
    if (error instanceof HoldfastError) return error;
    throw error;
  }
  throw new Error("nothing was refused");
}

const stateOf = (ada: RecordClient) => [
  ada.ask("records.query", { collection: "notes" }).records.map(({ key, value }) => [key, value]),
  ada.ask("queue.list", {}).operations.length,
];

test("a value that another record here has is refused at once, with its field and that record, and nothing is written", async () => {
  const { client, server, run } = startRecords();
  const ada = client({ collections });
  server.write("notes", "far", { slug: "kelp" });
  await run();
  ada.offline();
  ada.put("n1", { slug: "tides", shelf: "a", place: 1 });
  ada.put("n2", { slug: "reef" });
  const before = stateOf(ada);
  const taken = refusalOf(() => ada.put("n3", { slug: "tides" }));
  expect(taken).toMatchObject({
    code: "unique_violation",
    message: 'record "n3" of "notes": slug "tides" is taken by record "n1"',
    hint: 'take another value, or change "n1" first; nothing was written',
    details: { collection: "notes", key: "n3", field: "slug", fields: ["slug"], holder: "n1" },
  });
  expect(refusalOf(() => ada.update("n2", { slug: "kelp" })).details).toMatchObject({ holder: "far" });
  expect(refusalOf(() => ada.put("n3", { shelf: "a", place: 1 })).details).toMatchObject({
    fields: ["shelf", "place"],
  });
  expect(stateOf(ada)).toEqual(before);
  expect(ada.get("n3")).toBeNull();
});

test("what is empty, removed, one's own, or another type clashes with nothing; values can be exchanged in one transaction", async () => {
  const { client } = startRecords();
  const ada = client({ collections, isAlone: true });
  ada.put("n1", { slug: "tides" });
  ada.put("n1", { slug: "tides", n: 1 });
  for (const [key, value] of [
    ["e1", { slug: null }],
    ["e2", { slug: null }],
    ["e3", {}],
    ["e4", { shelf: "a" }],
    ["e5", { shelf: "a" }],
    ["t1", { slug: 1 }],
    ["t2", { slug: "1" }],
    ["t3", { slug: true }],
  ] as const)
    ada.put(key, value);
  ada.remove("n1");
  ada.put("n2", { slug: "tides" });
  ada.put("n3", { slug: "reef" });
  const swap = [
    { kind: "update", collection: "notes", key: "n2", fields: { slug: "reef" } },
    { kind: "update", collection: "notes", key: "n3", fields: { slug: "tides" } },
  ] as const;
  expect(refusalOf(() => ada.ask("records.transaction", { writes: swap.slice(0, 1) })).code).toBe("unique_violation");
  ada.ask("records.transaction", { writes: [...swap] });
  expect([ada.value("n2"), ada.value("n3")]).toEqual([{ slug: "reef" }, { slug: "tides" }]);
  const twins = ["x", "y"].map((key) => ({ kind: "put", collection: "notes", key, value: { slug: "twin" } }) as const);
  expect(refusalOf(() => ada.ask("records.transaction", { writes: twins })).details).toMatchObject({ holder: "y" });
  expect(ada.get("x")).toBeNull();
});

test("rows of an import that clash are refused one by one", () => {
  const { client } = startRecords();
  const ada = client({ collections, isAlone: true });
  const rows = ["a", "b", "a"].map((slug) => ({ slug }));
  const input = { collection: "notes", rows, source: "file", offset: 0 };
  expect(ada.ask("records.import", input)).toMatchObject({
    imported: 2,
    refused: [{ position: 2, code: "unique_violation" }],
  });
});

test("what this device does not know the server refuses: the change stays, and waits in the inbox with the other record", async () => {
  const { client, server, run } = startRecords();
  server.unique.set("notes", "slug");
  const ada = client({ collections });
  await run();
  ada.offline();
  ada.put("n1", { slug: "tides" });
  server.write("notes", "far", { slug: "tides" });
  ada.online();
  await run(3_000);
  expect(ada.conflicts("open")).toMatchObject([{ kind: "unique_violation", key: "n1", remote: { slug: "tides" } }]);
  expect(ada.value("n1")).toEqual({ slug: "tides" });
  // By now it is known here, so the next one is refused before it is written.
  expect(refusalOf(() => ada.put("n2", { slug: "tides" })).code).toBe("unique_violation");
  ada.update("n1", { slug: "ebb" });
  ada.ask("conflicts.resolve", { filter: {}, choose: "value", value: { slug: "ebb" } });
  await run(3_000);
  expect(server.all("notes")).toEqual({ far: { slug: "tides" }, n1: { slug: "ebb" } });
});
