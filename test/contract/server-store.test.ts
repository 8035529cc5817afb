// Owns that the embedded store keeps the contract of every server store, in memory and in a file.
// Leaves PostgreSQL to test/postgres/, and the contract itself to src/testing/.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, test } from "vitest";
import { openDatabase } from "../../src/node/sqlite.ts";
import { openEmbeddedStore } from "../../src/server/embedded.ts";
import { serverStoreContract } from "../../src/testing/server-store-contract.ts";

const folder = mkdtempSync(path.join(tmpdir(), "holdfast-store-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
let files = 0;

const places = {
  "in memory": () => ":memory:",
  "in a file": () => {
    files += 1;
    return path.join(folder, `${files}.db`);
  },
};

for (const [place, nextFile] of Object.entries(places)) {
  const open = async () => openEmbeddedStore(openDatabase(nextFile()), { defer: setImmediate });
  describe(`the embedded store ${place}`, () => {
    // Pokes do not leave the process: one server per file.
    for (const { name, run } of serverStoreContract({ open, again: null })) test(name, run);
  });
}
