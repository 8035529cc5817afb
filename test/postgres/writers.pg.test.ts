// Owns many writers and readers on several server processes over one PostgreSQL, while servers, connections and the database are killed.
// Leaves what one server answers to server.pg.test.ts.
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { openPostgres } from "../../src/server/postgres.ts";
import { migrationsFor } from "../../src/server/schema.ts";
import type { ServerStore } from "../../src/server/store.ts";
import type { WireRecord } from "../../src/wire.ts";
import type { Cluster } from "../support/postgres.ts";
import { startPostgres } from "../support/postgres.ts";
import { freePort } from "../support/processes.ts";
import type { ServerProcess, Wire } from "../support/servers.ts";
import { creation, newToken, newWire, startServerProcess } from "../support/servers.ts";

let cluster: Cluster;
beforeAll(async () => {
  cluster = await startPostgres({ isDurable: true });
});
afterAll(() => cluster.stop());

const space = "kitchen";
const size = { servers: 3, writers: 16, pushes: 24, readers: 4 } as const;
const random = (below: number): number => Math.floor(Math.random() * below);

/** Versions per operation, as the writers were told. */
type Told = Map<string, readonly number[]>;

async function write(wire: Wire, told: Told): Promise<void> {
  const client = randomUUID();
  let number = 1;
  for (let push = 0; push < size.pushes; push += 1) {
    const items = Array.from({ length: 1 + random(4) }, () => {
      const keys = Array.from({ length: 1 + random(3) }, () => randomUUID());
      return creation(randomUUID(), number++, keys);
    });
    const { answers } = await wire.push({ space, client, floor: items[0]?.number ?? 0, items });
    for (const answer of answers) {
      if (answer.outcome !== "applied" && answer.outcome !== "duplicate") throw new Error(JSON.stringify(answer));
      told.set(
        answer.id,
        answer.changes.map(({ version }) => version),
      );
    }
  }
}

/** Follows the cursor to the head, and goes on until `isDone` and nothing is left. Fails at the first version that it was not shown. */
async function follow(wire: Wire, isDone: () => boolean): Promise<readonly WireRecord[]> {
  const seen: WireRecord[] = [];
  let [after, history] = [0, ""];
  for (;;) {
    const wasDone = isDone();
    const page = await wire.pull({ space, history, wants: [{ collection: "notes", after }], limit: 1 + random(60) });
    if (page.reset !== undefined) throw new Error(`reset: ${page.reset.reason}`);
    for (const record of page.records) {
      if (record.version !== seen.length + 1) throw new Error(`${record.version} came after ${seen.length}`);
      seen.push(record);
    }
    if (page.upTo !== seen.length) throw new Error(`the cursor moved to ${page.upTo}, ${seen.length} were shown`);
    [after, history] = [page.upTo, page.history];
    if (wasDone && !page.hasMore) return seen;
    if (!page.hasMore) await sleep(5);
  }
}

async function startAll(url: string): Promise<ServerProcess[]> {
  const servers = await Promise.all(
    Array.from({ length: size.servers }, () => startServerProcess({ kind: "postgres", url })),
  );
  onTestFinished(async () => {
    await Promise.all(servers.map((server) => server.kill()));
  });
  return servers;
}

async function openAdmin(): Promise<{ readonly store: ServerStore; readonly url: string; readonly token: string }> {
  const url = await cluster.createDatabase();
  const store = await openPostgres({ url, connections: 2 });
  onTestFinished(() => store.close());
  await store.migrate(migrationsFor(store.dialect));
  return { store, url, token: await newToken(store) };
}

const terminate = `SELECT pg_terminate_backend(pid) AS gone FROM pg_stat_activity
  WHERE datname = current_database() AND pid <> pg_backend_pid()`;

async function expectWhole(store: ServerStore, told: Told, readers: readonly (readonly WireRecord[])[]): Promise<void> {
  const rows = await store.read((tx) => tx.all("SELECT version FROM hf_record ORDER BY version"));
  const [head] = await store.read((tx) => tx.all("SELECT head FROM hf_space"));
  const all = Array.from({ length: Number(head?.head) }, (_, index) => index + 1);
  expect(rows.map(({ version }) => version)).toEqual(all);
  expect([...told.values()].flat().sort((a, b) => a - b)).toEqual(all);
  const receipts = await store.read((tx) => tx.all("SELECT id, count(*) AS n FROM hf_receipt GROUP BY id"));
  expect(receipts.filter(({ n }) => n !== 1)).toEqual([]);
  expect(new Set(receipts.map(({ id }) => id))).toEqual(new Set(told.keys()));
  for (const seen of readers) expect(seen.map(({ version }) => version)).toEqual(all);
}

test("writers and readers on three processes: versions are gapless, no cursor skips a commit, every operation has one receipt", async () => {
  const { store, url, token } = await openAdmin();
  const servers = await startAll(url);
  const wire = newWire(() => servers[random(servers.length)]?.url ?? "", token);
  const told: Told = new Map();
  let isDone = false;
  const reading = Promise.all(Array.from({ length: size.readers }, () => follow(wire, () => isDone)));
  const writing = Promise.all(Array.from({ length: size.writers }, () => write(wire, told)));
  await writing.finally(() => {
    isDone = true;
  });
  await expectWhole(store, told, await reading);
});

test("the same holds while servers are killed, connections are cut and the database is killed and restarted", async () => {
  const { store, url, token } = await openAdmin();
  const ports = await Promise.all(Array.from({ length: size.servers }, () => freePort()));
  const servers = await startAll(url);
  const place = { kind: "postgres", url } as const;
  const wire = newWire(() => servers[random(servers.length)]?.url ?? "", token);
  const told: Told = new Map();
  let isDone = false;
  const reading = Promise.all(Array.from({ length: size.readers }, () => follow(wire, () => isDone)));
  const writing = Promise.all(Array.from({ length: size.writers }, () => write(wire, told))).finally(() => {
    isDone = true;
  });
  const replace = async (index: number): Promise<void> => {
    await servers[index]?.kill();
    servers[index] = await startServerProcess(place, ports[index]);
  };
  const blows: readonly (() => Promise<unknown>)[] = [
    () => replace(0),
    () => store.read((tx) => tx.all(terminate)),
    () => replace(1),
    () => cluster.kill().then(cluster.start),
    () => replace(2),
    () => store.read((tx) => tx.all(terminate)),
    () => cluster.shutDown().then(cluster.start),
    () => Promise.all([replace(0), replace(1)]),
  ];
  let struck = 0;
  for (const blow of blows) {
    await sleep(100 + random(150));
    if (isDone) break;
    await blow();
    struck += 1;
  }
  await writing;
  await expectWhole(store, told, await reading);
  console.log(`${struck} blows, ${wire.repeated()} requests were sent again, ${told.size} operations`);
  expect(struck).toBeGreaterThanOrEqual(4);
  expect(wire.repeated()).toBeGreaterThan(0);
});
