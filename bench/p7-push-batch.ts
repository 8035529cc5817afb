// Owns bar P7: pushing ten thousand durable operations in batches of a hundred, against plain fetch of the same batches and
// beside the peers, and the floor under it: the same writes by hand, nothing sent. Leaves servers that take no batches to p8-push-single.ts.
import { randomUUID } from "node:crypto";
import { copyFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { openEngine as openCore } from "../src/engine/engine.ts";
import { openEngine } from "../src/node/engine.ts";
import { openDatabase } from "../src/node/sqlite.ts";
import { nodeWorld } from "../src/node/world.ts";
import type { OperationType } from "../src/world.ts";
import { spreadOf, timeMs } from "./support/measure.ts";
import type { PeerTimes } from "./support/peer-pushing.ts";
import { peerRows, takePeers } from "./support/peer-pushing.ts";
import { drain, fill, noteOf, sendPlainly, startReceiver } from "./support/pushing.ts";
import { newRecorder, openReplay } from "./support/replay.ts";
import { newDirectory } from "./support/stores.ts";
import type { Measure, Scope, Spread } from "./support/types.ts";

const size = 100;
const inFlight = 4;

export const measure: Measure = async (scope) => {
  const count = scope.isQuick ? 2_000 : 10_000;
  const storing = await against(scope, count, join(newDirectory(scope.directory, "p7"), "server.db"));
  const answering = await against(scope, count);
  const floor = await writeByHand(scope, count);
  return {
    figures: [{ key: "P7", label: "plain fetch / holdfast, to a server that stores", ratio: storing.ratio }],
    rows: [
      { label: `storing server: plain fetch, ${count}`, spread: storing.plain, unit: "ms" },
      { label: `storing server: holdfast, ${count}`, spread: storing.ours, unit: "ms" },
      ...storing.peers,
      { label: `answering server: plain fetch, ${count}`, spread: answering.plain, unit: "ms" },
      { label: `answering server: holdfast, ${count}`, spread: answering.ours, unit: "ms" },
      { label: "answering server: plain fetch / holdfast", spread: answering.ratio, unit: "x" },
      ...answering.peers,
      { label: `the same writes by hand and nothing sent, ${count}`, spread: floor, unit: "ms" },
    ],
    notes: [
      `${inFlight} batches in flight on both sides; plainjob sends job by job, since its worker takes one`,
      "TanStack keeps, sends and settles a transaction of a hundred as one",
      "the operations are queued durably before the clock starts; it stops when each landing is durable",
    ],
  };
};

async function against(scope: Scope, count: number, file?: string) {
  const receiver = await startReceiver(file);
  const plain: number[] = [];
  const ours: number[] = [];
  const times: PeerTimes = { plainjob: [], tanstack: [] };
  const peers = { workers: inFlight, together: size };
  for (let round = -1; round < (scope.isQuick ? 3 : 7); round += 1) {
    const plainMs = await timeMs(() => sendPlainly(count / size, inFlight, () => post(receiver.url, newBatch())));
    const oursMs = await push(scope, receiver.url, count);
    await takePeers({ scope, post: (body) => post(receiver.url, body), ...peers }, round, times);
    if (round < 0) continue;
    plain.push(plainMs);
    ours.push(oursMs);
  }
  receiver.close();
  const ratio = spreadOf(plain.map((value, round) => value / (ours[round] ?? Number.NaN)));
  const base = { name: "plain fetch", ms: plain.map((ms) => ms / count) };
  const server = file === undefined ? "answering server" : "storing server";
  return { ratio, plain: spreadOf(plain), ours: spreadOf(ours), peers: peerRows(server, base, { times, ...peers }) };
}

const newBatch = () => Array.from({ length: size }, (_, index) => ({ key: randomUUID(), ...noteOf(index) }));

async function post(url: string, body: unknown): Promise<unknown> {
  const headers = { "content-type": "application/json" };
  const response = await fetch(url, { method: "POST", headers, body: JSON.stringify(body) });
  return response.json();
}

function batchType(url: string): OperationType {
  return {
    type: "note",
    remoteOf: () => url,
    runBatch: {
      max: size,
      run: async (attempts) => {
        const answers = (await post(
          url,
          attempts.map(({ idempotencyKey, input }) => ({ key: idempotencyKey, ...(input as object) })),
        )) as readonly unknown[];
        return answers.map(() => ({ kind: "applied" }) as const);
      },
    },
  };
}

async function push(scope: Scope, url: string, count: number): Promise<number> {
  const directory = newDirectory(scope.directory, "p7");
  const settings = { concurrency: inFlight, concurrencyPerRemote: inFlight, retainCount: count };
  const engine = await openEngine({ directory, types: [batchType(url)], settings, log: () => {} });
  await fill(engine, count, (index) => ({ type: "note", payload: noteOf(index) }));
  const spent = await timeMs(() => drain(engine));
  engine.close();
  rmSync(directory, { recursive: true, force: true });
  return spent;
}

/** What a push writes, made again by hand: claims, answers and history of all operations, commit by commit. */
async function writeByHand(scope: Scope, count: number): Promise<Spread> {
  const directory = newDirectory(scope.directory, "p7");
  const file = join(directory, "holdfast.db");
  const recorder = newRecorder();
  const database = recorder.watch(openDatabase(file));
  const world = nodeWorld({ directory, log: () => {} });
  const run = async (attempts: readonly unknown[]) => attempts.map(() => ({ kind: "applied" }) as const);
  const types = [{ ...batchType(""), remoteOf: () => "", runBatch: { max: size, run } }];
  const settings = { concurrency: inFlight, concurrencyPerRemote: inFlight, retainCount: count };
  const engine = openCore({ database, world, types, settings });
  await fill(engine, count, (index) => ({ type: "note", payload: noteOf(index) }));
  database.checkpoint("truncate");
  const copy = join(directory, "replayed.db");
  copyFileSync(file, copy);
  recorder.take();
  await drain(engine);
  const commits = recorder.take();
  engine.close();
  world.close();
  const times: number[] = [];
  for (let round = 0; round < (scope.isQuick ? 3 : 7); round += 1) {
    const again = join(directory, `replayed-${round}.db`);
    copyFileSync(copy, again);
    const replay = openReplay(again, commits);
    times.push(await timeMs(() => commits.forEach(replay.next)));
    replay.close();
  }
  rmSync(directory, { recursive: true, force: true });
  return spreadOf(times);
}
