// Owns bar P10: a record written, read and seen by a live listener, against the same by hand on a raw table with synchronous=FULL.
// Leaves pulling to p9-pull.ts and sending to the bars of the queue.
import { connect } from "../src/client/client.ts";
import type { Engine } from "../src/engine/engine.ts";
import type { Fields } from "../src/record.ts";
import type { Rounds } from "./support/measure.ts";
import { median, ratioOf, rowOf, takeTurns, timeMs } from "./support/measure.ts";
import { madeValue, open, openByHand, openRecords, size, spread } from "./support/record-tables.ts";
import { newDirectory } from "./support/stores.ts";
import type { Measure, Row } from "./support/types.ts";

type Hands = { readonly raw: ReturnType<typeof openByHand>; readonly next: () => number };

/** Longer than a live query rests after a page, so that each write is the first one after a quiet while, by hand as by ours. */
const quietMs = 45;

/** A write that changes what a listener shows, until it shows it: by hand the query runs again, by ours it is a live query of a client. */
async function measureLive(engine: Engine, { raw, next }: Hands, count: { rounds: number; calls: number }) {
  const notes = connect({ engine }).collection("notes");
  let show: (titles: readonly unknown[]) => void = () => {};
  await new Promise<void>((resolve) => {
    notes.subscribe({ where: { status: "open" }, order: [{ field: "rank" }] }, ({ records }) => {
      show(records.map(({ value }) => value?.title));
      resolve();
    });
  });
  const write = (): { readonly key: string; readonly value: Fields; readonly title: string } => {
    const n = next();
    const seed = (n % open) * (size / open);
    const title = `note ${n}`;
    return { key: `seed-${seed}`, value: { ...madeValue(seed), title }, title };
  };
  const quiet = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, quietMs));
  const byHand = async (): Promise<number> => {
    const { key, value } = write();
    await quiet();
    return timeMs(() => {
      raw.update(key, value);
      return raw.list();
    });
  };
  const byOurs = async (): Promise<number> => {
    const { key, value, title } = write();
    await quiet();
    return timeMs(async () => {
      const shown = new Promise<void>((resolve) => {
        show = (titles) => (titles.includes(title) ? resolve() : undefined);
      });
      await Promise.all([notes.put(key, value), shown]);
    });
  };
  const rounds = new Map<string, number[]>([
    ["raw write and query", []],
    ["write to listener", []],
  ]);
  for (let round = -1; round < count.rounds; round += 1) {
    const times: readonly [number[], number[]] = [[], []];
    for (let call = 0; call < count.calls; call += 1) {
      times[0].push(await byHand());
      times[1].push(await byOurs());
    }
    if (round < 0) continue;
    rounds.get("raw write and query")?.push(median(times[0]));
    rounds.get("write to listener")?.push(median(times[1]));
  }
  return rounds;
}

const rowsOf = (rounds: Rounds, names: readonly string[]): readonly Row[] =>
  names.map((name) => ({ label: name, spread: rowOf(rounds, name, 1e-3), unit: "us" }));

export const measure: Measure = async (scope) => {
  const directory = newDirectory(scope.directory, "p10");
  const raw = openByHand(directory);
  const { engine, close } = await openRecords(directory);
  let turn = 0;
  const count = { rounds: scope.isQuick ? 5 : 25, calls: scope.isSlowDisk ? 20 : 100 };
  const next = (): number => {
    turn += 1;
    return turn;
  };
  const picked = (): string => `seed-${spread(next())}`;
  const put = (key: string) =>
    engine.handle("records.write", { kind: "put", collection: "notes", key, value: madeValue(1) });
  const written = await takeTurns(
    [
      { name: "raw insert", run: () => raw.put(`new-${next()}`, 1) },
      { name: "put", run: () => put(`new-${next()}`) },
    ],
    count,
  );
  // Apart from the writes: a read behind an fsync finds the processor's caches empty and measures that.
  const read = await takeTurns(
    [
      { name: "raw get", run: () => raw.get(picked()) },
      { name: "get", run: () => engine.handle("records.get", { collection: "notes", key: picked() }) },
    ],
    count,
  );
  const live = await measureLive(engine, { raw, next }, { rounds: scope.isQuick ? 5 : 11, calls: 15 });
  await close();
  raw.close();
  return {
    figures: [
      { key: "P10-put", label: "put / raw insert", ratio: ratioOf(written, "put", "raw insert") },
      { key: "P10-get", label: "get / raw get", ratio: ratioOf(read, "get", "raw get") },
      {
        key: "P10-live",
        label: "write to live listener / raw write and query",
        ratio: ratioOf(live, "write to listener", "raw write and query"),
      },
    ],
    rows: [
      ...rowsOf(written, ["raw insert", "put"]),
      ...rowsOf(read, ["raw get", "get"]),
      ...rowsOf(live, ["raw write and query", "write to listener"]),
    ],
  };
};
