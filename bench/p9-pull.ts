// Owns bar P9: pulling many rows from the sync server over HTTP into the engine, against a stream of lines put into SQLite, in time and in
// memory; RxDB and PouchDB pull the same rows beside it. Leaves the clients to support/pull-clients.ts, each a process of its own.

import { fork, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { openServerStore } from "../src/node/server-store.ts";
import { newToken, newWire, startServerProcess } from "../test/support/servers.ts";
import { missingPeers } from "./support/install.ts";
import { spreadOf } from "./support/measure.ts";
import type { PullClient, Pulled, PullTask } from "./support/pull-clients.ts";
import { collection, keyOf, rowOf, space } from "./support/pull-rows.ts";
import { newDirectory } from "./support/stores.ts";
import type { Measure, Row, Scope, Spread } from "./support/types.ts";

/** Changes of one operation and operations of one push, while the server is filled. */
const batch = { changes: 100, operations: 20 } as const;

type Source = { readonly url: string; readonly token: string; readonly stop: () => Promise<void> };
type Sources = { readonly plain: Source; readonly ours: Source };

/** Our server on its embedded database, with everything pushed to it over HTTP. */
async function startOurs(directory: string, rows: number): Promise<Source> {
  const place = { kind: "embedded", directory } as const;
  const store = await openServerStore(place);
  const token = await newToken(store);
  await store.close();
  const server = await startServerProcess(place);
  const wire = newWire(() => server.url, token);
  const client = randomUUID();
  for (let from = 1, number = 1; from <= rows; from += batch.changes * batch.operations) {
    const firsts = Array.from({ length: batch.operations }, (_, index) => from + index * batch.changes);
    const items = firsts
      .filter((first) => first <= rows)
      .map((first) => {
        const numbers = Array.from({ length: Math.min(batch.changes, rows - first + 1) }, (_, index) => first + index);
        const changes = numbers.map((n) => ({
          ...{ collection, key: keyOf(n), kind: "create" as const, base: 0, schema: 1 },
          fields: rowOf(n),
        }));
        number += 1;
        return { id: randomUUID(), number, at: Date.now(), changes };
      });
    const { answers } = await wire.push({ space, client, floor: 0, items });
    if (answers.some(({ outcome }) => outcome !== "applied")) throw new Error("the server did not take all rows");
  }
  return { url: server.url, token, stop: server.kill };
}

async function startPlain(directory: string, rows: number): Promise<Source> {
  const file = join(import.meta.dirname, "support", "pull-source.ts");
  const child = fork(file, [join(directory, "source.db"), String(rows)], { execArgv: ["--no-warnings"] });
  const port = await new Promise((resolve, reject) => {
    child.once("message", resolve);
    child.once("exit", (code) => reject(new Error(`the plain server ended with exit code ${code}`)));
  });
  const stop = (): Promise<void> =>
    new Promise((resolve) => {
      child.once("exit", () => resolve());
      child.kill("SIGKILL");
    });
  return { url: `http://127.0.0.1:${port}`, token: "", stop };
}

/** One pull in a process of its own, into a directory that goes with it. */
async function runClient(client: PullClient, { scope, sources, rows }: Bench): Promise<Pulled> {
  const directory = newDirectory(scope.directory, client);
  const { url, token } = client === "holdfast" ? sources.ours : sources.plain;
  const task: PullTask = { client, url, token, directory, rows };
  const file = join(import.meta.dirname, "support", "pull-clients.ts");
  // With the types stripped and the sources compiled before, a client holds what an installed package would.
  const env = { ...process.env, NODE_COMPILE_CACHE: join(scope.directory, "compiled") };
  const child = spawn(process.execPath, ["--no-warnings", file, JSON.stringify(task)], {
    env,
    stdio: ["ignore", "pipe", "inherit"],
  });
  let said = "";
  child.stdout.on("data", (chunk: Buffer) => {
    said += chunk.toString();
  });
  const code = await new Promise((resolve) => child.once("close", resolve));
  rmSync(directory, { recursive: true, force: true });
  if (code !== 0) throw new Error(`${client} ended with exit code ${code}`);
  return JSON.parse(said.trim().split("\n").pop() ?? "") as Pulled;
}

type Bench = { readonly scope: Scope; readonly sources: Sources; readonly rows: number };

const peerNames = { rxdb: "RxDB in memory", pouchdb: "PouchDB on LevelDB, not synced" } as const;

/** Turns round by round; a peer is so slow that it takes few of them. The first round warms up and is thrown away. */
async function measureAll(bench: Bench): Promise<ReadonlyMap<PullClient, readonly Pulled[]>> {
  const { isQuick, isSlowDisk } = bench.scope;
  const rounds = isQuick ? 3 : 7;
  const hasPeers = !isSlowDisk && missingPeers() === null;
  const taken = new Map<PullClient, Pulled[]>();
  const take = async (client: PullClient): Promise<void> => {
    taken.set(client, [...(taken.get(client) ?? []), await runClient(client, bench)]);
  };
  for (const client of ["limit", "holdfast"] as const) await runClient(client, bench);
  for (let round = 0; round < rounds; round += 1) {
    await take("limit");
    await take("holdfast");
    if (hasPeers && round < 2) await take("rxdb");
    if (hasPeers && round < 1) await take("pouchdb");
  }
  return taken;
}

const spreadBy = (pulled: readonly Pulled[], value: (each: Pulled) => number): Spread => spreadOf(pulled.map(value));

/** Round by round, the limit divided by a client. */
function limitBy(taken: ReadonlyMap<PullClient, readonly Pulled[]>, client: PullClient): Spread {
  const limit = taken.get("limit") ?? [];
  const ratios = (taken.get(client) ?? []).map(({ ms }, round) => (limit[round]?.ms ?? Number.NaN) / ms);
  return spreadOf(ratios);
}

function rowsOf(taken: ReadonlyMap<PullClient, readonly Pulled[]>): readonly Row[] {
  return [...taken].flatMap(([client, pulled]) => {
    const label =
      client === "limit" ? "stream of lines into SQLite" : client === "holdfast" ? client : peerNames[client];
    const isPeer = client === "rxdb" || client === "pouchdb";
    const ratio: Row = { label: `stream of lines / ${label}`, spread: limitBy(taken, client), unit: "x" };
    return [
      { label, spread: spreadBy(pulled, ({ ms }) => ms), unit: "ms" },
      { label: `${label}, peak memory`, spread: spreadBy(pulled, ({ peakBytes }) => peakBytes / 1e6), unit: "MB" },
      ...(isPeer ? [ratio] : []),
    ] satisfies readonly Row[];
  });
}

export const measure: Measure = async (scope) => {
  const rows = scope.isQuick ? 20_000 : 100_000;
  const directory = newDirectory(scope.directory, "p9");
  mkdirSync(join(directory, "server"));
  const plain = await startPlain(directory, rows);
  const ours = await startOurs(join(directory, "server"), rows);
  try {
    const taken = await measureAll({ scope, sources: { plain, ours }, rows });
    const limit = taken.get("limit") ?? [];
    const memory = (taken.get("holdfast") ?? []).map(
      ({ peakBytes }, round) => peakBytes / (limit[round]?.peakBytes ?? Number.NaN),
    );
    const missing = missingPeers();
    return {
      figures: [
        { key: "P9", label: "stream of lines into SQLite / holdfast", ratio: limitBy(taken, "holdfast") },
        { key: "P9-memory", label: "peak memory: holdfast / stream of lines", ratio: spreadOf(memory) },
      ],
      rows: rowsOf(taken),
      notes: [
        `${rows.toLocaleString("en")} rows`,
        ...(missing === null ? [] : [`without RxDB and PouchDB, because ${missing}`]),
      ],
    };
  } finally {
    await plain.stop();
    await ours.stop();
  }
};
