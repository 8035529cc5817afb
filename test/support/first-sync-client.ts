// Owns a device that reads everything for the first time, as a process of its own, so that its peak of memory is its own.
// Leaves what the server has and what must hold to test/wire/first-sync.test.ts: node first-sync-client.ts <request as JSON>
import { openEngine } from "../../src/node/engine.ts";

export type FirstSyncRequest = {
  readonly directory: string;
  readonly url: string;
  readonly token: string;
  readonly space: string;
  readonly collection: string;
  readonly rows: number;
  /** Dies as of kill -9 once this many are here. */
  readonly diesAt?: number;
};

export type FirstSynced = {
  /** Records that an earlier process had brought. */
  readonly began: number;
  readonly fractions: readonly number[];
  readonly openedBytes: number;
  readonly peakBytes: number;
};

const { directory, url, token, space, collection, rows, diesAt } = JSON.parse(
  process.argv[2] ?? "{}",
) as FirstSyncRequest;
const engine = await openEngine({
  directory,
  collections: [{ name: collection }],
  sync: { url, space, token },
  log: () => {},
});
const look = () => engine.handle("collections.list", {}).collections[0];
const began = look()?.records ?? 0;
const openedBytes = process.memoryUsage.rss();
const fractions: number[] = [];

engine.subscribe((event) => {
  if (event.kind !== "collection" && event.kind !== "record") return;
  const now = look();
  if (now?.progress) fractions.push(now.progress.done / now.progress.total);
  if (diesAt !== undefined && (now?.records ?? 0) >= diesAt) process.kill(process.pid, "SIGKILL");
  if (now?.state !== "idle" || now.records !== rows) return;
  const synced: FirstSynced = { began, fractions, openedBytes, peakBytes: process.resourceUsage().maxRSS * 1_024 };
  process.stdout.write(`${JSON.stringify(synced)}\n`, () => process.exit(0));
});
engine.start();
