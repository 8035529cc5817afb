/**
 * Owns the rules of the store's contract about others: transactions that meet, processes that share a database, pokes, migrations, failures.
 * It leaves what one transaction does to `server-store-contract.ts`.
 */
import { everySpace } from "../server/store.ts";
import { pause, until } from "./contract.ts";
import type { Heard, Rule } from "./server-store-scene.ts";
import {
  add,
  counters,
  fails,
  makeCounters,
  named,
  outcome,
  readCounter,
  same,
  takeNext,
  withMore,
} from "./server-store-scene.ts";

// ---- isolation --------------------------------------------------------------------------------------------------

export const isolationRules: readonly Rule[] = [
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
            (await tx.all("SELECT n FROM tally WHERE name = 'a'"))[0]?.n,
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
        same((await tx.all("SELECT n FROM tally"))[0], { n: 0 });
        await Promise.race([takeNext(store, "a"), pause(200)]);
        same((await tx.all("SELECT n FROM tally"))[0], { n: 0 });
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
            await tx.all(`SELECT n FROM tally WHERE name = ?${store.dialect.forUpdate}`, name);
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

export const migrationRules: readonly Rule[] = [
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

export const pokeRules: readonly Rule[] = [
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

export const sharingRules: readonly Rule[] = [
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

export const failureRules: readonly Rule[] = [
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
