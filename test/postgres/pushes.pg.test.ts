// Owns that pushes that share a transaction on PostgreSQL lose and double nothing when it is cut off, wherever that happens.
// Leaves what shares a transaction to src/server/pushes.test.ts, and whole processes that die to writers.pg.test.ts.
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, expect, onTestFinished, test } from "vitest";
import { openPostgres } from "../../src/server/postgres.ts";
import type { ServerStore } from "../../src/server/store.ts";
import type { PushAnswer } from "../../src/wire.ts";
import type { Cluster } from "../support/postgres.ts";
import { startPostgres } from "../support/postgres.ts";
import type { Mood } from "../support/postgres-proxy.ts";
import { startProxy } from "../support/postgres-proxy.ts";
import { until } from "../support/processes.ts";
import type { TestServer } from "../support/sync-server.ts";
import { closeServers, openTestServer } from "../support/sync-server.ts";

let cluster: Cluster;
beforeAll(async () => {
  cluster = await startPostgres({ isDurable: true });
});
afterAll(() => cluster.stop());
afterEach(closeServers);

const count = 40;

/** Counts transactions, so that a test knows that pushes did share one. */
async function openCounting(url: string) {
  const store = await openPostgres({ url });
  const { read, write } = store;
  const counted = { writes: 0, runs: 0, reads: 0, openReads: 0 };
  Object.assign(store, {
    read: (async (work) => {
      counted.reads += 1;
      counted.openReads += 1;
      try {
        return await read(work);
      } finally {
        counted.openReads -= 1;
      }
    }) as ServerStore["read"],
    write: (async (work, options) => {
      counted.writes += 1;
      return write((tx) => {
        counted.runs += 1;
        return work(tx);
      }, options);
    }) as ServerStore["write"],
  });
  const server = await openTestServer({ store, limits: { requestsPerSecond: 1e9, burst: 1e9 } });
  await server.push({ kind: "create", key: "first" }, { id: randomUUID(), number: 1 });
  Object.assign(counted, { writes: 0, runs: 0, reads: 0 });
  return { server, counted };
}

/** Another connection that is not the server's. */
async function openOther(url: string): Promise<ServerStore> {
  const store = await openPostgres({ url });
  onTestFinished(() => store.close());
  return store;
}

const pushOne = (server: TestServer, id: string): Promise<PushAnswer> =>
  server.push(
    [
      { kind: "create", key: `${id}-a` },
      { kind: "create", key: `${id}-b` },
    ],
    { id, client: id, number: 1 },
  );

const ids = Array.from({ length: count }, (_, index) => `op-${index}`);

async function expectOnce(store: ServerStore, answers: readonly PushAnswer[]): Promise<void> {
  expect(answers.map(({ id }) => id)).toEqual(ids);
  expect(answers.filter(({ outcome }) => outcome !== "applied" && outcome !== "duplicate")).toEqual([]);
  const rows = await store.read((tx) => tx.all("SELECT key, version FROM hf_record ORDER BY version"));
  expect(rows.map(({ version }) => version)).toEqual(Array.from({ length: 2 * count + 1 }, (_, index) => index + 1));
  const versions = new Map(rows.map(({ key, version }) => [key, version]));
  for (const answer of answers) {
    if (answer.outcome !== "applied" && answer.outcome !== "duplicate") continue;
    for (const { key, version } of answer.changes) expect(version).toBe(versions.get(key));
  }
  const receipts = await store.read((tx) => tx.all("SELECT count(*) AS n, count(DISTINCT id) AS ids FROM hf_receipt"));
  expect(receipts).toEqual([{ n: count + 1, ids: count + 1 }]);
}

const throwOut = `SELECT pg_terminate_backend(pid) AS gone FROM pg_stat_activity
  WHERE datname = current_database() AND pid <> ALL (ARRAY[pg_backend_pid(), ?])`;

test("a connection that is thrown out while a shared transaction waits or writes loses no push and applies none twice", async () => {
  const url = await cluster.createDatabase();
  const [{ server, counted }, holder, axe] = [await openCounting(url), await openOther(url), await openOther(url)];
  let answered: Promise<readonly PushAnswer[]> = Promise.resolve([]);
  await holder.write(async (tx) => {
    const [me] = await tx.all("SELECT pg_backend_pid() AS pid FROM hf_space FOR UPDATE");
    answered = Promise.all(ids.map((id) => pushOne(server, id)));
    for (let blow = 1; blow <= 3; blow += 1) {
      await until(() => counted.runs >= blow, "the transaction waits for the space");
      await sleep(30);
      await axe.read((other) => other.all(throwOut, Number(me?.pid)));
    }
  });
  // The space is free: from here on it is cut off wherever it happens to be.
  for (let blow = 0; blow < 4; blow += 1) {
    await sleep(3);
    await axe.read((other) => other.all(throwOut, 0));
  }
  await expectOnce(axe, await answered);
  expect(counted.runs).toBeGreaterThan(counted.writes);
  expect(counted.writes).toBeLessThan(count / 2);
});

test.each<Mood>(["lose commit", "lose answer"])(
  "a shared transaction whose commit is cut off (%s) is run again for all of its pushes, and each lands once",
  async (mood) => {
    const direct = await cluster.createDatabase();
    const proxy = await startProxy(direct);
    onTestFinished(() => proxy.close());
    const { server, counted } = await openCounting(proxy.url);
    const [holder, other] = [await openOther(direct), await openOther(direct)];
    let answered: Promise<readonly PushAnswer[]> = Promise.resolve([]);
    await holder.write(async (tx) => {
      await tx.all("SELECT name FROM hf_space FOR UPDATE");
      answered = Promise.all(ids.map((id) => pushOne(server, id)));
      await until(() => counted.runs > 0, "the transaction waits for the space");
      // The next commit is to be that of the pushes, so the reads of all of them have to be through.
      await until(() => counted.reads >= count && counted.openReads === 0, "all pushes stand in line");
      await sleep(200);
      proxy.set(mood);
    });
    const answers = await answered;
    await expectOnce(other, answers);
    expect([counted.writes, counted.runs]).toEqual([1, 2]);
    expect(new Set(answers.map(({ outcome }) => outcome))).toEqual(
      new Set([mood === "lose commit" ? "applied" : "duplicate"]),
    );
  },
);

test("pushes through two processes at once share transactions in each, and the versions of the space have no gap", async () => {
  const url = await cluster.createDatabase();
  const first = await openCounting(url);
  const second = await openTestServer({
    store: await openPostgres({ url }),
    limits: { requestsPerSecond: 1e9, burst: 1e9 },
  });
  const servers = [
    first.server,
    { ...second, push: (...asked: Parameters<TestServer["push"]>) => pushTo(second, first.server, asked) },
  ];
  const answers = await Promise.all(ids.map((id, index) => pushOne(servers[index % 2] as TestServer, id)));
  await expectOnce(first.server.store, answers);
  expect(first.counted.writes).toBeLessThan(count / 2);
});

/** The second process knows the token of the first: they share the database. */
const pushTo = (
  to: TestServer,
  { token }: TestServer,
  [edits, more]: Parameters<TestServer["push"]>,
): Promise<PushAnswer> => to.push(edits, { ...more, token });

test("a space that stays locked for too long fails the pushes that wait for it in time, and they land when sent again", async () => {
  const url = await cluster.createDatabase();
  const statementTimeoutMs = 300;
  const store = await openPostgres({ url, statementTimeoutMs });
  const server = await openTestServer({ store });
  await server.push({ kind: "create", key: "first" }, { id: "first" });
  const holder = await openOther(url);
  await holder.write(async (tx) => {
    await tx.all("SELECT name FROM hf_space FOR UPDATE");
    const startedAt = performance.now();
    const ended = await Promise.allSettled(ids.map((id) => pushOne(server, id)));
    // Together, and not each after the one before it.
    expect(performance.now() - startedAt).toBeLessThan(ids.length * statementTimeoutMs);
    expect(ended.map((each) => (each.status === "rejected" ? String(each.reason) : "answered"))).toEqual(
      ids.map(() => expect.stringContaining("timed_out")),
    );
  });
  await expectOnce(holder, await Promise.all(ids.map((id) => pushOne(server, id))));
});
