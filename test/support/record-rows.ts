// Owns a store with rows of the table `record` laid by hand, for properties of queries that need thousands of rows quickly.
// Everything that a program would do goes through the front door in the tests beside the sources.
import { createHash } from "node:crypto";
import type { Database } from "../../src/database.ts";
import { newStore } from "../../src/engine/engine.ts";
import type { Queried } from "../../src/engine/record-query.ts";
import { ensureIndexes } from "../../src/engine/record-query.ts";
import { sealOf } from "../../src/engine/row-seal.ts";
import { migrate } from "../../src/engine/schema.ts";
import type { Store } from "../../src/engine/store.ts";
import { openDatabase } from "../../src/node/sqlite.ts";
import type { CollectionSpec, Fields } from "../../src/record.ts";
import { seededRandom } from "../../src/testing/random.ts";
import { newScheduler } from "../../src/testing/scheduler.ts";
import { newVirtualMachine } from "../../src/testing/virtual-machine.ts";
import { bootProcess } from "../../src/testing/virtual-world.ts";

export type RowsBench = {
  readonly database: Database;
  readonly store: Store;
  readonly collection: Queried;
  readonly put: (
    key: string,
    value: Fields | null,
    more?: { readonly status?: number; readonly changed?: number },
  ) => void;
  readonly [Symbol.dispose]: () => void;
};

/** A store with one collection, number 5, beside a neighbour whose rows must never be seen. */
export function newRows(
  spec: Omit<CollectionSpec, "name">,
  wrap: (database: Database) => Database = (d) => d,
): RowsBench {
  const inner = openDatabase(":memory:");
  migrate(inner);
  const database = wrap(inner);
  const machine = newVirtualMachine({
    scheduler: newScheduler(),
    random: seededRandom("rows"),
    hash: (text) => createHash("sha256").update(text).digest("hex"),
    probe: async () => ({ isReachable: true, reason: "it answers" }),
  });
  const store = newStore({ database, world: bootProcess(machine, "rows").world }, () => {});
  const collection = { id: 5, name: "notes", spec: { name: "notes", ...spec } };
  ensureIndexes(store, collection);
  const insert =
    inner.prepare(`INSERT INTO record (collection, key, version, value, schema, author, changed, status, used, bytes, seal)
    VALUES (?, ?, 1, ?, 1, '', ?, ?, 0, 0, ?)`);
  insert.run(6, "neighbour", '{"a":1,"b":2}', 1, 0, 0);
  return {
    database: inner,
    store,
    collection,
    put: (key, value, more = {}) => {
      const written = value === null ? null : JSON.stringify(value);
      const seal = sealOf([5, key, 1, written, null, 1, "", more.status ?? 0, 0]);
      insert.run(5, key, written, more.changed ?? 1, more.status ?? 0, seal);
    },
    [Symbol.dispose]: () => inner.close(),
  };
}
