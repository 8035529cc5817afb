/**
 * Owns the contract that every store of the sync server passes: SQLite in a file, PostgreSQL, and anybody's own.
 * It leaves running the cases to any test runner, and what the server stores to the server's own tests.
 */
import type { ErrorCode } from "../errors.ts";
import { assert, isCode } from "../errors.ts";
import type { ServerRow, ServerStore, SqlParameter, Tx } from "../server/store.ts";
import { everySpace } from "../server/store.ts";

/** How the cases get at an implementation. */
export type ServerStoreHarness = {
  /** Opens a store on a new, empty database. */
  readonly open: () => Promise<ServerStore>;
  /** Opens the database of the last `open` once more, as another process does; `null` where only one process may have it open. */
  readonly again: (() => Promise<ServerStore>) | null;
};

export type StoreContractCase = { readonly name: string; readonly run: () => Promise<void> };

type Scene = { readonly store: ServerStore; readonly harness: ServerStoreHarness };
type Rule = readonly [name: string, check: (scene: Scene) => Promise<void>];

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
        "SELECT count(*) AS n, sum(n) AS total, max(n) AS most, CASE WHEN count(*) = 2 THEN 1 ELSE 0 END AS two FROM counter";
      const [row] = await store.read((tx) => tx.all(sql));
      same(row, { n: 2, total: 0, most: 0, two: 1 });
    },
  ],
  [
    "an integer beyond 2^53 is refused on its way in",
    async ({ store }) => {
      await makeCounters(store, ["a"]);
      for (const value of [2 ** 53, -(2 ** 53), 2 ** 63, Number.POSITIVE_INFINITY, Number.NaN]) {
        await fails(
          store.write((tx) => tx.run("UPDATE counter SET n = ?", value)),
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
      await store.write((tx) => tx.run("UPDATE counter SET n = 9007199254740993"));
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
        same(await tx.run("UPDATE counter SET n = 1 WHERE name <> ?", "b"), { changes: 2 });
        same(await tx.run("DELETE FROM counter WHERE name = ?", "nobody"), { changes: 0 });
      });
    },
  ],
  [
    "no row is an empty list, and rows keep the order of their columns",
    async ({ store }) => {
      await makeCounters(store, ["a"]);
      await store.read(async (tx) => {
        same(await tx.all("SELECT n FROM counter WHERE name = 'nobody'"), []);
        const [row] = await tx.all("SELECT n, name FROM counter");
        same(Object.keys(row ?? {}), ["n", "name"]);
      });
    },
  ],
  [
    "upserts with a condition, RETURNING, row values and many rows in one statement work",
    async ({ store }) => {
      await makeCounters(store, []);
      const put = `INSERT INTO counter (name, n) VALUES (?, ?), (?, ?)
        ON CONFLICT (name) DO UPDATE SET n = excluded.n WHERE counter.n < excluded.n RETURNING name`;
      await store.write(async (tx) => {
        same((await tx.all(put, "a", 1, "b", 5)).length, 2);
        same(await tx.all(put, "a", 2, "b", 4), [{ name: "a" }]);
        same(await tx.all("SELECT name FROM counter WHERE (name, n) > (?, ?) ORDER BY name", "a", 2), [{ name: "b" }]);
      });
    },
  ],
  [
    "a statement is found again after the tables have changed under it",
    async ({ store }) => {
      await makeCounters(store, ["a"]);
      const columns = async () => Object.keys((await store.read((tx) => tx.all("SELECT * FROM counter")))[0] ?? {});
      same(await columns(), ["name", "n"]);
      same(await columns(), ["name", "n"]);
      await store.write((tx) => tx.run("ALTER TABLE counter ADD COLUMN more text"));
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
          await tx.run("UPDATE counter SET n = 9");
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
          await tx.run("UPDATE counter SET n = 9");
          await outcome(tx.run("INSERT INTO counter (name, n) VALUES ('a', 1)"));
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
        await tx.run("UPDATE counter SET n = 7");
        same((await tx.all("SELECT n FROM counter"))[0], { n: 7 });
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
      await fails(kept?.run("UPDATE counter SET n = 9") ?? Promise.resolve());
      same(await readCounter(store, "a"), 0);
    },
  ],
  [
    "a read cannot write",
    async ({ store }) => {
      await makeCounters(store, ["a"]);
      await fails(store.read((tx) => tx.run("UPDATE counter SET n = 9")));
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
        await fails(tx.savepoint(() => tx.run("INSERT INTO counter (name, n) VALUES ('a', 1)")));
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
          await outcome(tx.run("INSERT INTO counter (name, n) VALUES ('a', 1)"));
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

// ---- isolation --------------------------------------------------------------------------------------------------

const isolationRules: readonly Rule[] = [
  [
    "two hundred transactions at once that read a locked row and write it lose and skip nothing",
    async ({ store }) => {
      await makeCounters(store, ["a"]);
      const seen = await Promise.all(Array.from({ length: 200 }, () => takeNext(store, "a")));
      same(
        [...seen].sort((x, y) => x - y),
        Array.from({ length: 200 }, (_, index) => index + 1),
      );
    },
  ],
  [
    "numbers that were taken and rolled back are given again: no gaps",
    async ({ store }) => {
      await makeCounters(store, ["a"]);
      const taken = await Promise.all(
        Array.from({ length: 90 }, (_, index) => outcome(takeNext(store, "a", index % 3 === 0))),
      );
      const kept = taken.filter((each) => typeof each === "number").sort((x, y) => x - y);
      same(
        kept,
        Array.from({ length: 60 }, (_, index) => index + 1),
      );
    },
  ],
  [
    "a reader that sees a number sees everything that was written with the numbers below it",
    async ({ store }) => {
      await makeCounters(store, ["a"]);
      await store.write((tx) => tx.run("CREATE TABLE feed (version bigint NOT NULL PRIMARY KEY)"));
      let isWriting = true;
      const writing = Promise.all(Array.from({ length: 120 }, () => takeNext(store, "a", false, true)));
      const reading = (async () => {
        let looks = 0;
        while (isWriting) {
          const [head, feed] = await store.read(async (tx) => [
            (await tx.all("SELECT n FROM counter WHERE name = 'a'"))[0]?.n,
            await tx.all("SELECT version FROM feed ORDER BY version"),
          ]);
          same(
            feed.map(({ version }) => version),
            Array.from({ length: Number(head) }, (_, index) => index + 1),
          );
          looks += 1;
          await pause(1);
        }
        return looks;
      })();
      await writing.finally(() => {
        isWriting = false;
      });
      same((await reading) > 0, true);
    },
  ],
  [
    "a read stays on one snapshot while others write",
    async ({ store }) => {
      await makeCounters(store, ["a"]);
      await store.read(async (tx) => {
        same((await tx.all("SELECT n FROM counter"))[0], { n: 0 });
        await Promise.race([takeNext(store, "a"), pause(200)]);
        same((await tx.all("SELECT n FROM counter"))[0], { n: 0 });
      });
      await until(async () => (await readCounter(store, "a")) === 1);
    },
  ],
  [
    "transactions that lock two rows in opposite order both come through",
    async ({ store }) => {
      await makeCounters(store, ["a", "b"]);
      const both = (names: readonly string[]) =>
        store.write(async (tx) => {
          for (const name of names) {
            await tx.all(`SELECT n FROM counter WHERE name = ?${store.dialect.forUpdate}`, name);
            await add(tx, name);
            await pause(20);
          }
        });
      await Promise.all([both(["a", "b"]), both(["b", "a"]), both(["a", "b"]), both(["b", "a"])]);
      same(await counters(store), { a: 4, b: 4 });
    },
  ],
];

// ---- migrations -------------------------------------------------------------------------------------------------

const firstMigration = "CREATE TABLE m (a bigint); INSERT INTO m VALUES (1); CREATE INDEX m_a ON m (a)";
const secondMigration = "ALTER TABLE m ADD COLUMN b text; UPDATE m SET b = 'x'";

const migrationRules: readonly Rule[] = [
  [
    "migrations run once each, in order, with several statements in one",
    async ({ store }) => {
      await store.migrate([firstMigration]);
      await store.migrate([firstMigration]);
      await store.migrate([firstMigration, secondMigration]);
      await store.migrate([firstMigration, secondMigration]);
      same(await store.read((tx) => tx.all("SELECT a, b FROM m")), [{ a: 1, b: "x" }]);
    },
  ],
  [
    "a migration that fails leaves the database as it was",
    async ({ store }) => {
      await store.migrate([firstMigration]);
      await fails(store.migrate([firstMigration, "INSERT INTO m VALUES (2); CREATE TABLE m (again text)"]));
      same(await store.read((tx) => tx.all("SELECT a FROM m")), [{ a: 1 }]);
      await store.migrate([firstMigration, secondMigration]);
      same(await store.read((tx) => tx.all("SELECT b FROM m")), [{ b: "x" }]);
    },
  ],
  [
    "a database of a newer server is refused and left alone",
    async ({ store }) => {
      await store.migrate([firstMigration, secondMigration]);
      await fails(store.migrate([firstMigration]), "database_newer");
      same(await store.read((tx) => tx.all("SELECT b FROM m")), [{ b: "x" }]);
    },
  ],
];

// ---- pokes ------------------------------------------------------------------------------------------------------

type Heard = readonly (readonly [space: string, head: number])[];

const pokeRules: readonly Rule[] = [
  [
    "a poke reaches every listener of this process, and none after it has left",
    async ({ store }) => {
      const heard: Heard[number][][] = [[], []];
      const leave = heard.map((list) => store.onPoke((space, head) => list.push([space, head])));
      await store.poke("kitchen", 1);
      await until(async () => heard.every((list) => named(list).length === 1));
      leave[0]?.();
      await store.poke("kitchen", 2);
      await until(async () => named(heard[1] ?? []).length === 2);
      same(named(heard[0] ?? []), [["kitchen", 1]]);
    },
  ],
];

const sharingRules: readonly Rule[] = [
  [
    "five processes that start together migrate once",
    async ({ store, harness }) => {
      await withMore(harness, 4, async (others) => {
        const plan = [firstMigration, secondMigration];
        await Promise.all([store, ...others].map((each) => each.migrate(plan)));
        same(await store.read((tx) => tx.all("SELECT a, b FROM m")), [{ a: 1, b: "x" }]);
      });
    },
  ],
  [
    "four processes that count at once lose and skip nothing",
    async ({ store, harness }) => {
      await makeCounters(store, ["a"]);
      await withMore(harness, 3, async (others) => {
        const stores = [store, ...others];
        const seen = await Promise.all(stores.flatMap((each) => Array.from({ length: 50 }, () => takeNext(each, "a"))));
        same(
          [...seen].sort((x, y) => x - y),
          Array.from({ length: 200 }, (_, index) => index + 1),
        );
      });
    },
  ],
  [
    "a poke reaches the other processes once, and of many pokes the newest head arrives",
    async ({ store, harness }) => {
      await withMore(harness, 2, async (others) => {
        const heard: Heard[number][][] = others.map(() => []);
        others.forEach((other, index) => void other.onPoke((space, head) => heard[index]?.push([space, head])));
        await until(async () => heard.every((list) => list.some(([space]) => space === everySpace)));
        await store.poke("garden ünder '?'", 1);
        await until(async () => heard.every((list) => named(list).length === 1));
        await Promise.all(Array.from({ length: 500 }, (_, index) => store.poke("kitchen", index + 1)));
        await until(async () =>
          heard.every((list) => list.some(([space, head]) => space === "kitchen" && head === 500)),
        );
        same(
          heard.map((list) => named(list)[0]),
          others.map(() => ["garden ünder '?'", 1]),
        );
      });
    },
  ],
  [
    "pokes of thousands of long-named spaces arrive, all of them",
    async ({ store, harness }) => {
      await withMore(harness, 1, async ([other]) => {
        const heard: Heard[number][] = [];
        other?.onPoke((space, head) => heard.push([space, head]));
        await until(async () => heard.length > 0);
        await Promise.all(Array.from({ length: 2_000 }, (_, index) => store.poke(`${"ü".repeat(190)}${index}`, index)));
        await until(async () => new Set(named(heard).map(([space]) => space)).size === 2_000);
      });
    },
  ],
];

// ---- failures ---------------------------------------------------------------------------------------------------

const failureRules: readonly Rule[] = [
  [
    "a statement that the database does not understand is a HoldfastError",
    async ({ store }) => {
      await fails(
        store.read((tx) => tx.all("SELECT nothing FROM nowhere")),
        "internal",
      );
      await fails(
        store.write((tx) => tx.run("NO SQL")),
        "internal",
      );
    },
  ],
  [
    "the store works on after a failure",
    async ({ store }) => {
      await makeCounters(store, ["a"]);
      for (let round = 0; round < 30; round += 1) await fails(store.write((tx) => tx.run("NO SQL")));
      same(await takeNext(store, "a"), 1);
    },
  ],
  [
    "a closed store says so, and closing twice is harmless",
    async ({ store }) => {
      await store.close();
      await store.close();
      await fails(
        store.read((tx) => tx.all("SELECT 1 AS one")),
        "engine_closed",
      );
      await fails(
        store.write((tx) => tx.all("SELECT 1 AS one")),
        "engine_closed",
      );
      await store.poke("kitchen", 1);
    },
  ],
];

// ---- helpers ----------------------------------------------------------------------------------------------------

async function makeKinds(store: ServerStore): Promise<void> {
  await store.write((tx) => tx.run(`CREATE TABLE kinds (t ${store.dialect.text}, n ${store.dialect.bigint})`));
}

async function roundTrip({ store }: Scene, column: "t" | "n", value: SqlParameter, isNew = true): Promise<void> {
  if (isNew) await makeKinds(store);
  await store.write((tx) => tx.run(`INSERT INTO kinds (${column}) VALUES (?)`, value));
  const rows = await store.read((tx) => tx.all(`SELECT ${column} AS v FROM kinds`));
  same(rows, [{ v: value }]);
}

async function makeCounters(store: ServerStore, names: readonly string[]): Promise<void> {
  const { bigint, text } = store.dialect;
  await store.write(async (tx) => {
    await tx.run(`CREATE TABLE counter (name ${text} NOT NULL PRIMARY KEY, n ${bigint} NOT NULL)`);
    for (const name of names) await tx.run("INSERT INTO counter (name, n) VALUES (?, 0)", name);
  });
}

async function add(tx: Tx, name: string): Promise<void> {
  await tx.run("UPDATE counter SET n = n + 1 WHERE name = ?", name);
}

/** Takes the next number as a push does: lock, read, write. */
async function takeNext(store: ServerStore, name: string, isUndone = false, isFed = false): Promise<number> {
  return store.write(async (tx) => {
    const [row] = await tx.all(`SELECT n FROM counter WHERE name = ?${store.dialect.forUpdate}`, name);
    const next = Number(row?.n) + 1;
    if (isFed) await tx.run("INSERT INTO feed (version) VALUES (?)", next);
    await tx.run("UPDATE counter SET n = ? WHERE name = ?", next, name);
    if (isUndone) throw new Error("undo");
    return next;
  });
}

async function readCounter(store: ServerStore, name: string): Promise<number> {
  const [row] = await store.read((tx) => tx.all("SELECT n FROM counter WHERE name = ?", name));
  return Number(row?.n);
}

async function counters(store: ServerStore): Promise<Readonly<Record<string, number>>> {
  const rows: readonly ServerRow[] = await store.read((tx) => tx.all("SELECT name, n FROM counter ORDER BY name"));
  return Object.fromEntries(rows.map(({ name, n }) => [String(name), Number(n)]));
}

const named = (heard: Heard): Heard => heard.filter(([space]) => space !== everySpace);

async function withMore(
  harness: ServerStoreHarness,
  count: number,
  check: (stores: readonly ServerStore[]) => Promise<void>,
): Promise<void> {
  const { again } = harness;
  assert(again !== null, "a case that opens a database twice runs only where that is possible");
  const stores = await Promise.all(Array.from({ length: count }, () => again()));
  try {
    await check(stores);
  } finally {
    await Promise.all(stores.map((store) => store.close()));
  }
}

async function outcome<T>(task: Promise<T>): Promise<T | unknown> {
  return task.catch((error: unknown) => error);
}

async function fails(task: Promise<unknown>, code?: ErrorCode): Promise<void> {
  const ended = await task.then(
    () => undefined,
    (error: unknown) => error,
  );
  if (!(ended instanceof Error)) throw new Error("it should have failed");
  if (code !== undefined && !isCode(ended, code)) throw new Error(`expected ${code}, got ${ended}`);
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

async function until(isTrue: () => Promise<boolean>): Promise<void> {
  const giveUpAt = performance.now() + 10_000;
  while (!(await isTrue())) {
    if (performance.now() > giveUpAt) throw new Error("waited 10 s in vain");
    await pause(5);
  }
}

function same(actual: unknown, expected: unknown): void {
  const [left, right] = [JSON.stringify(actual), JSON.stringify(expected)];
  if (left !== right) throw new Error(`expected ${right?.slice(0, 300)}, got ${left?.slice(0, 300)}`);
}
