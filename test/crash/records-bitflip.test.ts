/**
 * Owns the proof that damaged files are never silently wrong about records (T7): values, unsent work, conflicts, history, local collections.
 * The queue's side is `bitflip.test.ts`; single rows are `src/engine/mending.test.ts`. HOLDFAST_FLIPS and HOLDFAST_SEED make it longer.
 */
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import type { RecoveryReport } from "../../src/node/salvage.ts";
import { openStore } from "../../src/node/salvage.ts";
import { openDatabase } from "../../src/node/sqlite.ts";
import { openWitness } from "../../src/node/witness.ts";
import type { Fields } from "../../src/record.ts";
import type { Collection } from "../../src/world.ts";
import type { RecordBench, RecordClient } from "../support/record-bench.ts";
import { startRecords } from "../support/record-bench.ts";
import { seeded } from "./trace.ts";

const trials = Number(process.env.HOLDFAST_FLIPS ?? 120);
const seed = Number(process.env.HOLDFAST_SEED ?? 1);
const scratch = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "holdfast-records-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const collections: readonly Collection[] = [
  { name: "notes", indexes: ["title"] },
  { name: "drafts", isSynced: false },
];
const text = (key: string): string => `the text of ${key} `.repeat(key.endsWith("7") ? 300 : 8);

type Fixture = RecordBench & {
  readonly ada: RecordClient;
  /** What each record shows, by collection and key. */
  readonly shown: ReadonlyMap<string, Fields | null>;
  /** Both sides of every entry of the history, by collection, key and sequence. */
  readonly entries: ReadonlyMap<string, string>;
  /** Everything that any record ever was, by collection and key. */
  readonly ever: ReadonlyMap<string, ReadonlySet<string>>;
  readonly unsent: readonly string[];
  readonly disputed: readonly string[];
};

/** Synced, unsent, disputed, decided and local records; the same with every call. */
async function newFixture(): Promise<Fixture> {
  const bench = startRecords();
  const { server, client, run } = bench;
  const ada = client({ collections });
  const keys = Array.from({ length: 45 }, (_, index) => `n${index}`);
  for (const key of keys) server.write("notes", key, { title: `first ${key}`, text: text(key) });
  await run();
  ada.offline();
  for (const key of keys.slice(0, 8)) server.write("notes", key, { title: `theirs ${key}`, text: text(key) });
  for (const key of keys.slice(0, 8)) ada.update(key, { title: `ours ${key}` });
  ada.online();
  await run(60_000);
  const decided = ada.conflicts().filter(({ key }) => Number(key.slice(1)) < 4);
  ada.ask("conflicts.resolve", { ids: decided.map(({ id }) => id), choose: "remote" });
  await run(60_000);
  ada.offline();
  const unsent = [...keys.slice(10, 18), ...Array.from({ length: 5 }, (_, index) => `new${index}`)];
  for (const key of unsent) ada.put(key, { title: `unsent ${key}`, text: text(key) });
  for (let index = 0; index < 15; index += 1) {
    ada.put(`d${index}`, { text: `one ${text(`d${index}`)}` }, "drafts");
    ada.put(`d${index}`, { text: `two ${text(`d${index}`)}` }, "drafts");
  }
  const { shown, ever, entries } = seenBy(ada);
  for (const [key, value] of Object.entries(server.all("notes"))) ever.get(`notes ${key}`)?.add(canonical(value));
  return { ...bench, ada, shown, ever, entries, unsent, disputed: keys.slice(4, 8) };
}

function seenBy(ada: RecordClient) {
  const shown = new Map<string, Fields | null>();
  const ever = new Map<string, Set<string>>();
  const all = new Map<string, string>();
  for (const { name } of collections) {
    for (const { key, value } of ada.ask("records.query", { collection: name, limit: 1_000 }).records) {
      shown.set(`${name} ${key}`, value as Fields);
      const { entries } = ada.ask("records.history", { collection: name, key });
      for (const each of entries) all.set(`${name} ${key} ${each.sequence}`, sidesOf(each));
      ever.set(`${name} ${key}`, new Set(entries.flatMap((each) => [each.before, each.after].map(canonical))));
    }
  }
  return { shown, ever, entries: all };
}

const sidesOf = (entry: { readonly before: unknown; readonly after: unknown }): string =>
  `${canonical(entry.before)} -> ${canonical(entry.after)}`;

const canonical = (value: unknown): string => {
  const fields = (value ?? {}) as Fields;
  return value === null ? "null" : JSON.stringify(Object.fromEntries(Object.entries(fields).sort()));
};

type Damage = {
  readonly name: string;
  readonly apply: (content: Buffer) => Buffer;
  readonly file: "db" | "wal";
  readonly isKilled: boolean;
};

function madeUp(index: number, random: () => number): Damage {
  const [place, bit] = [random(), Math.floor(random() * 8)];
  const isKilled = index % 2 === 1;
  const file = index % 4 === 3 ? "wal" : "db";
  const kind = index % 10;
  if (kind === 8) {
    const apply = (content: Buffer) => content.subarray(0, Math.floor(place * content.length));
    return { name: `cut ${index} at ${place} of the ${file}`, file, isKilled, apply };
  }
  if (kind === 9) {
    const apply = (content: Buffer) => {
      const at = Math.floor((place * content.length) / 4_096) * 4_096;
      return content.fill(0, at, at + 4_096);
    };
    return { name: `zeroed page ${index} at ${place} of the ${file}`, file, isKilled, apply };
  }
  const apply = (content: Buffer) => {
    const at = Math.floor(place * content.length);
    content[at] = (content[at] ?? 0) ^ (1 << bit);
    return content;
  };
  return { name: `flip ${index} of bit ${bit} at ${place} of the ${file}`, file, isKilled, apply };
}

/** The store of the fixture, closed cleanly, or as a killed process leaves it: the later half of its rows in the journal. */
function lay(fixture: Fixture, directory: string, isKilled: boolean): void {
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true });
  const path = join(directory, "holdfast.db");
  fixture.ada.rows(`VACUUM INTO '${path}'`);
  if (isKilled) {
    const [work, kept] = [openDatabase(path), join(directory, "kept")];
    for (const table of ["record", "record_history", "conflict"])
      work.exec(`UPDATE ${table} SET rowid = rowid, seal = seal WHERE rowid > (SELECT max(rowid) FROM ${table}) / 2`);
    for (const suffix of ["", "-wal"]) copyFileSync(path + suffix, kept + suffix);
    work.close();
    for (const suffix of ["", "-wal"]) renameSync(kept + suffix, path + suffix);
  }
  const witness = openWitness(directory, () => {});
  witness.write(Number(fixture.ada.rows("SELECT n FROM counter WHERE id = 100")[0]?.n));
  witness.close();
}

type Verdict = {
  readonly wrongs: readonly string[];
  readonly kind: string;
  readonly kept: number;
  readonly mended: boolean;
};

async function play(damage: Damage): Promise<Verdict> {
  const fixture = await newFixture();
  const { run, server } = fixture;
  const directory = join(scratch, "damaged");
  lay(fixture, directory, damage.isKilled);
  const path = join(directory, damage.file === "db" ? "holdfast.db" : "holdfast.db-wal");
  writeFileSync(path, damage.apply(readFileSync(path)));
  const { database, recovery, report } = openStore(directory, { now: () => 1_760_000_000_000 });
  const ada = fixture.client({ name: "client 1", collections, database, recovery: recovery as never, isStopped: true });
  const wrongs: string[] = [];
  let kept = 0;
  // What was lost shows only where somebody looks, as the drainer does in idle time.
  for (const { name } of collections)
    for (const record of pages(ada, name)) if (isRight(fixture, name, record.key, record.value)) kept += 1;
  const losses = lossesOf(ada, report);
  for (const [place, value] of fixture.shown) {
    const [name = "", key = ""] = place.split(" ");
    const now = ada.get(key, name);
    if (canonical(now?.value ?? null) === canonical(value)) continue;
    if (now?.problem?.code === "record_corrupt" || losses > 0) {
      if (now?.value != null && fixture.ever.get(place)?.has(canonical(now.value)) !== true)
        wrongs.push(`${place} shows what it never was: ${canonical(now.value)}`);
      continue;
    }
    wrongs.push(`${place} shows ${canonical(now?.value ?? null).slice(0, 200)}, and nothing says so`);
  }
  wrongs.push(...conflictWrongs(fixture, ada, losses), ...historyWrongs(fixture, ada, losses));
  const operations = new Set(ada.ask("queue.list", { limit: 1_000 }).operations.map(({ id }) => id));
  ada.crash({ isStopped: false });
  ada.online();
  await run(400_000);
  for (const [key, value] of Object.entries(server.all("notes"))) {
    if (fixture.ever.get(`notes ${key}`)?.has(canonical(value)) !== true)
      wrongs.push(`the server was told ${key}: ${canonical(value).slice(0, 200)}`);
    const now = ada.get(key);
    if (now?.state === "synced" && canonical(now.value) !== canonical(value))
      wrongs.push(`${key} is called synced and differs`);
    if (now === null) wrongs.push(`${key} did not come back`);
  }
  for (const each of ada.ask("queue.list", { limit: 1_000 }).operations)
    if (!operations.has(each.id)) wrongs.push(`operation ${each.id} was made by nobody`);
  const check = ada.ask("engine.check", {});
  if (report.kind === "salvaged" && !check.isSound && !check.findings.every((each) => each.includes("hash")))
    wrongs.push(`not sound: ${check.findings.join("; ")}`);
  ada.engine.close();
  return { wrongs, kind: report.kind, kept: kept / fixture.shown.size, mended: losses > 0 };
}

function pages(ada: RecordClient, collection: string): readonly { readonly key: string; readonly value: unknown }[] {
  return ada.ask("records.query", { collection, limit: 1_000 }).records;
}

const isRight = ({ shown }: Fixture, collection: string, key: string, value: unknown): boolean =>
  canonical(shown.get(`${collection} ${key}`) ?? null) === canonical(value);

/** How much the report names, in whatever way. */
function lossesOf(ada: RecordClient, report: Pick<RecoveryReport, "lostSequences" | "findings">): number {
  type Tally = Readonly<Record<string, number | boolean>>;
  const recovery = ada.ask("engine.info", {}).recovery as {
    readonly records?: { readonly collections: Readonly<Record<string, Tally>>; readonly findings: readonly string[] };
  } | null;
  const named = ["restored", "again", "lost", "historyDamaged", "conflictsReopened", "conflictsDamaged", "isReadAgain"];
  const tallies = Object.values(recovery?.records?.collections ?? {});
  const counted = tallies.reduce((sum, tally) => sum + named.reduce((all, name) => all + Number(tally[name]), 0), 0);
  const corrupt = ada
    .ask("queue.list", { limit: 1_000 })
    .operations.filter(({ reason }) => reason === "corrupt").length;
  const said = report.findings.filter((each) => /lost|"record_history" has pages/.test(each)).length;
  return report.lostSequences.length + said + counted + corrupt + (recovery?.records?.findings.length ?? 0);
}

function conflictWrongs(fixture: Fixture, ada: RecordClient, losses: number): readonly string[] {
  const open = ada.conflicts("open");
  const wrongs: string[] = [];
  for (const key of fixture.disputed) {
    const conflict = open.find((each) => each.key === key);
    const sides = { local: { title: `ours ${key}` }, remote: { title: `theirs ${key}` } };
    if (conflict === undefined) {
      if (losses === 0) wrongs.push(`the conflict about ${key} is gone, and nothing says so`);
      continue;
    }
    for (const side of ["local", "remote"] as const) {
      const title = (conflict[side] as Fields | null)?.title;
      if (title !== sides[side].title && !/storage|damaged/.test(conflict.message))
        wrongs.push(`the conflict about ${key} shows ${String(title)} as ${side}`);
    }
  }
  for (const conflict of ada.conflicts("resolved")) {
    const isMarked = conflict.message.includes("storage");
    const title = (conflict.local as Fields | null)?.title;
    if (!isMarked && title !== `ours ${conflict.key}`)
      wrongs.push(`the decided conflict about ${conflict.key} shows ${String(title)}`);
  }
  return wrongs;
}

/** An entry is what it was, or says that it is not; one that is missing is named by the report. */
function historyWrongs({ shown, entries }: Fixture, ada: RecordClient, losses: number): readonly string[] {
  const wrongs: string[] = [];
  const met = new Set<string>();
  for (const place of shown.keys()) {
    const [collection = "", key = ""] = place.split(" ");
    if (ada.get(key, collection) === null) continue;
    for (const entry of ada.ask("records.history", { collection, key }).entries) {
      const known = entries.get(`${place} ${entry.sequence}`);
      const { code } = (entry.detail ?? {}) as { readonly code?: string };
      met.add(`${place} ${entry.sequence}`);
      if (code === undefined && known !== undefined && known !== sidesOf(entry))
        wrongs.push(`the history of ${place} says at ${entry.sequence}: ${sidesOf(entry).slice(0, 200)}`);
    }
  }
  const missing = [...entries.keys()].filter((each) => !met.has(each));
  if (missing.length > 0 && losses === 0)
    wrongs.push(`${missing.length} entries of the history are gone, and nothing says so`);
  return wrongs;
}

test(`${trials} damaged stores with records are never silently wrong (seed ${seed})`, async () => {
  const random = seeded(seed);
  const tally = { clean: 0, recovered: 0, salvaged: 0, mended: 0 };
  const wrongs: string[] = [];
  let kept = 0;
  for (let index = 0; index < trials; index += 1) {
    const damage = madeUp(index, random);
    try {
      const verdict = await play(damage);
      tally[verdict.kind as keyof typeof tally] += 1;
      if (verdict.mended) tally.mended += 1;
      kept += verdict.kept;
      wrongs.push(...verdict.wrongs.map((wrong) => `${damage.name}: ${wrong}`));
    } catch (error) {
      wrongs.push(`${damage.name}: ${error instanceof Error ? error.stack : String(error)}`);
    }
  }
  console.log(
    `damaged records: ${trials} stores, ${JSON.stringify(tally)}, ${Math.round((100 * kept) / trials)} % shown at once`,
  );
  expect(wrongs).toEqual([]);
  expect(tally.salvaged).toBeGreaterThan(0);
  expect(kept / trials).toBeGreaterThan(0.7);
});
