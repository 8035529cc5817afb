// Owns how the server's tables lie on PostgreSQL: which index a statement takes without statistics, and texts that sort alike in every language.
// Leaves what is stored in them to the tests of the server.
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { openDatabase } from "../../src/node/sqlite.ts";
import { openEmbeddedStore } from "../../src/server/embedded.ts";
import { openPostgres } from "../../src/server/postgres.ts";
import type { ServerStore, SqlParameter } from "../../src/server/store.ts";
import type { Cluster } from "../support/postgres.ts";
import { startPostgres } from "../support/postgres.ts";
import { closeServers, openTestServer } from "../support/sync-server.ts";

let cluster: Cluster;
beforeAll(async () => {
  cluster = await startPostgres();
});
afterAll(() => cluster.stop());
afterEach(closeServers);

type Asked = { readonly sql: string; readonly parameters: readonly SqlParameter[] };

/** Notes what is asked of a store. */
function listen(store: ServerStore): Asked[] {
  const asked: Asked[] = [];
  const { read, write } = store;
  const noting =
    (run: ServerStore["read"] | ServerStore["write"]): ServerStore["write"] =>
    (work, options) =>
      run(
        (tx) =>
          work({
            ...tx,
            all: (sql, ...parameters) => {
              asked.push({ sql, parameters });
              return tx.all(sql, ...parameters);
            },
          }),
        options,
      );
  Object.assign(store, { read: noting(read), write: noting(write) });
  return asked;
}

/** Rows as pushes leave them, but quicker; the database is not told to look at them. */
const fill = `INSERT INTO hf_record (space, collection, key, version, ending, created, born, value, field_versions, bytes, schema_version, author, at)
  SELECT 'main', 'notes', 'key-' || n, n, n, n, n, '{}', '{}', 2, 1, 'ana', 1 FROM generate_series(1, 20000) AS n`;

test.each([
  ["a database that knows nothing of its tables", []],
  [
    "one that takes the large space for one of many small ones",
    [
      `INSERT INTO hf_record (space, collection, key, version, ending, created, born, value, field_versions, bytes, schema_version, author, at)
      SELECT 's' || n, 'notes', 'key', 1, 1, 1, 1, '{}', '{}', 2, 1, 'ana', 1 FROM generate_series(1, 3000) AS n`,
      "ANALYZE hf_record",
      "DELETE FROM hf_record WHERE space <> 'main'",
    ],
  ],
])("%s finds records by their key and pages by their version, never a space as a whole", async (_name, before) => {
  const store = await openPostgres({ url: await cluster.createDatabase() });
  const { push, pull, fetch } = await openTestServer({ store });
  await store.write(async (tx) => {
    for (const statement of before) await tx.run(statement);
    await tx.run(fill);
  });
  const asked = listen(store);
  await push([..."abcdefgh"].map((key) => ({ kind: "create" as const, key })));
  await store.write((tx) => tx.run("UPDATE hf_space SET head = 20008"));
  await pull({ wants: [{ collection: "notes", after: 15_000 }] });
  await fetch(["key-1", "key-2"]);
  const onRecords = asked.filter(({ sql }) => sql.includes("FROM hf_record"));
  const plans: string[] = [];
  for (const { sql, parameters } of onRecords) {
    const rows = await store.read((tx) => tx.all(`EXPLAIN ${sql}`, ...parameters));
    const plan = rows.map((row) => String(row["QUERY PLAN"])).join("\n");
    const isPage = sql.includes("ORDER BY version");
    expect(plan).toContain(isPage ? "hf_record_feed" : "hf_record_pkey");
    expect(plan).not.toContain(isPage ? "hf_record_pkey" : "hf_record_feed");
    expect(plan).not.toContain("Seq Scan");
    plans.push(isPage ? "page" : "keys");
  }
  expect(new Set(plans)).toEqual(new Set(["page", "keys"]));
});

test("every text column of the server compares by code point, in a database of any language", async () => {
  const store = await openPostgres({ url: await cluster.createDatabase(swedish) });
  await openTestServer({ store });
  const sql = `SELECT table_name || '.' || column_name AS place, coalesce(collation_name, 'the language') AS how
    FROM information_schema.columns WHERE table_name LIKE 'hf!_%' ESCAPE '!' AND data_type = 'text'`;
  const columns = await store.read((tx) => tx.all(sql));
  expect(columns.length).toBeGreaterThan(20);
  expect(columns.filter(({ how }) => how !== "C")).toEqual([]);
});

const swedish = "LOCALE_PROVIDER icu ICU_LOCALE 'sv-SE' LOCALE 'C.UTF-8'";
const unsorted = [
  "z",
  "ä",
  "a",
  "B",
  "å",
  "ö",
  "A",
  "Z",
  "a-b",
  "ab",
  "_",
  "é",
  "e\u0301",
  "\u{1f30a}",
  "\ufb01",
  "10",
  "9",
];

/** Keys in the order in which the server itself pages by them. */
async function pagesOf(store: ServerStore): Promise<readonly string[]> {
  const { pushAll } = await openTestServer({ store });
  await pushAll(unsorted.map((key) => ({ edits: [{ kind: "create", key }] })));
  const page = `SELECT key FROM hf_record WHERE collection = 'notes' AND (space > ? OR (space = ? AND key > ?))
    ORDER BY space, key LIMIT 3`;
  const keys: string[] = [];
  for (let last = ""; ; last = keys.at(-1) ?? "") {
    const rows = await store.read((tx) => tx.all(page, "main", "main", last));
    keys.push(...rows.map(({ key }) => String(key)));
    if (rows.length < 3) return keys;
  }
}

test("pages by key are the same on SQLite and in a Swedish database", async () => {
  const store = await openPostgres({ url: await cluster.createDatabase(swedish) });
  // The proof that this database does sort in Swedish where nothing is said.
  const [first] = await store.read((tx) =>
    tx.all("SELECT v FROM (VALUES ('z'), ('ö'), ('B')) AS t(v) ORDER BY v DESC"),
  );
  expect(first).toEqual({ v: "ö" });
  const [b] = await store.read((tx) => tx.all("SELECT v FROM (VALUES ('a'), ('B')) AS t(v) ORDER BY v"));
  expect(b).toEqual({ v: "a" });
  const onPostgres = await pagesOf(store);
  const onSqlite = await pagesOf(openEmbeddedStore(openDatabase(":memory:"), { defer: setImmediate }));
  expect(onPostgres).toEqual(onSqlite);
  expect(onPostgres.length).toBe(unsorted.length);
});

test("values that become unique later are taken over pages of keys in a Swedish database, each once", async () => {
  const store = await openPostgres({ url: await cluster.createDatabase(swedish) });
  const { pushAll } = await openTestServer({ store });
  const keys = Array.from({ length: 1_200 }, (_, index) => `${unsorted[index % unsorted.length]}${index}`);
  for (let from = 0; from < keys.length; from += 400)
    await pushAll(
      keys.slice(from, from + 400).map((key) => ({ edits: [{ kind: "create", key, fields: { plate: key } }] })),
    );
  await openTestServer({ store, collections: [{ name: "notes", unique: [["plate"]] }] });
  const [taken] = await store.read((tx) => tx.all("SELECT count(*) AS n FROM hf_unique"));
  expect(taken).toEqual({ n: keys.length });
});
