/**
 * Owns the rule of how much of the store's own history is kept: the newest rows, found without an index among those of the operations.
 */
import { expect, test } from "vitest";
import { openDatabase } from "../node/sqlite.ts";
import type { World } from "../world.ts";
import { newStore } from "./engine.ts";
import { historyOf, isTruncated, pruneStoreHistory, readFeedAfter, record, storeHistoryLimit } from "./history.ts";
import { Counter, migrate } from "./schema.ts";
import { readCount, transact } from "./store.ts";

function openStore() {
  const database = openDatabase(":memory:");
  migrate(database);
  const store = newStore({ database, world: { now: () => 1, monotonic: () => 1 } as World, network: {} }, () => {});
  const tell = (op: number, times: number): void =>
    transact(store, () => {
      for (let n = 0; n < times; n += 1) record(store, { op, id: null, kind: "edited", status: null, detail: {} });
    });
  const prune = (): void => transact(store, () => pruneStoreHistory(store));
  return { store, tell, prune, close: () => database.close() };
}

test("the newest ten thousand rows of the store's own history are kept, and all of the operations'", () => {
  const { store, tell, prune, close } = openStore();
  for (let n = 0; n < 50; n += 1) {
    tell(0, 201);
    tell(7, 3);
  }
  prune();
  const kept = readFeedAfter(store, 0, 20_000);
  expect(kept).toHaveLength(storeHistoryLimit + 150);
  expect(historyOf(store, 7, { after: 0, limit: 1_000 })).toHaveLength(150);
  expect(historyOf(store, 0, { after: 0, limit: 1_000 })).toEqual([]);
  expect(kept[0]?.sequence).toBe(51);
  expect([isTruncated(store, 49), isTruncated(store, 50)]).toEqual([true, false]);
  expect(readCount(store, Counter.told)).toBe(storeHistoryLimit);
  close();
});

test("pruning goes on where it has stopped, and begins anew after a pass that was undone", () => {
  const { store, tell, prune, close } = openStore();
  tell(0, storeHistoryLimit + 10);
  expect(() =>
    transact(store, () => {
      pruneStoreHistory(store);
      throw new Error("undone");
    }),
  ).toThrow("undone");
  expect(readCount(store, Counter.told)).toBe(storeHistoryLimit + 10);
  prune();
  tell(0, 5);
  prune();
  prune();
  expect(readFeedAfter(store, 0, 20_000)[0]?.sequence).toBe(16);
  expect(readCount(store, Counter.told)).toBe(storeHistoryLimit);
  close();
});
