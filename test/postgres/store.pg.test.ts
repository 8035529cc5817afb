// Owns that the store on a real PostgreSQL keeps the contract of every server store.
// Leaves dying connections and servers to faults.pg.test.ts, and the contract itself to src/testing/.
import { afterAll, beforeAll, expect, test } from "vitest";
import { openPostgres } from "../../src/server/postgres.ts";
import { serverStoreContract } from "../../src/testing/server-store-contract.ts";
import type { Cluster } from "../support/postgres.ts";
import { startPostgres } from "../support/postgres.ts";

let cluster: Cluster;
let url = "";
beforeAll(async () => {
  cluster = await startPostgres();
});
afterAll(() => cluster.stop());

const harness = {
  open: async () => {
    url = await cluster.createDatabase();
    return openPostgres({ url });
  },
  again: () => openPostgres({ url }),
};

test("the database is the PostgreSQL that the tests bring along", async () => {
  const store = await harness.open();
  const [row] = await store.read((tx) => tx.all("SELECT current_setting('server_version') AS version"));
  await store.close();
  expect(row?.version).toMatch(/^1[5-9]/);
});

for (const { name, run } of serverStoreContract(harness)) test(name, run);
