// Owns what the store makes of a PostgreSQL that dies, hangs or throws it out, with a real one and a proxy that loses its answers.
// Leaves what holds in peace to store.pg.test.ts.
import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import type { HoldfastError } from "../../src/errors.ts";
import type { PostgresOptions } from "../../src/server/postgres.ts";
import { openPostgres } from "../../src/server/postgres.ts";
import type { ServerStore, Tx, WriteOptions } from "../../src/server/store.ts";
import { everySpace } from "../../src/server/store.ts";
import type { Cluster } from "../support/postgres.ts";
import { startPostgres } from "../support/postgres.ts";
import { startProxy } from "../support/postgres-proxy.ts";
import { until } from "../support/processes.ts";

let cluster: Cluster;
beforeAll(async () => {
  cluster = await startPostgres({ isDurable: true });
});
afterAll(() => cluster.stop());
afterEach(() => expect(unhandled).toEqual([]));

const unhandled: unknown[] = [];
process.on("uncaughtException", (error) => unhandled.push(error));

async function openStore(url: string, options: Partial<PostgresOptions> = {}): Promise<ServerStore> {
  const store = await openPostgres({ url, ...options });
  onTestFinished(() => store.close());
  return store;
}

const tables = `CREATE TABLE effect (id text NOT NULL, n bigint NOT NULL); CREATE TABLE receipt (id text PRIMARY KEY, n bigint NOT NULL);
  CREATE TABLE head (n bigint NOT NULL); INSERT INTO head VALUES (0)`;

async function newDatabase(): Promise<string> {
  const url = await cluster.createDatabase();
  const store = await openPostgres({ url });
  await store.migrate([tables]);
  await store.close();
  return url;
}

async function newProxied(options: Partial<PostgresOptions> = {}) {
  const proxy = await startProxy(await newDatabase());
  onTestFinished(() => proxy.close());
  return { proxy, store: await openStore(proxy.url, options) };
}

/** A push in small: the receipt is looked for and written in the transaction of the effect. */
async function pushIn(store: ServerStore, tx: Tx, id: string): Promise<"applied" | "duplicate"> {
  const [head] = await tx.all(`SELECT n FROM head${store.dialect.forUpdate}`);
  const [receipt] = await tx.all("SELECT n FROM receipt WHERE id = ?", id);
  if (receipt !== undefined) return "duplicate";
  const next = Number(head?.n) + 1;
  await tx.run("INSERT INTO effect (id, n) VALUES (?, ?)", id, next);
  await tx.run("INSERT INTO receipt (id, n) VALUES (?, ?)", id, next);
  await tx.run("UPDATE head SET n = ?", next);
  return "applied";
}

const push = (store: ServerStore, id: string, options: WriteOptions = { isRepeatable: true }) =>
  store.write((tx) => pushIn(store, tx, id), options);

const effectsOf = (store: ServerStore) => store.read((tx) => tx.all("SELECT id, n FROM effect ORDER BY n"));
const failureOf = (task: Promise<unknown>): Promise<HoldfastError> =>
  task.then(
    () => Promise.reject(new Error("it should have failed")),
    (error: HoldfastError) => error,
  );

/** Throws everybody out of the database of this store but the one who asks. */
const throwOut = (store: ServerStore) =>
  store.read((tx) =>
    tx.all(
      "SELECT pg_terminate_backend(pid) AS gone FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
    ),
  );

describe("a connection that is lost during the commit", () => {
  test("leaves a commit that never arrived undone, and says that nobody knows", async () => {
    const { proxy, store } = await newProxied();
    proxy.set("lose commit");
    const failure = await failureOf(push(store, "a", {}));
    expect([failure.code, failure.details]).toEqual(["io_failed", { commit: "unknown" }]);
    expect(await effectsOf(store)).toEqual([]);
  });

  test("does not undo a commit whose answer was lost, and says that nobody knows; the caller's repetition is a duplicate", async () => {
    const { proxy, store } = await newProxied();
    proxy.set("lose answer");
    const failure = await failureOf(push(store, "a", {}));
    expect([failure.code, failure.details]).toEqual(["io_failed", { commit: "unknown" }]);
    expect(await push(store, "a")).toBe("duplicate");
    expect(await effectsOf(store)).toEqual([{ id: "a", n: 1 }]);
  });

  test("is tried again by the store where the work is repeatable: applied once, whether it had arrived or not", async () => {
    const { proxy, store } = await newProxied();
    proxy.set("lose commit");
    expect(await push(store, "a")).toBe("applied");
    proxy.set("lose answer");
    expect(await push(store, "b")).toBe("duplicate");
    expect(await effectsOf(store)).toEqual([
      { id: "a", n: 1 },
      { id: "b", n: 2 },
    ]);
  });
});

describe("a connection that is lost inside a transaction", () => {
  test("is noticed between two statements: the work runs again and no statement slips out of its transaction", async () => {
    const url = await newDatabase();
    const [store, other] = [await openStore(url, { connections: 1 }), await openStore(url)];
    let runs = 0;
    const ended = await store.write(async (tx) => {
      runs += 1;
      await tx.run("INSERT INTO effect (id, n) VALUES ('first', ?)", runs);
      if (runs === 1) {
        await throwOut(other);
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      await tx.run("INSERT INTO effect (id, n) VALUES ('second', ?)", runs);
      return runs;
    });
    expect(ended).toBe(2);
    expect(await effectsOf(store)).toEqual([
      { id: "first", n: 2 },
      { id: "second", n: 2 },
    ]);
  });

  test("is not hidden by a savepoint that swallows its failure", async () => {
    const url = await newDatabase();
    const [store, other] = [await openStore(url), await openStore(url)];
    let runs = 0;
    await store.write(async (tx) => {
      runs += 1;
      await tx.run("INSERT INTO effect (id, n) VALUES ('kept', ?)", runs);
      const part = tx.savepoint(async () => {
        if (runs === 1) await throwOut(other);
        await tx.run("INSERT INTO effect (id, n) VALUES ('part', ?)", runs);
      });
      await part.catch(() => {});
    });
    expect(await effectsOf(store)).toEqual([
      { id: "kept", n: 2 },
      { id: "part", n: 2 },
    ]);
  });

  test("costs nothing when it was idle", async () => {
    const url = await newDatabase();
    const [store, other] = [await openStore(url), await openStore(url)];
    for (let round = 0; round < 5; round += 1) {
      await Promise.all(Array.from({ length: 10 }, (_, index) => push(store, `${round}-${index}`, {})));
      await throwOut(other);
    }
    expect((await effectsOf(store)).map(({ n }) => n)).toEqual(Array.from({ length: 50 }, (_, index) => index + 1));
  });
});

describe("a database", () => {
  test("that is killed and started again under two hundred pushes loses none and applies none twice", async () => {
    const url = await newDatabase();
    const store = await openStore(url);
    const pushing = Promise.all(Array.from({ length: 200 }, (_, index) => push(store, `op-${index}`)));
    await new Promise((resolve) => setTimeout(resolve, 30));
    await cluster.kill();
    await cluster.start();
    const answers = await pushing;
    expect(answers.filter((answer) => answer !== "applied" && answer !== "duplicate")).toEqual([]);
    const effects = await effectsOf(store);
    expect(effects.map(({ n }) => n)).toEqual(Array.from({ length: 200 }, (_, index) => index + 1));
    expect(new Set(effects.map(({ id }) => id)).size).toBe(200);
  });

  test("that stays away fails what asks for it in time, and serves again when it is back", async () => {
    const store = await openStore(await newDatabase(), { retryMs: 300 });
    await cluster.kill();
    const startedAt = performance.now();
    expect((await failureOf(push(store, "a"))).code).toBe("io_failed");
    expect((await failureOf(effectsOf(store))).code).toBe("io_failed");
    // In the time that it was given, and not in the 15 s that each has without.
    expect(performance.now() - startedAt).toBeLessThan(15_000);
    await cluster.start();
    expect(await push(store, "a")).toBe("applied");
  });

  test("that falls silent is given up after its time, and asked again on a new connection", async () => {
    const { proxy, store } = await newProxied({ statementTimeoutMs: 200, retryMs: 20_000 });
    expect(await push(store, "a")).toBe("applied");
    proxy.set("silence");
    const asked = push(store, "b");
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    proxy.set("pass");
    expect(await asked).toBe("applied");
    expect((await effectsOf(store)).length).toBe(2);
  });

  test("whose door accepts and hangs up is not asked in a hot loop", async () => {
    const { proxy, store } = await newProxied({ retryMs: 1_000, connections: 1 });
    proxy.set("hang up");
    expect((await failureOf(openPostgres({ url: proxy.url }))).code).toBe("io_failed");
    expect(proxy.count()).toBeLessThan(5);
    // The one connection kills itself.
    expect((await failureOf(store.read((tx) => tx.all("SELECT pg_terminate_backend(pg_backend_pid())")))).code).toBe(
      "io_failed",
    );
    expect(proxy.count()).toBeLessThan(100);
    proxy.set("pass");
    expect(await push(store, "a")).toBe("applied");
  });

  test("that takes few connections serves a store that would like more", async () => {
    const url = await newDatabase();
    const owner = await openStore(url);
    const role = `few${Date.now()}`;
    await owner.write(async (tx) => {
      await tx.run(`CREATE ROLE ${role} LOGIN PASSWORD 'few' CONNECTION LIMIT 2`);
      await tx.run(`GRANT ALL ON ALL TABLES IN SCHEMA public TO ${role}`);
    });
    const address = new URL(url);
    [address.username, address.password] = [role, "few"];
    const store = await openStore(address.href, { connections: 8 });
    const answers = await Promise.all(Array.from({ length: 60 }, (_, index) => push(store, `op-${index}`)));
    expect(answers.every((answer) => answer === "applied")).toBe(true);
  });
});

describe("limits", () => {
  test("a statement that takes too long is stopped and named so, a wait for a lock included", async () => {
    const url = await newDatabase();
    const store = await openStore(url, { statementTimeoutMs: 200 });
    expect((await failureOf(store.read((tx) => tx.all("SELECT pg_sleep(30)")))).code).toBe("timed_out");
    const patient = await openStore(url);
    await patient.write(async (tx) => {
      await pushIn(patient, tx, "a");
      expect((await failureOf(push(store, "b", {}))).code).toBe("timed_out");
    });
    expect(await push(store, "b")).toBe("applied");
  });

  test("work that finds all connections busy for too long is refused and named so", async () => {
    const store = await openStore(await newDatabase(), { connections: 1, waitMs: 100 });
    await store.read(async () => {
      expect((await failureOf(effectsOf(store))).code).toBe("timed_out");
    });
    expect(await effectsOf(store)).toEqual([]);
  });

  test("a close lets running transactions end and refuses new ones", async () => {
    const url = await newDatabase();
    const store = await openStore(url);
    let isInside = false;
    const running = store.write(async (tx) => {
      isInside = true;
      await new Promise((resolve) => setTimeout(resolve, 200));
      return pushIn(store, tx, "a");
    });
    await until(() => isInside, "the work runs");
    const closing = store.close();
    expect((await failureOf(effectsOf(store))).code).toBe("engine_closed");
    expect(await running).toBe("applied");
    await closing;
    expect(await effectsOf(await openStore(url))).toEqual([{ id: "a", n: 1 }]);
  });

  test("what was planned for a table as it was is planned again", async () => {
    const url = await newDatabase();
    const [store, other] = [await openStore(url, { connections: 1 }), await openStore(url)];
    const look = () => store.write((tx) => tx.all("SELECT * FROM head"));
    for (let round = 0; round < 3; round += 1) await look();
    await other.migrate([tables, "ALTER TABLE head ADD COLUMN more text"]);
    expect(await look()).toEqual([{ n: 0, more: null }]);
  });
});

describe("an address", () => {
  test("with a wrong password, an unknown database or nobody behind it fails at once with what is wrong", async () => {
    const url = await cluster.createDatabase();
    const codeOf = async (part: "password" | "pathname" | "port", value: string) => {
      const other = new URL(url);
      other[part] = value;
      return (await failureOf(openPostgres({ url: other.href }))).code;
    };
    expect(await codeOf("password", "wrong")).toBe("config_invalid");
    expect(await codeOf("pathname", "/nowhere")).toBe("config_invalid");
    expect(await codeOf("port", "1")).toBe("io_failed");
  });

  test("that cannot be read is refused without being shown", async () => {
    const failure = await failureOf(openPostgres({ url: "postgres://me:top%secret@host:99999999/name" }));
    expect(failure.code).toBe("config_invalid");
    expect(JSON.stringify([failure, failure.message, String(failure.cause)])).not.toContain("secret");
  });
});

describe("the connection for pokes", () => {
  test("comes back by itself and then says that every space may have moved; later pokes arrive", async () => {
    const url = await newDatabase();
    const [store, other] = [await openStore(url), await openStore(url)];
    const heard: (readonly [string, number])[] = [];
    store.onPoke((space, head) => heard.push([space, head]));
    const everythings = () => heard.filter(([space]) => space === everySpace).length;
    await until(() => everythings() === 1, "it listens");
    await throwOut(other);
    await until(() => everythings() === 2, "it listens again");
    await cluster.kill();
    await cluster.start();
    await until(() => everythings() === 3, "it listens to the new server");
    await other.poke("kitchen", 7);
    await until(() => heard.some(([space, head]) => space === "kitchen" && head === 7), "the poke arrives");
  });

  test("is noticed to be dead when the network only falls silent", async () => {
    const { proxy, store } = await newProxied({ heartbeatMs: 200 });
    const heard: string[] = [];
    store.onPoke((space) => heard.push(space));
    await until(() => heard.length === 1, "it listens");
    proxy.set("silence");
    await new Promise((resolve) => setTimeout(resolve, 500));
    proxy.set("pass");
    await until(() => heard.length === 2, "it listens again");
  });

  test("takes no harm from what others send on its channel", async () => {
    const url = await newDatabase();
    const [store, other] = [await openStore(url), await openStore(url)];
    const heard: (readonly [string, number])[] = [];
    store.onPoke((space, head) => heard.push([space, head]));
    await until(() => heard.length === 1, "it listens");
    const garbage = ["", "{}", "[", '["x",[["space"]]]', '["x",[["space","1"]]]', '["x",[null]]', '[1,[["space",1]]]'];
    for (const payload of garbage) await other.read((tx) => tx.all("SELECT pg_notify('holdfast_poke', ?)", payload));
    await other.poke("kitchen", 1);
    await until(() => heard.length > 1, "the poke arrives");
    expect(heard.slice(1)).toEqual([["kitchen", 1]]);
  });
});
