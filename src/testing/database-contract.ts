/**
 * Owns the contract that every SQLite implementation under the engine passes: ours in Node, in a browser, and anybody's own.
 * It leaves running the cases to any test runner, and what the engine stores to the engine's own tests.
 */
import type { Database, GuardedQuery, GuardedRows, SqlValue } from "../database.ts";
import { tickFunction } from "../database.ts";
import { assert, isCode } from "../errors.ts";

/** How the cases get at an implementation. Each case opens what it needs and closes it. */
export type DatabaseHarness = {
  /** Opens a new, empty store. */
  readonly open: () => Database | Promise<Database>;
  /** Opens the store of the last `open` once more, beside it or after it was closed; `null` where a store cannot outlive it. */
  readonly reopen: (() => Database | Promise<Database>) | null;
  /** True where two connections may be open at once, with a busy timeout of at most a second. */
  readonly isShared: boolean;
};

export type ContractCase = { readonly name: string; readonly run: () => Promise<void> };

type Scene = { readonly db: Database; readonly harness: DatabaseHarness };
type Rule = readonly [name: string, check: (scene: Scene) => void | Promise<void>];

/**
 * The contract as named cases.
 * @example
 * const harness = { open: () => openDatabase(":memory:"), reopen: null, isShared: false };
 * for (const { name, run } of databaseContract(harness)) test(name, run);
 */
export function databaseContract(harness: DatabaseHarness): readonly ContractCase[] {
  const rules = [
    ...valueRules,
    ...statementRules,
    ...transactionRules,
    ...failureRules,
    ...guardRules,
    ...(harness.reopen === null ? [] : durabilityRules),
    ...(harness.reopen !== null && harness.isShared ? sharingRules : []),
  ];
  return rules.map(([name, check]) => ({
    name,
    run: async () => {
      const db = await harness.open();
      try {
        await check({ db, harness });
      } finally {
        db.close();
      }
    },
  }));
}

const values: readonly (readonly [string, SqlValue])[] = [
  ["empty text", ""],
  ["text beyond the basic plane", "\u{1f30a} ñ \u0301"],
  ["long text", "x".repeat(1_000_000)],
  ["zero", 0],
  ["the largest safe integer", Number.MAX_SAFE_INTEGER],
  ["the smallest safe integer", Number.MIN_SAFE_INTEGER],
  ["a fraction", 0.1],
  ["null", null],
  ["bytes", Uint8Array.of(0, 1, 254, 255)],
  ["no bytes", new Uint8Array(0)],
];

const valueRules: readonly Rule[] = [
  ...values.map(
    ([name, value]): Rule => [
      `${name} comes back as it went in`,
      ({ db }) => {
        db.exec("CREATE TABLE t (v)");
        db.prepare("INSERT INTO t VALUES (?)").run(value);
        same(db.prepare("SELECT v FROM t").get()?.v, value);
      },
    ],
  ),
  [
    "a row is an ordinary object with its columns in order",
    ({ db }) => {
      const row = db.prepare("SELECT 1 AS a, 'x' AS b").get() ?? {};
      same(Object.getPrototypeOf(row) === Object.prototype, true);
      same(Object.keys(row).join(), "a,b");
    },
  ],
  [
    "an integer column keeps millisecond instants exact",
    ({ db }) => {
      db.exec("CREATE TABLE t (at INTEGER NOT NULL)");
      db.prepare("INSERT INTO t VALUES (?)").run(1_900_000_000_123);
      same(db.prepare("SELECT at + 1 AS at FROM t").get()?.at, 1_900_000_000_124);
    },
  ],
];

const statementRules: readonly Rule[] = [
  [
    "parameters go by position, and a text may be prepared again and again",
    ({ db }) => {
      for (let round = 0; round < 3; round += 1) {
        same(db.prepare("SELECT ? - ? AS d").get(round + 5, 2)?.d, round + 3);
      }
    },
  ],
  [
    "a write tells how many rows it changed, a miss tells 0",
    ({ db }) => {
      db.exec("CREATE TABLE t (a); INSERT INTO t VALUES (1), (2), (3)");
      same(db.prepare("UPDATE t SET a = a + 1 WHERE a > ?").run(1).changes, 2);
      same(db.prepare("DELETE FROM t WHERE a = ?").run(99).changes, 0);
    },
  ],
  [
    "no row is undefined for get and an empty list for all",
    ({ db }) => {
      db.exec("CREATE TABLE t (a)");
      same(db.prepare("SELECT a FROM t").get(), undefined);
      same(db.prepare("SELECT a FROM t").all().length, 0);
    },
  ],
  [
    "exec runs several statements, triggers with semicolons inside included",
    ({ db }) => {
      db.exec(`CREATE TABLE t (a); CREATE TABLE n (c); INSERT INTO n VALUES (0);
        CREATE TRIGGER grow AFTER INSERT ON t BEGIN UPDATE n SET c = c + 1; UPDATE n SET c = c + 10; END;
        INSERT INTO t VALUES (1);`);
      same(db.prepare("SELECT c FROM n").get()?.c, 11);
    },
  ],
  [
    "upserts, RETURNING, WITHOUT ROWID tables and partial indexes work",
    ({ db }) => {
      db.exec("CREATE TABLE t (k TEXT PRIMARY KEY, n INTEGER) WITHOUT ROWID; CREATE INDEX p ON t (n) WHERE n > 0");
      const put = "INSERT INTO t VALUES (?, 1) ON CONFLICT (k) DO UPDATE SET n = n + 1 RETURNING n";
      same(db.prepare(put).get("a")?.n, 1);
      same(db.prepare(put).get("a")?.n, 2);
      const plan = db.prepare("EXPLAIN QUERY PLAN SELECT k FROM t WHERE n > 0 ORDER BY n LIMIT 1").all();
      same(JSON.stringify(plan).includes("INDEX p"), true);
    },
  ],
  [
    "a statement prepared before a change of the schema still works after it",
    ({ db }) => {
      db.exec("CREATE TABLE t (a); INSERT INTO t VALUES (1)");
      const select = db.prepare("SELECT * FROM t");
      same(Object.keys(select.get() ?? {}).join(), "a");
      db.exec("ALTER TABLE t ADD COLUMN b DEFAULT 2");
      same(select.get()?.b, 2);
    },
  ],
  [
    "foreign keys are not enforced: the engine keeps its own references",
    ({ db }) => {
      db.exec(
        "CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE c (p REFERENCES p (id)); INSERT INTO c VALUES (7)",
      );
      same(db.prepare("SELECT p FROM c").get()?.p, 7);
    },
  ],
];

const transactionRules: readonly Rule[] = [
  [
    "a rolled back transaction leaves nothing",
    ({ db }) => {
      db.exec("CREATE TABLE t (a)");
      db.prepare("BEGIN IMMEDIATE").run();
      db.prepare("INSERT INTO t VALUES (1)").run();
      db.prepare("ROLLBACK").run();
      same(countOf(db), 0);
    },
  ],
  [
    "a savepoint is rolled back alone, the rest of its transaction commits",
    ({ db }) => {
      db.exec("CREATE TABLE t (a); BEGIN IMMEDIATE; INSERT INTO t VALUES (1)");
      db.exec("SAVEPOINT s; INSERT INTO t VALUES (2); ROLLBACK TO s; RELEASE s");
      db.exec("SAVEPOINT s; INSERT INTO t VALUES (3); RELEASE s; COMMIT");
      same(JSON.stringify(db.prepare("SELECT a FROM t ORDER BY a").all()), '[{"a":1},{"a":3}]');
    },
  ],
  [
    "a refused statement leaves its transaction open and the earlier ones in it",
    ({ db }) => {
      db.exec("CREATE TABLE t (a UNIQUE); BEGIN IMMEDIATE; INSERT INTO t VALUES (1)");
      throwsFailure(() => db.prepare("INSERT INTO t VALUES (?)").run(1));
      db.exec("INSERT INTO t VALUES (2); COMMIT");
      same(countOf(db), 2);
    },
  ],
];

const failureRules: readonly Rule[] = [
  [
    "a statement that SQLite refuses is a HoldfastError",
    ({ db }) => {
      throwsFailure(() => db.prepare("SELECT nothing FROM nowhere"));
      throwsFailure(() => db.exec("NOT SQL"));
    },
  ],
  [
    "a closed database says so, and closing twice is harmless",
    ({ db }) => {
      const select = db.prepare("SELECT 1 AS one");
      db.close();
      db.close();
      const failures = [() => db.exec("SELECT 1"), () => db.prepare("SELECT 2"), () => select.get()].map(failureOf);
      same(
        failures.every((failure) => isCode(failure, "engine_closed")),
        true,
      );
    },
  ],
  ["a store that was opened for writing says so", ({ db }) => same(db.isReadOnly, false)],
];

/** Rules of `query`; a database without it has nothing to guard and passes. */
const guardRules: readonly Rule[] = [
  guardRule("a guarded query reads its views, with parameters, columns in order", (ask) => {
    const { columns, rows, isTruncated } = ask("SELECT b, a FROM seen WHERE a >= ? ORDER BY a DESC", [2]);
    same(JSON.stringify([columns, rows, isTruncated]), '[["b","a"],[["x3",3],["x2",2]],false]');
    same(ask("WITH w AS (SELECT max(a) AS m FROM seen) SELECT m FROM w, seen;  -- done").rows.length, 3);
  }),
  guardRule("a guarded query stops at its rows and says so", (ask) => {
    const { rows, isTruncated } = ask("SELECT s.a FROM seen AS s, seen AS t ORDER BY 1", [], { maxRows: 4 });
    same(`${rows.length} ${isTruncated}`, "4 true");
    same(ask("SELECT a FROM seen", [], { maxRows: 3 }).isTruncated, false);
    same(ask("SELECT hex(zeroblob(500)) FROM seen", [], { maxBytes: 900 }).rows.length, 1);
  }),
  guardRule("a guarded query sees no table, no schema, no setting and no file", (ask) => {
    for (const sql of strangers) refuses(() => ask(sql), sql);
  }),
  guardRule("a guarded query changes nothing", (ask, db) => {
    for (const sql of changes) refuses(() => ask(sql), sql);
    same(JSON.stringify(db.prepare("SELECT count(*) AS n, max(a) AS most FROM t").all()), '[{"n":3,"most":3}]');
    same(db.prepare("SELECT count(*) AS n FROM sqlite_schema").get()?.n, 2);
    same(db.prepare("SELECT count(*) AS n FROM sqlite_temp_schema").get()?.n, 0);
    db.exec("BEGIN IMMEDIATE; INSERT INTO t VALUES (4, 'x4'); COMMIT");
    same(ask("SELECT count(*) FROM seen").rows[0]?.[0], 4);
  }),
  guardRule("a guarded query that would run on is stopped", (ask) => {
    const cross = Array.from({ length: 18 }, (_, index) => `seen AS s${index}`).join(", ");
    const failure = failureOf(() => ask(`SELECT count(*) FROM ${cross}`, [], { timeoutMs: 100 }));
    same(isCode(failure, "timed_out"), true);
    const endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    refuses(() => ask(endless), endless);
    same(ask("SELECT 1").rows.length, 1);
  }),
  guardRule("a whole number beyond 2^53 comes as its digits", (ask) => {
    same(ask("SELECT 9007199254740993").rows[0]?.[0], "9007199254740993");
  }),
];

const strangers = [
  "SELECT count(*) FROM secret",
  "SELECT * FROM t",
  "SELECT * FROM main.t",
  "SELECT * FROM main.seen",
  "SELECT * FROM secret",
  "SELECT (SELECT s FROM secret) FROM seen",
  "SELECT a FROM seen WHERE EXISTS (SELECT 1 FROM secret)",
  "WITH seen AS (SELECT * FROM t) SELECT * FROM seen",
  "WITH seen AS (SELECT s AS a FROM secret) SELECT a FROM seen",
  "SELECT * FROM sqlite_schema",
  "SELECT * FROM sqlite_master",
  "SELECT * FROM sqlite_temp_schema",
  "SELECT * FROM temp.sqlite_temp_master",
  "SELECT * FROM pragma_table_info('t')",
  "SELECT * FROM pragma_database_list",
  "SELECT * FROM dbstat",
  "PRAGMA table_info(t)",
  "PRAGMA database_list",
  "PRAGMA query_only = 0",
  "PRAGMA user_version",
  "SELECT load_extension('x')",
  "ATTACH ':memory:' AS other",
  "",
  " -- nothing",
  "SELECT 1; SELECT 2",
  "SELECT 1; DROP TABLE t",
  "SELECT 1) UNION SELECT s FROM secret; --",
];

const changes = [
  "INSERT INTO t VALUES (9, 'x')",
  "INSERT INTO t VALUES (9, 'x') RETURNING a",
  "UPDATE t SET a = 9",
  "DELETE FROM t RETURNING a",
  "WITH w AS (SELECT 1) DELETE FROM t",
  "DELETE FROM seen",
  "DROP TABLE t",
  "CREATE TABLE made (a)",
  "CREATE TEMP TABLE made (a)",
  "CREATE TEMP VIEW made AS SELECT 1",
  "ALTER TABLE t ADD COLUMN c",
  "VACUUM",
  "VACUUM INTO '/tmp/holdfast-contract-vacuum.db'",
  "REINDEX",
  "ANALYZE",
  "BEGIN",
  "COMMIT",
  "SAVEPOINT s",
  "PRAGMA user_version = 5",
  "PRAGMA journal_mode = DELETE",
];

type Ask = (sql: string, parameters?: readonly SqlValue[], limits?: Partial<GuardedQuery>) => GuardedRows;

/** Two tables, one of which a view shows. */
function guardRule(name: string, check: (ask: Ask, db: Database) => void): Rule {
  return [
    name,
    ({ db }) => {
      const { query } = db;
      if (query === undefined) return;
      db.exec("CREATE TABLE t (a, b); INSERT INTO t VALUES (1, 'x1'), (2, 'x2'), (3, 'x3'); CREATE TABLE secret (s)");
      const views = [{ name: "seen", sql: `SELECT a, b FROM main.t WHERE t.a > 0 AND ${tickFunction}(t.rowid)` }];
      const standard = { parameters: [], views, maxRows: 1_000, maxBytes: 1_000_000, timeoutMs: 10_000 };
      check((sql, parameters = [], limits = {}) => query({ ...standard, sql, parameters, ...limits }), db);
    },
  ];
}

function refuses(task: () => unknown, sql: string): void {
  const failure = failureOf(task);
  if (!isCode(failure, "invalid_input")) throw new Error(`${sql} was not refused as invalid_input: ${failure}`);
}

const durabilityRules: readonly Rule[] = [
  [
    "what was committed is there after a close",
    async ({ db, harness }) => {
      db.exec("CREATE TABLE t (a)");
      for (let a = 0; a < 100; a += 1) db.prepare("INSERT INTO t VALUES (?)").run(a);
      db.close();
      await withSecond(harness, (again) => same(countOf(again), 100));
    },
  ],
  [
    "what was not committed is gone after a close",
    async ({ db, harness }) => {
      db.exec("CREATE TABLE t (a); BEGIN IMMEDIATE; INSERT INTO t VALUES (1)");
      db.close();
      await withSecond(harness, (again) => same(countOf(again), 0));
    },
  ],
  [
    "user_version and application_id are kept",
    async ({ db, harness }) => {
      db.exec("PRAGMA user_version = 7; PRAGMA application_id = 1213156420");
      db.close();
      await withSecond(harness, (again) => {
        same(again.prepare("PRAGMA user_version").get()?.user_version, 7);
        same(again.prepare("PRAGMA application_id").get()?.application_id, 1_213_156_420);
      });
    },
  ],
];

const sharingRules: readonly Rule[] = [
  [
    "a second connection sees what the first one committed, and only that",
    async ({ db, harness }) => {
      db.exec("CREATE TABLE t (a); INSERT INTO t VALUES (1); BEGIN IMMEDIATE; INSERT INTO t VALUES (2)");
      await withSecond(harness, (second) => {
        same(countOf(second), 1);
        db.exec("COMMIT");
        same(countOf(second), 2);
      });
    },
  ],
  [
    "a reader keeps its snapshot while another connection commits",
    async ({ db, harness }) => {
      db.exec("CREATE TABLE t (a); INSERT INTO t VALUES (1)");
      await withSecond(harness, (second) => {
        second.exec("BEGIN");
        same(countOf(second), 1);
        db.exec("INSERT INTO t VALUES (2)");
        same(countOf(second), 1);
        second.exec("COMMIT");
        same(countOf(second), 2);
      });
    },
  ],
  [
    "a writer that waited too long for another one fails with database_busy and can try again",
    async ({ db, harness }) => {
      db.exec("CREATE TABLE t (a); BEGIN IMMEDIATE");
      await withSecond(harness, (second) => {
        same(
          isCode(
            failureOf(() => second.exec("BEGIN IMMEDIATE")),
            "database_busy",
          ),
          true,
        );
        db.exec("COMMIT");
        second.exec("BEGIN IMMEDIATE; INSERT INTO t VALUES (1); COMMIT");
        same(countOf(db), 1);
      });
    },
  ],
];

async function withSecond(harness: DatabaseHarness, check: (second: Database) => void): Promise<void> {
  assert(harness.reopen !== null, "a case that opens a store twice runs only where that is possible");
  const second = await harness.reopen();
  try {
    check(second);
  } finally {
    second.close();
  }
}

function countOf(db: Database): SqlValue | undefined {
  return db.prepare("SELECT count(*) AS n FROM t").get()?.n;
}

function failureOf(task: () => unknown): unknown {
  try {
    task();
  } catch (error) {
    return error;
  }
  throw new Error("it should have failed");
}

function throwsFailure(task: () => unknown): void {
  const failure = failureOf(task);
  if (!(failure instanceof Error && failure.name === "HoldfastError")) throw new Error(`no HoldfastError: ${failure}`);
}

function same(actual: unknown, expected: unknown): void {
  const isEqual =
    actual instanceof Uint8Array && expected instanceof Uint8Array
      ? actual.length === expected.length && actual.every((byte, index) => byte === expected[index])
      : Object.is(actual, expected);
  if (!isEqual) throw new Error(`expected ${String(expected).slice(0, 200)}, got ${String(actual).slice(0, 200)}`);
}
