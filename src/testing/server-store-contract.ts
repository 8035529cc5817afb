/**
 * Owns the contract that every store of the sync server passes: SQLite in a file, PostgreSQL, and anybody's own.
 * It leaves running the cases to any test runner, and what the server stores to the server's own tests.
 */
import type { Tx } from "../server/store.ts";
import { failureRules, isolationRules, migrationRules, pokeRules, sharingRules } from "./server-store-rivals.ts";
import type { Rule, ServerStoreHarness } from "./server-store-scene.ts";
import {
  add,
  counters,
  fails,
  makeCounters,
  makeKinds,
  outcome,
  readCounter,
  roundTrip,
  same,
} from "./server-store-scene.ts";

export type StoreContractCase = { readonly name: string; readonly run: () => Promise<void> };

/**
 * The contract as named cases.
 * @example
 * const harness = { open: () => openPostgres({ url }), again: null };
 * for (const { name, run } of serverStoreContract(harness)) test(name, run);
 */
export function serverStoreContract(harness: ServerStoreHarness): readonly StoreContractCase[] {
  const rules = [
    ...typeRules,
    ...statementRules,
    ...atomicityRules,
    ...savepointRules,
    ...isolationRules,
    ...migrationRules,
    ...pokeRules,
    ...failureRules,
    ...(harness.again === null ? [] : sharingRules),
  ];
  return rules.map(([name, check]) => ({
    name,
    run: async () => {
      const store = await harness.open();
      try {
        await check({ store, harness });
      } finally {
        await store.close();
      }
    },
  }));
}

// ---- types ------------------------------------------------------------------------------------------------------

const texts: readonly (readonly [string, string])[] = [
  ["empty text", ""],
  ["quotes, question marks and backslashes", `'?' "?" \\ $1 -- ?`],
  ["text beyond the basic plane", "\u{1f30a} ñ \u0301"],
  ["digits", "007"],
  ["JSON", '{"a":[1,null,"\\u0000"]}'],
  ["a megabyte", "x".repeat(1_000_000)],
];
const numbers: readonly (readonly [string, number])[] = [
  ["zero", 0],
  ["an instant", 1_900_000_000_123],
  ["the largest safe integer", Number.MAX_SAFE_INTEGER],
  ["the smallest safe integer", Number.MIN_SAFE_INTEGER],
];

const typeRules: readonly Rule[] = [
  ...texts.map(([name, value]): Rule => [`${name} comes back as it went in`, (scene) => roundTrip(scene, "t", value)]),
  ...numbers.map(([name, value]): Rule => [`${name} comes back as a number`, (scene) => roundTrip(scene, "n", value)]),
  [
    "null comes back as null, from both kinds of column",
    async (scene) => {
      await roundTrip(scene, "t", null);
      await scene.store.write(async (tx) => {
        await tx.run("DELETE FROM kinds");
      });
      await roundTrip(scene, "n", null, false);
    },
  ],
  [
    "counts, sums and comparisons are numbers",
    async ({ store }) => {
      await makeCounters(store, ["a", "b"]);
      const sql =
        "SELECT count(*) AS n, sum(n) AS total, max(n) AS most, CASE WHEN count(*) = 2 THEN 1 ELSE 0 END AS two FROM tally";
      const [row] = await store.read((tx) => tx.all(sql));
      same(row, { n: 2, total: 0, most: 0, two: 1 });
    },
  ],
  [
    "a text with U+0000 or half a character is refused on its way in, never changed; in JSON both come back",
    async (scene) => {
      const { store } = scene;
      await makeCounters(store, ["a"]);
      for (const text of ["\u0000", "a\u0000b", "\ud800", "\udc00a", "\udc00\ud800"]) {
        await fails(
          store.write((tx) => tx.run("INSERT INTO tally (name, n) VALUES (?, 1)", text)),
          "invalid_input",
        );
        await fails(
          store.read((tx) => tx.all("SELECT n FROM tally WHERE name = ?", text)),
          "invalid_input",
        );
      }
      same(await counters(store), { a: 0 });
      await roundTrip(scene, "t", JSON.stringify(["\u0000", "\ud800"]));
    },
  ],
  [
    "an integer beyond 2^53 is refused on its way in",
    async ({ store }) => {
      await makeCounters(store, ["a"]);
      for (const value of [2 ** 53, -(2 ** 53), 2 ** 63, Number.POSITIVE_INFINITY, Number.NaN]) {
        await fails(
          store.write((tx) => tx.run("UPDATE tally SET n = ?", value)),
          "invalid_input",
        );
      }
      same(await readCounter(store, "a"), 0);
    },
  ],
  [
    "an integer beyond 2^53 is refused on its way out, and never rounded",
    async ({ store }) => {
      await makeCounters(store, ["a"]);
      await store.write((tx) => tx.run("UPDATE tally SET n = 9007199254740993"));
      await fails(readCounter(store, "a"));
    },
  ],
  [
    "a text and a number are told apart: 1 does not equal '1' by accident",
    async ({ store }) => {
      await makeKinds(store);
      await store.write((tx) => tx.run("INSERT INTO kinds (t, n) VALUES (?, ?)", "1", 1));
      const [row] = await store.read((tx) => tx.all("SELECT t, n FROM kinds WHERE t = ? AND n = ?", "1", 1));
      same(row, { t: "1", n: 1 });
    },
  ],
  [
    "texts are sorted by code point, whatever the language of the database",
    async ({ store }) => {
      await makeKinds(store);
      const unsorted = ["b", "Z", "a-b", "ab", "ä", "z", "B", "\u{1f30a}", "\ufb01", "_", ""];
      await store.write(async (tx) => {
        for (const text of unsorted) await tx.run("INSERT INTO kinds (t) VALUES (?)", text);
      });
      const rows = await store.read((tx) => tx.all("SELECT t FROM kinds ORDER BY t"));
      const points = (text: string) =>
        [...text].map((each) => each.codePointAt(0)?.toString(16).padStart(6, "0")).join();
      same(
        rows.map(({ t }) => t),
        [...unsorted].sort((a, b) => (points(a) < points(b) ? -1 : 1)),
      );
    },
  ],
];

// ---- statements -------------------------------------------------------------------------------------------------

const statementRules: readonly Rule[] = [
  [
    "a question mark in a string, a quoted name or a comment is no parameter",
    async ({ store }) => {
      const sql = `SELECT '?' AS a, '''?' AS "b?", ? AS c -- ?\n /* ? */ WHERE ? = 2`;
      const [row] = await store.read((tx) => tx.all(sql, "x", 2));
      same(row, { a: "?", "b?": "'?", c: "x" });
    },
  ],
  [
    "a write tells how many rows it changed, a miss tells 0",
    async ({ store }) => {
      await makeCounters(store, ["a", "b", "c"]);
      await store.write(async (tx) => {
        same(await tx.run("UPDATE tally SET n = 1 WHERE name <> ?", "b"), { changes: 2 });
        same(await tx.run("DELETE FROM tally WHERE name = ?", "nobody"), { changes: 0 });
      });
    },
  ],
  [
    "no row is an empty list, and rows keep the order of their columns",
    async ({ store }) => {
      await makeCounters(store, ["a"]);
      await store.read(async (tx) => {
        same(await tx.all("SELECT n FROM tally WHERE name = 'nobody'"), []);
        const [row] = await tx.all("SELECT n, name FROM tally");
        same(Object.keys(row ?? {}), ["n", "name"]);
      });
    },
  ],
  [
    "upserts with a condition, RETURNING, row values and many rows in one statement work",
    async ({ store }) => {
      await makeCounters(store, []);
      const put = `INSERT INTO tally (name, n) VALUES (?, ?), (?, ?)
        ON CONFLICT (name) DO UPDATE SET n = excluded.n WHERE tally.n < excluded.n RETURNING name`;
      await store.write(async (tx) => {
        same((await tx.all(put, "a", 1, "b", 5)).length, 2);
        same(await tx.all(put, "a", 2, "b", 4), [{ name: "a" }]);
        same(await tx.all("SELECT name FROM tally WHERE (name, n) > (?, ?) ORDER BY name", "a", 2), [{ name: "b" }]);
      });
    },
  ],
  [
    "a statement is found again after the tables have changed under it",
    async ({ store }) => {
      await makeCounters(store, ["a"]);
      const columns = async () => Object.keys((await store.read((tx) => tx.all("SELECT * FROM tally")))[0] ?? {});
      same(await columns(), ["name", "n"]);
      same(await columns(), ["name", "n"]);
      await store.write((tx) => tx.run("ALTER TABLE tally ADD COLUMN more text"));
      same(await columns(), ["name", "n", "more"]);
    },
  ],
];

// ---- atomicity and savepoints -----------------------------------------------------------------------------------

const atomicityRules: readonly Rule[] = [
  [
    "a transaction whose work throws leaves nothing, and its caller gets exactly what was thrown",
    async ({ store }) => {
      await makeCounters(store, ["a"]);
      const thrown = new RangeError("enough");
      const ended = await outcome(
        store.write(async (tx) => {
          await tx.run("UPDATE tally SET n = 9");
          throw thrown;
        }),
      );
      same(ended === thrown, true);
      same(await readCounter(store, "a"), 0);
    },
  ],
  [
    "a statement that failed fails its transaction, even where the work goes on as if nothing had happened",
    async ({ store }) => {
      await makeCounters(store, ["a"]);
      await fails(
        store.write(async (tx) => {
          await tx.run("UPDATE tally SET n = 9");
          await outcome(tx.run("INSERT INTO tally (name, n) VALUES ('a', 1)"));
        }),
      );
      same(await readCounter(store, "a"), 0);
    },
  ],
  [
    "what a transaction wrote, it reads",
    async ({ store }) => {
      await makeCounters(store, ["a"]);
      await store.write(async (tx) => {
        await tx.run("UPDATE tally SET n = 7");
        same((await tx.all("SELECT n FROM tally"))[0], { n: 7 });
      });
    },
  ],
  [
    "a statement after the end of its transaction is refused",
    async ({ store }) => {
      await makeCounters(store, ["a"]);
      let kept: Tx | undefined;
      await store.write(async (tx) => {
        kept = tx;
      });
      await fails(kept?.run("UPDATE tally SET n = 9") ?? Promise.resolve());
      same(await readCounter(store, "a"), 0);
    },
  ],
  [
    "a read cannot write",
    async ({ store }) => {
      await makeCounters(store, ["a"]);
      await fails(store.read((tx) => tx.run("UPDATE tally SET n = 9")));
      same(await readCounter(store, "a"), 0);
    },
  ],
];

const savepointRules: readonly Rule[] = [
  [
    "a savepoint whose work throws undoes that part alone",
    async ({ store }) => {
      await makeCounters(store, ["a", "b", "c"]);
      await store.write(async (tx) => {
        await add(tx, "a");
        await outcome(
          tx.savepoint(async () => {
            await add(tx, "b");
            throw new Error("undo");
          }),
        );
        await tx.savepoint(() => add(tx, "c"));
      });
      same(await counters(store), { a: 1, b: 0, c: 1 });
    },
  ],
  [
    "a savepoint undoes a statement that failed, and the transaction goes on",
    async ({ store }) => {
      await makeCounters(store, ["a", "b"]);
      await store.write(async (tx) => {
        await add(tx, "a");
        await fails(tx.savepoint(() => tx.run("INSERT INTO tally (name, n) VALUES ('a', 1)")));
        await add(tx, "b");
      });
      same(await counters(store), { a: 1, b: 1 });
    },
  ],
  [
    "a savepoint fails when a statement in it failed, even where its work goes on",
    async ({ store }) => {
      await makeCounters(store, ["a", "b"]);
      await store.write(async (tx) => {
        const part = tx.savepoint(async () => {
          await add(tx, "a");
          await outcome(tx.run("INSERT INTO tally (name, n) VALUES ('a', 1)"));
        });
        await fails(part);
        await add(tx, "b");
      });
      same(await counters(store), { a: 0, b: 1 });
    },
  ],
  [
    "savepoints in savepoints are undone from the inside out",
    async ({ store }) => {
      await makeCounters(store, ["a", "b", "c"]);
      await store.write(async (tx) => {
        await outcome(
          tx.savepoint(async () => {
            await add(tx, "a");
            await tx.savepoint(() => add(tx, "b"));
            throw new Error("undo both");
          }),
        );
        await tx.savepoint(async () => {
          await add(tx, "c");
          await outcome(
            tx.savepoint(async () => {
              await add(tx, "b");
              throw new Error("undo the inner one");
            }),
          );
        });
      });
      same(await counters(store), { a: 0, b: 0, c: 1 });
    },
  ],
  [
    "an undone savepoint at the end of a transaction stays undone",
    async ({ store }) => {
      await makeCounters(store, ["a", "b"]);
      await store.write(async (tx) => {
        await add(tx, "a");
        await outcome(
          tx.savepoint(async () => {
            await add(tx, "b");
            throw new Error("undo");
          }),
        );
      });
      same(await counters(store), { a: 1, b: 0 });
    },
  ],
];
