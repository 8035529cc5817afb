// Owns bar P8: pushing where the server takes one operation at a time, eight in flight, against undici and fetch doing only that and
// beside the peers. Leaves batches to p7-push-batch.ts.
import { randomUUID } from "node:crypto";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { openEngine } from "../src/node/engine.ts";
import { spreadOf, timeMs } from "./support/measure.ts";
import type { PeerTimes } from "./support/peer-pushing.ts";
import { peerRows, takePeers } from "./support/peer-pushing.ts";
import { drain, fill, noteOf, sendPlainly, startReceiver } from "./support/pushing.ts";
import { newDirectory } from "./support/stores.ts";
import type { Measure, Row, Scope, Spread } from "./support/types.ts";

const inFlight = 8;

export const measure: Measure = async (scope) => {
  const count = scope.isQuick ? 500 : 2_000;
  const storing = await against(scope, count, join(newDirectory(scope.directory, "p8"), "server.db"));
  const answering = await against(scope, count);
  return {
    figures: [{ key: "P8", label: "undici / holdfast, to a server that stores", ratio: storing.undiciRatio }],
    rows: [...rowsOf("storing server", storing, count), ...rowsOf("answering server", answering, count)],
    notes: [`${inFlight} requests in flight on both sides`, "the peers' functions to send use fetch"],
  };
};

type Against = { readonly [of in "undici" | "plain" | "ours" | "undiciRatio" | "plainRatio"]: Spread } & {
  readonly peers: readonly Row[];
};

function rowsOf(server: string, of: Against, count: number): readonly Row[] {
  return [
    { label: `${server}: undici.request, ${count}`, spread: of.undici, unit: "ms" },
    { label: `${server}: fetch, ${count}`, spread: of.plain, unit: "ms" },
    { label: `${server}: holdfast http.request, ${count}`, spread: of.ours, unit: "ms" },
    { label: `${server}: undici / holdfast`, spread: of.undiciRatio, unit: "x" },
    { label: `${server}: fetch / holdfast`, spread: of.plainRatio, unit: "x" },
    ...of.peers,
  ];
}

async function against(scope: Scope, count: number, file?: string): Promise<Against> {
  const receiver = await startReceiver(file);
  const { request } = await import(pathToFileURL(join(import.meta.dirname, "node_modules/undici/index.js")).href);
  const call = (body: unknown = noteOf(1), key: string = randomUUID()) => ({
    method: "POST",
    headers: { "content-type": "application/json", "idempotency-key": key },
    body: JSON.stringify(body),
  });
  const withUndici = async () => (await request(receiver.url, call())).body.json();
  const withFetch = async () => (await fetch(receiver.url, call())).json();
  const post = async (body: unknown, key: string) => (await fetch(receiver.url, call(body, key))).json();
  const peerTimes: PeerTimes = { plainjob: [], tanstack: [] };
  const peers = { workers: inFlight, together: 1 };
  const times = { undici: [] as number[], plain: [] as number[], ours: [] as number[] };
  for (let round = -1; round < (scope.isQuick ? 3 : 7); round += 1) {
    const undici = await timeMs(() => sendPlainly(count, inFlight, withUndici));
    const ours = await push(scope, receiver.url, count);
    const plain = await timeMs(() => sendPlainly(count, inFlight, withFetch));
    await takePeers({ scope, post, ...peers }, round, peerTimes);
    if (round < 0) continue;
    times.undici.push(undici);
    times.ours.push(ours);
    times.plain.push(plain);
  }
  receiver.close();
  const ratio = (of: readonly number[]) =>
    spreadOf(of.map((value, round) => value / (times.ours[round] ?? Number.NaN)));
  const base = { name: "fetch", ms: times.plain.map((ms) => ms / count) };
  const server = file === undefined ? "answering server" : "storing server";
  return {
    peers: peerRows(server, base, { times: peerTimes, ...peers }),
    undici: spreadOf(times.undici),
    plain: spreadOf(times.plain),
    ours: spreadOf(times.ours),
    undiciRatio: ratio(times.undici),
    plainRatio: ratio(times.plain),
  };
}

async function push(scope: Scope, url: string, count: number): Promise<number> {
  const directory = newDirectory(scope.directory, "p8");
  const settings = { concurrency: inFlight, concurrencyPerRemote: inFlight, retainCount: count };
  const engine = await openEngine({ directory, settings, log: () => {} });
  const payload = (index: number) => ({ method: "POST", url, body: { json: noteOf(index) } });
  await fill(engine, count, (index) => ({ type: "http.request", payload: payload(index) }));
  const spent = await timeMs(() => drain(engine));
  engine.close();
  rmSync(directory, { recursive: true, force: true });
  return spent;
}
