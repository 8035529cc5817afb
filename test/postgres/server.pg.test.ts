// Owns that the whole server answers on PostgreSQL what it answers on its own database: the tests beside its files run here once more.
// Leaves what they state to them, and several processes to writers.pg.test.ts.
import { globSync, readFileSync } from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openPostgres } from "../../src/server/postgres.ts";
import type { Cluster } from "../support/postgres.ts";
import { startPostgres } from "../support/postgres.ts";
import { useStore } from "../support/sync-server.ts";

const folder = path.resolve(import.meta.dirname, "../../src/server");
const files = globSync("*.test.ts", { cwd: folder })
  .filter((file) => readFileSync(path.join(folder, file), "utf8").includes("openTestServer"))
  .sort();

let cluster: Cluster;
let opened = 0;
beforeAll(async () => {
  cluster = await startPostgres();
});
afterAll(async () => {
  await cluster.stop();
  expect(opened).toBeGreaterThan(0);
});

useStore(async () => {
  opened += 1;
  return openPostgres({ url: await cluster.createDatabase(), connections: 4 });
});

test("there are tests of the server to run", () => expect(files.length).toBeGreaterThan(1));

for (const file of files) {
  const { href } = pathToFileURL(path.join(folder, file));
  describe(file, async () => {
    await import(href);
  });
}
