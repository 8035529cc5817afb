// Owns two promises about the schema: each change of it shows in review, and a released migration never changes again.
// After a deliberate change: npx vitest run --project unit test/schema.test.ts -u rewrites the dump, and a new migration gets its line
// below. Only before its first release may a migration change in place; then node test/upgrade/make-store.ts makes its store anew.
import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import type { Database } from "../src/database.ts";
import { migrate, schemaVersion } from "../src/engine/schema.ts";
import { openDatabase } from "../src/node/sqlite.ts";

/** SHA-256 of each migration's text, in order. A line is added with each migration; a line that was released is never changed. */
const frozen = [
  "1f698c5f89f7673d395e9470f6097bda63e28cfef9734c3577dd005f3606636a",
  "c2ed0e7f7035b6e7341cdc36cb508d765837e35a6ea30e72a8fab888d30a85f3",
];

const beginsWithPragmas = /;PRAGMA application_id = \d+;PRAGMA user_version = \d+$/;

/** Runs all migrations on an empty store and keeps their texts. */
function migrateEmpty(): { readonly database: Database; readonly texts: readonly string[] } {
  const database = openDatabase(":memory:");
  const texts: string[] = [];
  const exec = (sql: string): void => {
    if (beginsWithPragmas.test(sql)) texts.push(sql.replace(beginsWithPragmas, ""));
    database.exec(sql);
  };
  migrate({ ...database, exec });
  return { database, texts };
}

test("the schema is the one in golden/schema.sql", async () => {
  const { database } = migrateEmpty();
  const rows = database
    .prepare("SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY type, name")
    .all();
  const { user_version } = database.prepare("PRAGMA user_version").get() ?? {};
  const { application_id } = database.prepare("PRAGMA application_id").get() ?? {};
  database.close();
  const head = `-- user_version ${user_version}, application_id 0x${Number(application_id).toString(16)}`;
  const dump = [head, ...rows.map(({ sql }) => `${sql};`)].join("\n\n");
  await expect(`${dump}\n`).toMatchFileSnapshot("golden/schema.sql");
});

test("each migration is frozen: stores that exist were made by exactly this text", () => {
  const { database, texts } = migrateEmpty();
  database.close();
  expect(texts).toHaveLength(schemaVersion);
  expect(
    texts.map((text) => createHash("sha256").update(text).digest("hex")),
    "see the first lines of this file",
  ).toEqual(frozen);
});

test("a second run of the migrations changes nothing", () => {
  const { database } = migrateEmpty();
  const dump = () => database.prepare("SELECT * FROM sqlite_schema ORDER BY rowid").all();
  const before = dump();
  migrate(database);
  expect(dump()).toEqual(before);
  database.close();
});
