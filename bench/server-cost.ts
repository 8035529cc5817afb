// Owns bar S3: what a push and a page of a pull cost as spaces and records grow on one PostgreSQL.
// Leaves the servers and the writers to support/sync-servers.ts.
import { newWire } from "../test/support/servers.ts";
import { spreadOf } from "./support/measure.ts";
import type { Site } from "./support/sync-servers.ts";
import { pushRate, startSite } from "./support/sync-servers.ts";
import type { Measure, Row } from "./support/types.ts";

const small = 1_000;
const spaceCounts = [1, 10, 1_000] as const;
const pageSize = 500;

/** Rows as pushes leave them, written by the database itself: pushing half a million would take the whole minute. */
const fillRecords = `INSERT INTO hf_record (space, collection, key, version, ending, created, born, value, field_versions, bytes, schema_version, author, at)
  SELECT 'big' || (n % ?), 'notes', 'key-' || n, n / ? + 1, n / ? + 1, n / ? + 1, n / ? + 1, '{"title":"note ' || n || '","number":1}',
    '{"title":1,"number":1}', 40, 1, 'tester', 1 FROM generate_series(?, ?) AS n`;
const fillSpaces = `INSERT INTO hf_space (name, head, history, floor, created_at)
  SELECT 'big' || n, ?, 'bench', 0, 1 FROM generate_series(0, ?) AS n
  ON CONFLICT (name) DO UPDATE SET head = excluded.head`;

export const measure: Measure = async (scope) => {
  const large = scope.isQuick ? 50_000 : 300_000;
  const site = await startSite(1);
  const rows: Row[] = [];
  try {
    for (const spaces of spaceCounts) {
      const rates = await rounds(scope.isQuick ? 2 : 4, () => rate(site, { spaces, writers: 16 }));
      rows.push({
        label: `operations acknowledged, 16 writers, ${spaces} spaces`,
        spread: spreadOf(rates),
        unit: "/s",
      });
    }
    for (const writers of [1, 4, 64]) {
      const rates = await rounds(scope.isQuick ? 2 : 4, () => rate(site, { spaces: writers, writers }));
      rows.push({
        label: `operations acknowledged, ${writers} writers, a space each`,
        spread: spreadOf(rates),
        unit: "/s",
      });
    }
    await fill(site, 0, small);
    const few = await sample(site, scope.isQuick ? 10 : 40);
    await fill(site, small, large);
    const lots = await sample(site, scope.isQuick ? 10 : 40);
    for (const [name, { page, push }] of [
      ["1,000", few],
      [large.toLocaleString("en"), lots],
    ] as const) {
      rows.push({
        label: `page of ${pageSize} records, ${name} records in the database`,
        spread: spreadOf(page),
        unit: "ms",
      });
      rows.push({
        label: `operations acknowledged, ${name} records in the database`,
        spread: spreadOf(push),
        unit: "/s",
      });
    }
    return {
      figures: [
        { key: "S3-pull", label: `page at ${large} records / at ${small}`, ratio: ratioOf(lots.page, few.page) },
        { key: "S3-push", label: `push rate at ${large} records / at ${small}`, ratio: ratioOf(lots.push, few.push) },
      ],
      rows,
      notes: ["one server process, pushes of 20 operations, fsync on; all on the cores of this machine"],
    };
  } finally {
    await site.stop();
  }
};

const rate = ({ servers, token }: Site, load: { readonly spaces: number; readonly writers: number }) =>
  pushRate({ servers, token, ...load, batch: 20, durationMs: 700 });

async function rounds(count: number, task: () => Promise<number>): Promise<readonly number[]> {
  const found: number[] = [];
  for (let round = -1; round < count; round += 1) {
    const value = await task();
    if (round >= 0) found.push(value);
  }
  return found;
}

/** Ten spaces share the rows; their pages hold the same number of records at any size. */
async function fill({ store }: Site, from: number, to: number): Promise<void> {
  await store.write(async (tx) => {
    await tx.run(fillRecords, 10, 10, 10, 10, 10, from, to - 1);
    await tx.run(fillSpaces, to / 10, 9);
  });
  await store.write((tx) => tx.run("ANALYZE hf_record"));
}

async function sample(site: Site, pages: number) {
  const wire = newWire(() => site.servers[0]?.url ?? "", site.token);
  const page: number[] = [];
  for (let index = -3; index < pages; index += 1) {
    const startedAt = performance.now();
    const wants = [{ collection: "notes", after: 0 }];
    await wire.pull({ space: `big${Math.abs(index) % 10}`, history: "", wants, limit: pageSize });
    if (index >= 0) page.push(performance.now() - startedAt);
  }
  return { page, push: await rounds(3, () => rate(site, { spaces: 16, writers: 16 })) };
}

function ratioOf(top: readonly number[], bottom: readonly number[]) {
  return spreadOf(top.map((value, index) => value / (bottom[index % bottom.length] ?? Number.NaN)));
}
