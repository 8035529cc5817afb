// Owns bar P8: pushing where the server takes one operation at a time, eight in flight, against undici and fetch doing only that.
// Leaves batches to p7-push-batch.ts.
import { rmSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { openEngine } from "../src/node/engine.ts";
import { spreadOf, timeMs } from "./support/measure.ts";
import { drain, fill, noteOf, sendPlainly, startReceiver } from "./support/pushing.ts";
import { newDirectory } from "./support/stores.ts";
import type { Measure, Scope } from "./support/types.ts";

const inFlight = 8;
const headers = { "content-type": "application/json" };

export const measure: Measure = async (scope) => {
  const count = scope.isQuick ? 500 : 2_000;
  const receiver = await startReceiver();
  const { request } = await import(pathToFileURL(join(import.meta.dirname, "node_modules/undici/index.js")).href);
  const body = () => JSON.stringify(noteOf(1));
  const withUndici = async () => (await request(receiver.url, { method: "POST", headers, body: body() })).body.json();
  const withFetch = async () => (await fetch(receiver.url, { method: "POST", headers, body: body() })).json();
  const times = { undici: [] as number[], fetch: [] as number[], ours: [] as number[] };
  for (let round = -1; round < (scope.isQuick ? 3 : 7); round += 1) {
    const undici = await timeMs(() => sendPlainly(count, inFlight, withUndici));
    const ours = await push(scope, receiver.url, count);
    const plain = await timeMs(() => sendPlainly(count, inFlight, withFetch));
    if (round < 0) continue;
    times.undici.push(undici);
    times.ours.push(ours);
    times.fetch.push(plain);
  }
  receiver.close();
  const ratio = (of: readonly number[]) =>
    spreadOf(of.map((value, round) => value / (times.ours[round] ?? Number.NaN)));
  return {
    figures: [{ key: "P8", label: "undici / holdfast", ratio: ratio(times.undici) }],
    rows: [
      { label: `undici.request, ${count}`, spread: spreadOf(times.undici), unit: "ms" },
      { label: `fetch, ${count}`, spread: spreadOf(times.fetch), unit: "ms" },
      { label: `holdfast http.request, ${count}`, spread: spreadOf(times.ours), unit: "ms" },
      { label: "fetch / holdfast", spread: ratio(times.fetch), unit: "x" },
    ],
  };
};

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
