// Owns bar P9: pulling many rows from the sync server over HTTP into the engine, against a stream of lines put into SQLite, in time and in
// memory; RxDB and PouchDB pull the same rows beside it. Leaves the clients to support/pull-clients.ts and pushing to p9-push.ts.

import { randomUUID } from "node:crypto";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { newWire } from "../test/support/servers.ts";
import { measurePush } from "./p9-push.ts";
import { missingPeers } from "./support/install.ts";
import { spreadOf } from "./support/measure.ts";
import type { PullClient, Pulled, PullTask } from "./support/pull-clients.ts";
import { collection, keyOf, rowOf, space } from "./support/pull-rows.ts";
import type { Source, Sources } from "./support/replication.ts";
import { peerNames, runClient, startOurs, startPlain } from "./support/replication.ts";
import { newDirectory } from "./support/stores.ts";
import type { Measure, Measured, Row, Scope, Spread } from "./support/types.ts";

/** Changes of one operation and operations of one push, while the server is filled. */
const batch = { changes: 100, operations: 20 } as const;

/** Everything is pushed to our server over HTTP. */
async function fillServer({ url, token }: Source, rows: number): Promise<void> {
  const wire = newWire(() => url, token);
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
}

type Bench = { readonly scope: Scope; readonly sources: Sources; readonly rows: number };

/** One pull in a process of its own. */
function pull(client: PullClient, { scope, sources, rows }: Bench): Promise<Pulled> {
  const { url, token } = client === "holdfast" ? sources.ours : sources.plain;
  const task: Omit<PullTask, "directory"> = { client, url, token, rows };
  return runClient<Pulled>("pull-clients.ts", scope, task);
}

/** Turns round by round; a peer is so slow that it takes few of them. The first round warms up and is thrown away. */
async function measureAll(bench: Bench): Promise<ReadonlyMap<PullClient, readonly Pulled[]>> {
  const { isQuick, isSlowDisk } = bench.scope;
  const rounds = isQuick ? 3 : 7;
  const hasPeers = !isSlowDisk && missingPeers() === null;
  const taken = new Map<PullClient, Pulled[]>();
  const take = async (client: PullClient): Promise<void> => {
    taken.set(client, [...(taken.get(client) ?? []), await pull(client, bench)]);
  };
  for (const client of ["limit", "holdfast"] as const) await pull(client, bench);
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
  const pulled = await measurePull(scope);
  const pushed = await measurePush(scope);
  return {
    ...pulled,
    rows: [...pulled.rows, ...pushed.rows],
    notes: [...(pulled.notes ?? []), ...(pushed.notes ?? [])],
  };
};

async function measurePull(scope: Scope): Promise<Measured> {
  const rows = scope.isQuick ? 20_000 : 100_000;
  const directory = newDirectory(scope.directory, "p9");
  mkdirSync(join(directory, "server"));
  const plain = await startPlain("pull-source.ts", [join(directory, "source.db"), String(rows)]);
  const ours = await startOurs(join(directory, "server"));
  try {
    await fillServer(ours, rows);
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
}
