// Owns bar P10: a record written, read and seen by a live listener, against the same by hand on a raw table with synchronous=FULL.
// Beside that stands the floor under its writes: the same rows written by hand. Leaves pulling to p9-pull.ts and sending to the bars of the
// queue.
import { copyFileSync } from "node:fs";
import { join } from "node:path";
import { connect } from "../src/client/client.ts";
import type { Engine } from "../src/engine/engine.ts";
import type { Fields } from "../src/record.ts";
import type { Rounds } from "./support/measure.ts";
import { median, ratioOf, rowOf, takeTurns, timeMs } from "./support/measure.ts";
import { madeValue, open, openByHand, openRecords, size, spread } from "./support/record-tables.ts";
import { newRecorder, openReplay } from "./support/replay.ts";
import { newDirectory } from "./support/stores.ts";
import type { Measure, Row } from "./support/types.ts";

/** Longer than a live query rests after a page, so that each write is the first one after a quiet while, by hand as by ours. */
const quietMs = 45;

type Count = { readonly rounds: number; readonly calls: number };

const newPut = (engine: Engine, key: string): unknown =>
  engine.handle("records.write", { kind: "put", collection: "notes", key, value: madeValue(1) });

/** The n-th write that changes what a listener shows. */
function shownWrite(n: number): { readonly key: string; readonly value: Fields; readonly title: string } {
  const seed = (n % open) * (size / open);
  const title = `note ${n}`;
  return { key: `seed-${seed}`, value: { ...madeValue(seed), title }, title };
}

/** What new records, and then what is shown, make the engine write, to be written by hand. */
async function openFloor(parent: string, count: { readonly puts: Count; readonly live: Count }) {
  const directory = newDirectory(parent, "recorded");
  const recorder = newRecorder();
  const { file, database, engine, close } = await openRecords(directory, {}, recorder.watch);
  database.checkpoint("truncate");
  const copy = join(directory, "replayed.db");
  copyFileSync(file, copy);
  recorder.take();
  const turns = ({ rounds, calls }: Count): readonly number[] =>
    Array.from({ length: (rounds + 1) * calls }, (_, n) => n);
  for (const n of turns(count.puts)) newPut(engine, `new-${n}`);
  for (const n of turns(count.live)) {
    const { key, value } = shownWrite(n);
    engine.handle("records.write", { kind: "put", collection: "notes", key, value });
  }
  await close();
  return openReplay(copy, recorder.take());
}

type Hands = { readonly raw: ReturnType<typeof openByHand>; readonly floor: ReturnType<typeof openReplay> };

/** A write that changes what a listener shows, until it shows it: by hand the query runs again, by ours it is a live query of a client. */
async function measureLive(engine: Engine, { raw, floor }: Hands, count: Count) {
  const notes = connect({ engine }).collection("notes");
  let show: (titles: readonly unknown[]) => void = () => {};
  await new Promise<void>((resolve) => {
    notes.subscribe({ where: { status: "open" }, order: [{ field: "rank" }] }, ({ records }) => {
      show(records.map(({ value }) => value?.title));
      resolve();
    });
  });
  let turn = 0;
  const next = () => {
    turn += 1;
    return shownWrite(turn);
  };
  const quiet = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, quietMs));
  const subjects = new Map<string, () => Promise<number>>([
    [
      "raw write and query",
      () => {
        const { key, value } = next();
        return timeMs(() => {
          raw.update(key, value);
          return raw.list();
        });
      },
    ],
    [
      "the same writes by hand and query",
      () =>
        timeMs(() => {
          floor.next();
          return raw.list();
        }),
    ],
    [
      "write to listener",
      () => {
        const { key, value, title } = next();
        return timeMs(async () => {
          const shown = new Promise<void>((resolve) => {
            show = (titles) => (titles.includes(title) ? resolve() : undefined);
          });
          await Promise.all([notes.put(key, value), shown]);
        });
      },
    ],
  ]);
  const rounds = new Map<string, number[]>([...subjects.keys()].map((name) => [name, []]));
  for (let round = -1; round < count.rounds; round += 1) {
    const times = new Map<string, number[]>([...subjects.keys()].map((name) => [name, []]));
    for (let call = 0; call < count.calls; call += 1) {
      for (const [name, run] of subjects) {
        await quiet();
        times.get(name)?.push(await run());
      }
    }
    if (round < 0) continue;
    for (const [name, taken] of times) rounds.get(name)?.push(median(taken));
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
  const liveCount = { rounds: scope.isQuick ? 5 : 11, calls: 15 };
  const floor = await openFloor(directory, { puts: count, live: liveCount });
  const next = (): number => {
    turn += 1;
    return turn;
  };
  const picked = (): string => `seed-${spread(next())}`;
  const written = await takeTurns(
    [
      { name: "raw insert", run: () => raw.put(`new-${next()}`, 1) },
      { name: "the same writes by hand", run: floor.next },
      { name: "put", run: () => newPut(engine, `new-${next()}`) },
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
  const live = await measureLive(engine, { raw, floor }, liveCount);
  await close();
  for (const each of [raw, floor]) each.close();
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
      ...rowsOf(written, ["raw insert", "the same writes by hand", "put"]),
      {
        label: "the same writes by hand / raw insert",
        spread: ratioOf(written, "the same writes by hand", "raw insert"),
        unit: "x",
      },
      ...rowsOf(read, ["raw get", "get"]),
      ...rowsOf(live, ["raw write and query", "the same writes by hand and query", "write to listener"]),
      {
        label: "the same writes by hand and query / raw write and query",
        spread: ratioOf(live, "the same writes by hand and query", "raw write and query"),
        unit: "x",
      },
    ],
  };
};
