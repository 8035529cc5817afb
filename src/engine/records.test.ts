// Owns the rules of local writes, pushing and acknowledgement; pulling is pull.test.ts, conflicts are conflicts.test.ts.
import { expect, test } from "vitest";
import { startRecords } from "../../test/support/record-bench.ts";

test("a write is visible at once, pushed, acknowledged, pulled back, and reaches another client", async () => {
  const { server, client, run } = startRecords();
  const ada = client();
  const bob = client();
  await run();
  const written = ada.put("n1", { title: "Kelp", n: 1 });
  expect(written.record).toMatchObject({ value: { title: "Kelp", n: 1 }, state: "pending", version: 0 });
  await run();
  expect(server.all("notes")).toEqual({ n1: { title: "Kelp", n: 1 } });
  expect(ada.get("n1")).toMatchObject({ value: { title: "Kelp", n: 1 }, state: "synced", version: 1, operations: [] });
  expect(bob.get("n1")).toMatchObject({ value: { title: "Kelp", n: 1 }, state: "synced", version: 1 });
  expect(ada.rows("SELECT * FROM pending")).toEqual([]);
});
