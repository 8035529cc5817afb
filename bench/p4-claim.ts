// Owns bar P4: what a claim of fifty costs at a million queued operations against a thousand, in four shapes of queue, and
// against the query of a queue that sorts at every claim. Leaves building the stores to support/depths.ts.
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { openClaims } from "./support/claims.ts";
import type { Shape } from "./support/depths.ts";
import { shapes, shapeTitles, storeOf } from "./support/depths.ts";
import { median, spreadOf, timeMs } from "./support/measure.ts";
import { newDirectory } from "./support/stores.ts";
import type { Figure, Measure, Row, Scope } from "./support/types.ts";

const size = 50;
const few = 1_000;

export const measure: Measure = async (scope) => {
  const many = scope.isQuick ? 100_000 : 1_000_000;
  const sorting = openSorting(newDirectory(scope.directory, "p4"), many);
  const sortMs: number[] = [];
  for (let time = 0; time < 5; time += 1) sortMs.push(await timeMs(sorting.claim));
  sorting.close();
  const figures: Figure[] = [];
  const rows: Row[] = [{ label: "sorting query at many", spread: spreadOf(sortMs), unit: "ms" }];
  for (const shape of shapes) {
    const { low, high } = await measureShape(scope, shape, many);
    const ratios = high.map((value, round) => value / (low[round] ?? Number.NaN));
    figures.push({ key: "P4", label: `${shapeTitles[shape]}: many / few`, ratio: spreadOf(ratios) });
    const gains = high.map((value) => median(sortMs) / value);
    figures.push({ key: "P4-seed", label: `${shapeTitles[shape]}: sorting query / holdfast`, ratio: spreadOf(gains) });
    rows.push({ label: `${shapeTitles[shape]}, few`, spread: spreadOf(low), unit: "ms" });
    rows.push({ label: `${shapeTitles[shape]}, many`, spread: spreadOf(high), unit: "ms" });
  }
  const notes = [`few is ${few}, many is ${many}; the sorting query only reads, a claim commits what it took`];
  return { figures, rows, notes };
};

async function measureShape(scope: Scope, shape: Shape, many: number) {
  const small = openClaims(storeOf(scope.directory, shape, few), size);
  const big = openClaims(storeOf(scope.directory, shape, many), size);
  const low: number[] = [];
  const high: number[] = [];
  const rounds = scope.isQuick ? 5 : 15;
  for (let round = -1; round < rounds; round += 1) {
    const times = { low: [] as number[], high: [] as number[] };
    for (let call = 0; call < 10; call += 1) {
      times.low.push(await timeMs(small.claim));
      times.high.push(await timeMs(big.claim));
      small.putBack();
      big.putBack();
    }
    if (round < 0) continue;
    low.push(median(times.low));
    high.push(median(times.high));
  }
  small.close();
  big.close();
  return { low, high };
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
