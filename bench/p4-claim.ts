// Owns bar P4: what a claim of fifty costs at a million queued operations against a thousand, in four shapes of queue, against
// the query of a queue that sorts at every claim, and with the peers. Leaves building the stores to support/depths.ts, plainjob.ts and tanstack.ts.
import { cpSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { openClaims } from "./support/claims.ts";
import type { Shape } from "./support/depths.ts";
import { shapes, shapeTitles, storeOf } from "./support/depths.ts";
import { median, spreadOf, timeMs } from "./support/measure.ts";
import type { Plainjob } from "./support/plainjob.ts";
import { openPlainjob, plainjobName, plainjobOf } from "./support/plainjob.ts";
import { newDirectory } from "./support/stores.ts";
import type { Tanstack } from "./support/tanstack.ts";
import { deepOutbox, openTanstack, tanstackName, tanstackOf } from "./support/tanstack.ts";
import type { Figure, Measure, Row, Scope, Spread } from "./support/types.ts";

const size = 50;
const few = 1_000;

export const measure: Measure = async (scope) => {
  const many = scope.isQuick ? 100_000 : 1_000_000;
  const sorting = openSorting(newDirectory(scope.directory, "p4"), many);
  const figures: Figure[] = [];
  const rows: Row[] = [];
  for (const shape of shapes) {
    const claimed = await measureShape(scope, { shape, many, sorting });
    const { low, high, beside } = claimed;
    figures.push({ key: "P4", label: `${shapeTitles[shape]}: many / few`, ratio: ratioOf(claimed) });
    const gains = high.map((value, round) => (beside[round] ?? Number.NaN) / value);
    figures.push({ key: "P4-seed", label: `${shapeTitles[shape]}: sorting query / holdfast`, ratio: spreadOf(gains) });
    rows.push({ label: `${shapeTitles[shape]}, few`, spread: spreadOf(low), unit: "ms" });
    rows.push({ label: `${shapeTitles[shape]}, many`, spread: spreadOf(high), unit: "ms" });
    rows.push({ label: `${shapeTitles[shape]}, sorting query at many`, spread: spreadOf(beside), unit: "ms" });
  }
  sorting.close();
  rows.push(...(await plainjobRows(scope, many)), ...(await tanstackRows(scope)));
  const notes = [
    `few is ${few}, many is ${many}; the sorting query only reads, a claim commits what it took`,
    `${plainjobName} claims one at a time, each in a commit of its own; it has no lanes, priorities or dependencies`,
    `${tanstackName} claims nothing: it hands out the oldest from memory, one at a time, and removes it when it is sent`,
  ];
  return { figures, rows, notes };
};

type Claimed = {
  readonly low: readonly number[];
  readonly high: readonly number[];
  readonly beside: readonly number[];
};
type Shaped = { readonly shape: Shape; readonly many: number; readonly sorting: Pick<Side, "claim"> };

async function measureShape(scope: Scope, { shape, many, sorting }: Shaped): Promise<Claimed> {
  const small = openClaims(storeOf(scope.directory, shape, few), size);
  const big = openClaims(storeOf(scope.directory, shape, many), size);
  const claimed = await takeTurnsOf([small, big], { rounds: scope.isQuick ? 5 : 15, calls: 10, beside: sorting });
  small.close();
  big.close();
  return claimed;
}

type Side = { readonly claim: () => unknown; readonly putBack: () => void };

/** Medians of both sides per round, and one turn of what stands beside them; the first round warms up and is thrown away. */
async function takeTurnsOf(
  [few, many]: readonly [Side, Side],
  count: { readonly rounds: number; readonly calls: number; readonly beside?: Pick<Side, "claim"> },
): Promise<Claimed> {
  const low: number[] = [];
  const high: number[] = [];
  const beside: number[] = [];
  for (let round = -1; round < count.rounds; round += 1) {
    const times = { low: [] as number[], high: [] as number[] };
    const besideMs = count.beside === undefined ? Number.NaN : await timeMs(count.beside.claim);
    for (let call = 0; call < count.calls; call += 1) {
      times.low.push(await timeMs(few.claim));
      times.high.push(await timeMs(many.claim));
      few.putBack();
      many.putBack();
    }
    if (round < 0) continue;
    low.push(median(times.low));
    high.push(median(times.high));
    beside.push(besideMs);
  }
  return { low, high, beside };
}

const ratioOf = ({ low, high }: Claimed): Spread =>
  spreadOf(high.map((value, round) => value / (low[round] ?? Number.NaN)));

async function plainjobRows(scope: Scope, many: number): Promise<readonly Row[]> {
  const small = await openPlainjob(await plainjobOf(scope.directory, few));
  const big = await openPlainjob(await plainjobOf(scope.directory, many));
  const sideOf = ({ claim, putBack }: Plainjob): Side => ({ claim: () => claim(size), putBack });
  const claimed = await takeTurnsOf([sideOf(small), sideOf(big)], { rounds: scope.isQuick ? 3 : 15, calls: 3 });
  small.close();
  big.close();
  return peerRows(`${plainjobName}, ${size} claimed one by one`, many, claimed);
}

/** What it hands out is gone, so both outboxes are copies of those that other bars use, and get shorter from turn to turn. */
async function tanstackRows(scope: Scope): Promise<readonly Row[]> {
  const openCopy = async (count: number): Promise<Tanstack> => {
    const directory = newDirectory(scope.directory, "p4");
    cpSync(await tanstackOf(scope.directory, count), directory, { recursive: true });
    return openTanstack(directory);
  };
  const small = await openCopy(few);
  const big = await openCopy(deepOutbox);
  const sideOf = ({ take }: Tanstack): Side => ({ claim: () => take(size), putBack: () => {} });
  const claimed = await takeTurnsOf([sideOf(small), sideOf(big)], { rounds: scope.isQuick ? 2 : 5, calls: 1 });
  small.close();
  big.close();
  return peerRows(`${tanstackName}, ${size} handed out and removed`, deepOutbox, claimed);
}

function peerRows(name: string, many: number, claimed: Claimed): readonly Row[] {
  return [
    { label: `${name}, at ${few}`, spread: spreadOf(claimed.low), unit: "ms" },
    { label: `${name}, at ${many}`, spread: spreadOf(claimed.high), unit: "ms" },
    { label: `${name}: at ${many} / at ${few}`, spread: ratioOf(claimed), unit: "x" },
  ];
}

/** A queue as it is often written: no index for its order, so that every look sorts all that is pending. */
function openSorting(directory: string, count: number) {
  const connection = new DatabaseSync(join(directory, "sorting.db"));
  connection.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; PRAGMA cache_size = -32768;
    CREATE TABLE sync_queue (id INTEGER PRIMARY KEY, operation TEXT NOT NULL, payload TEXT NOT NULL, status TEXT NOT NULL,
      priority INTEGER NOT NULL, created_at INTEGER NOT NULL, retry_count INTEGER NOT NULL);
    INSERT INTO sync_queue (operation, payload, status, priority, created_at, retry_count)
      WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${count})
      SELECT 'note', '${JSON.stringify({ body: "x".repeat(150) })}', 'pending', i % 10, 1700000000000 + i, 0 FROM n`);
  const query = connection.prepare(`SELECT * FROM sync_queue WHERE status = 'pending'
    ORDER BY priority DESC, created_at ASC LIMIT ${size}`);
  return { claim: () => void query.all(), close: () => connection.close() };
}
