// Owns that unique values declared later hold on PostgreSQL when several processes build them at once, and one of them serves already.
// Leaves what a declaration means to src/server/collections.test.ts.
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { openPostgres } from "../../src/server/postgres.ts";
import type { ServerStore, Tx } from "../../src/server/store.ts";
import type { Cluster } from "../support/postgres.ts";
import { startPostgres } from "../support/postgres.ts";
import { closeServers, openTestServer } from "../support/sync-server.ts";

let cluster: Cluster;
beforeAll(async () => {
  cluster = await startPostgres();
});
afterAll(() => cluster.stop());
afterEach(closeServers);

const collections = [{ name: "notes", unique: [["email"]] }];

/** A store whose process is held up once, after it has read the records that it builds from. */
async function openHeldUp(url: string) {
  const store = await openPostgres({ url });
  const { write } = store;
  let goOn = (): void => {};
  const held = new Promise<void>((resolve) => {
    goOn = resolve;
  });
  let tellRead = (): void => {};
  const hasRead = new Promise<void>((resolve) => {
    tellRead = resolve;
  });
  const heldUp = (tx: Tx): Tx => ({
    ...tx,
    all: async (sql, ...parameters) => {
      const rows = await tx.all(sql, ...parameters);
      if (sql.includes("FROM hf_record")) {
        tellRead();
        await held;
      }
      return rows;
    },
  });
  const building = {
    ...store,
    write: ((work, options) => write((tx) => work(heldUp(tx)), options)) as ServerStore["write"],
  };
  return { store: building, goOn, hasRead };
}

test("a value that its record gave up while another process was building is free", async () => {
  const url = await cluster.createDatabase();
  const before = await openTestServer({ store: await openPostgres({ url }) });
  await before.push({ kind: "create", key: "k1", fields: { email: "a@x" } });
  const slow = await openHeldUp(url);
  const second = openTestServer({ store: slow.store, collections });
  await slow.hasRead;
  const opening = openTestServer({ store: await openPostgres({ url }), collections });
  // Either it serves already, or it waits for the other one.
  if ((await Promise.race([opening.then(() => "open"), sleep(1_000)])) !== "open") slow.goOn();
  const first = await opening;
  const moved = await first.push({ kind: "update", key: "k1", base: 1, fields: { email: "b@x" } });
  expect(moved).toMatchObject({ outcome: "applied" });
  slow.goOn();
  const { push } = await second;
  expect(await push({ kind: "create", key: "k2", fields: { email: "a@x" } })).toMatchObject({ outcome: "applied" });
  expect(await push({ kind: "create", key: "k3", fields: { email: "b@x" } })).toMatchObject({ remote: { key: "k1" } });
});
