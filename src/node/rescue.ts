/**
 * Owns carrying rows out of a damaged store's image into a fresh store: row by row around bad pages, each payload proven by its hash.
 * Records are `rescue-records.ts`. It is with that one the one place outside the engine that writes the engine's tables, while nobody has the fresh store open.
 * Where the image comes from and where the files go is left to `salvage.ts`.
 */
import type { Database, Row } from "../database.ts";
import { hashedText } from "../engine/row-hash.ts";
import { carveRows } from "./carve.ts";
import type { Copying, SequenceRange } from "./rescue-copy.ts";
import { attempt, columnsOf, copyRange, copySmall, eachInRange, inserter } from "./rescue-copy.ts";
import { rescueRecords } from "./rescue-records.ts";
import { openDatabase } from "./sqlite.ts";

/** Tables are named here and nowhere else in this file; columns are taken as they are found. */
const table = {
  operation: "op",
  history: "history",
  counter: "counter",
  dependency: "dep",
  channel: "channel",
  others: ["meta", "lift", "alias", "ref", "gate", "remote"],
} as const;
const sequenceCounter = 100;

const highestKey = (name: string, key: string): string => `SELECT max(${key}) AS n FROM ${name}`;
const knownOperations = `SELECT id, seq FROM ${table.operation} INDEXED BY sqlite_autoindex_op_1 ORDER BY id`;
const countedOperations = `SELECT sum(n) AS n FROM ${table.counter} WHERE id <= 8`;
const readSequence = `SELECT n FROM ${table.counter} WHERE id = ${sequenceCounter}`;
const keptSequences = `SELECT seq FROM ${table.operation} UNION SELECT seq FROM ${table.history} ORDER BY seq`;
const raiseSequence = `UPDATE ${table.counter} SET n = max(n, ?) WHERE id = ${sequenceCounter}`;

/** Everything that waits is placed anew, because what it waited for may be lost. State numbers: see `operation.ts`. */
const dependsOnLost = `SELECT DISTINCT d.seq AS seq FROM ${table.dependency} d JOIN ${table.operation} o ON o.seq = d.seq
  WHERE o.state < 5 AND NOT EXISTS (SELECT 1 FROM ${table.operation} n WHERE n.seq = d.needs)`;
const parkWithout = `UPDATE ${table.operation} SET state = 5, reason = 'corrupt', problem = ? WHERE seq = ?`;
const dropIdleDependencies = `DELETE FROM ${table.dependency} WHERE seq NOT IN (SELECT seq FROM ${table.operation})
  OR needs NOT IN (SELECT seq FROM ${table.operation} WHERE state < 8)`;
const countWaits = `UPDATE ${table.operation} SET waits = (SELECT count(*) FROM ${table.dependency} d WHERE d.seq = op.seq) WHERE state < 8`;
const isBehind = `lane <> '' AND EXISTS (SELECT 1 FROM ${table.operation} h WHERE h.lane = op.lane AND h.standing = 1 AND h.position < op.position)`;
const placeAgain = `UPDATE ${table.operation} SET
  state = CASE WHEN (${isBehind}) OR waits > 0 THEN 1 WHEN due > ? THEN 2 ELSE 0 END,
  reason = CASE WHEN (${isBehind}) THEN 'lane' WHEN waits > 0 THEN 'dependency' WHEN due > ? THEN coalesce(reason, 'schedule') ELSE NULL END
  WHERE state IN (0, 1, 2)`;
const homeless = `SELECT DISTINCT channel, type FROM ${table.operation} WHERE channel NOT IN (SELECT id FROM ${table.channel})`;
const addChannel = `INSERT OR IGNORE INTO ${table.channel} (id, remote, type, subject) VALUES (?, '', ?, ?)`;
/** The engine keeps the counters as it goes; rows that were put in here are counted once, at the end. */
const countStates = `UPDATE ${table.counter} SET n = (SELECT count(*) FROM ${table.operation} WHERE state = ${table.counter}.id) WHERE id <= 8`;
const countBytes = `UPDATE ${table.counter} SET n = (SELECT coalesce(sum(bytes), 0) FROM ${table.operation}) WHERE id = 101`;
const countEnds = `UPDATE ${table.counter} SET n = (SELECT count(*) FROM ${table.operation} WHERE state = 8 AND ${table.counter}.id =
  CASE outcome WHEN 'expired' THEN 112 WHEN 'cancelled' THEN 111 WHEN 'replaced' THEN 111 ELSE 110 END) WHERE id BETWEEN 110 AND 112`;
const countChannels = `UPDATE ${table.counter} SET n =
  (SELECT count(*) FROM ${table.operation} WHERE state < 8 AND channel = ${table.counter}.id - 1000) WHERE id > 1000 AND id < 1000000000`;
const countTold = `UPDATE ${table.counter} SET n = (SELECT count(*) FROM ${table.history} WHERE op = 0) WHERE id = 102`;
const dependenciesByOptions = `INSERT OR IGNORE INTO ${table.dependency} (needs, seq)
  SELECT n.seq, o.seq FROM ${table.operation} o, json_each(CASE WHEN json_valid(o.options) THEN o.options ELSE '{}' END, '$.after') a JOIN ${table.operation} n ON n.id = a.value
  WHERE o.state < 8 AND n.state < 8`;

export type Rescue = {
  readonly savedOperations: number;
  readonly lostSequences: readonly SequenceRange[];
  readonly findings: readonly string[];
};

export type RescueInput = {
  readonly imagePath: string;
  readonly fresh: Database;
  readonly hash: (text: string) => string;
  readonly now: number;
  /** The highest sequence that the witness saw. */
  readonly witness: number;
};

export type Work = RescueInput &
  Copying & {
    /** The highest sequence in the image, and in the image or the witness. */
    readonly ending: number;
    readonly highest: number;
    readonly saved: Set<number>;
    readonly missed: SequenceRange[];
  };

/** Fills `fresh` with what can be proven and says what could not. */
export function rescueRows(input: RescueInput): Rescue {
  const findings: string[] = [];
  const image = openImage(input.imagePath, findings);
  try {
    const ending = image === null ? 0 : highestSequence(image);
    const highest = Math.max(input.witness, ending);
    const work: Work = { ...input, image, ending, highest, findings, saved: new Set(), missed: [] };
    input.fresh.exec("BEGIN IMMEDIATE");
    const known = image === null ? null : readKnown(image);
    let hasDependencies = false;
    if (image !== null) {
      copyRange(work, table.channel, { key: "id", highest: 100_000 });
      for (const name of table.others) copySmall(work, name);
      copyOperations(work);
    }
    carveMissing(work, known);
    if (image !== null) {
      copyRange(work, table.history, { key: "seq", highest });
      hasDependencies = copySmall(work, table.dependency);
    }
    rescueRecords(work, hasDependencies);
    reconcile(work);
    const lostSequences = lostOf(work, known);
    input.fresh.exec("COMMIT");
    return { savedOperations: work.saved.size, lostSequences, findings };
  } finally {
    image?.close();
  }
}

function openImage(path: string, findings: string[]): Database | null {
  try {
    const image = openDatabase(path, { readOnly: true, largeIntegers: "rounded" });
    const columns = image.prepare(columnsOf(table.operation)).all();
    if (columns.length > 0) return image;
    image.close();
    findings.push("the table of operations is not in the file's schema; rows were looked for in its raw pages");
  } catch (error) {
    findings.push(`the file's schema cannot be read (${String(error)}); rows were looked for in its raw pages`);
  }
  return null;
}

function highestSequence(image: Database): number {
  const asked = [readSequence, highestKey(table.operation, "seq"), highestKey(table.history, "seq")];
  const answers = asked.map((sql) => attempt(() => Number(Object.values(image.prepare(sql).get() ?? {})[0] ?? 0)) ?? 0);
  // A damaged counter may hold any number, and every number up to it would be looked for.
  return Math.max(...answers.filter((answer) => Number.isSafeInteger(answer) && answer < 2 ** 40));
}

/**
 * The index on ids tells which operations the table must hold, even where the table cannot be read. It is believed only
 * if it holds as many as the counters say, because a torn page of it can be short without being wrong in itself.
 */
function readKnown(image: Database): ReadonlyMap<string, number> | null {
  const rows = attempt(() => image.prepare(knownOperations).all());
  const counted = attempt(() => image.prepare(countedOperations).get());
  if (rows === null || counted === null || counted?.n !== rows.length) return null;
  return new Map(rows.map((row) => [String(row.id), Number(row.seq)]));
}

function copyOperations(work: Work): void {
  const put = inserter(work.fresh, table.operation);
  const missed = eachInRange(work, { name: table.operation, key: "seq", highest: work.highest }, (row) => {
    const seq = Number(row.seq);
    if (isProven(work, row)) {
      if (put(standing(row))) work.saved.add(seq);
      return;
    }
    // Kept to be seen: it is parked, and a person can mend or discard it.
    if (!put(standing(marked(row)))) return;
    work.saved.add(seq);
    work.findings.push(`operation ${String(row.id)} does not match its hash; it is parked`);
  });
  work.missed.push(...missed);
}

function marked(row: Row): Row {
  const state = row.state === 8 ? 8 : 5;
  return { ...row, state, reason: row.state === 8 ? null : "corrupt", payload: asJson(String(row.payload)) };
}

/** What is no JSON any more is kept as a text, which is some. */
function asJson(payload: string): string {
  try {
    JSON.parse(payload);
    return payload;
  } catch {
    return JSON.stringify(payload);
  }
}

/** Looks for operations in raw pages. The index decides which of them are wanted; without it every proven one is. */
function carveMissing(work: Work, known: ReadonlyMap<string, number> | null): void {
  const isComplete = known !== null && [...known.values()].every((seq) => work.saved.has(seq));
  if (isComplete || (work.image !== null && known === null && work.missed.length === 0)) return;
  const columns = work.fresh
    .prepare(columnsOf(table.operation))
    .all()
    .map((row) => String(row.name));
  const found = new Map<number, Row>();
  for (const row of carveRows(work.imagePath, columns, "seq")) {
    const seq = Number(row.seq);
    if (work.saved.has(seq) || !isProven(work, row)) continue;
    if (known !== null && known.get(String(row.id)) !== seq) continue;
    const rival = found.get(seq);
    if (rival === undefined || progressOf(row) > progressOf(rival)) found.set(seq, row);
  }
  const put = inserter(work.fresh, table.operation);
  for (const [seq, row] of [...found].sort(([a], [b]) => a - b)) {
    if (put(standing(carved(row)))) work.saved.add(seq);
  }
  if (found.size > 0)
    work.findings.push(`${found.size} operations were found in raw pages; their latest state may be lost`);
}

/** An older version of the row may be what was found, so an earlier attempt may have taken effect without our knowing. */
function carved(row: Row): Row {
  if (row.state === 8 || row.state === 7) return row;
  const mustAsk = String(row.options).includes('"onCrash":"ask"');
  return mustAsk ? { ...row, unsure: 1, state: 5, reason: "unsure" } : { ...row, unsure: 1 };
}

/** It follows from the rest of the row; a row that was last written before there was that column has none. */
function standing(row: Row): Row {
  return { ...row, standing: row.lane !== "" && Number(row.state) < 6 ? 1 : 0 };
}

function progressOf(row: Row): number {
  return (row.state === 8 ? 2 ** 40 : 0) + Number(row.revision) * 2 ** 20 + Number(row.attempts);
}

function isProven(work: Work, row: Row): boolean {
  return work.hash(hashedText(row)) === row.hash;
}

/** Makes the fresh store agree with itself: sequence, channels, dependencies, places in lanes. */
function reconcile(work: Work): void {
  const { fresh, now } = work;
  fresh.prepare(raiseSequence).run(Math.max(work.highest, ...tops(work.saved)));
  for (const row of fresh.prepare(homeless).all()) {
    // The subject of a lost channel is unknown; a made-up one keeps it apart from every real one, so nobody else sends it.
    fresh.prepare(addChannel).run(row.channel ?? 0, row.type ?? "", `lost-${String(row.channel)}`);
  }
  fresh.exec(dependenciesByOptions);
  for (const row of fresh.prepare(dependsOnLost).all()) {
    const problem = { code: "dependency_lost", message: "the operation it waited for was lost with a damaged page" };
    fresh.prepare(parkWithout).run(JSON.stringify(problem), row.seq ?? 0);
  }
  fresh.exec(dropIdleDependencies);
  fresh.exec(countWaits);
  fresh.prepare(placeAgain).run(now, now);
  for (const count of [countStates, countBytes, countEnds, countChannels, countTold]) fresh.exec(count);
}

function tops(saved: ReadonlySet<number>): readonly number[] {
  let top = 0;
  for (const seq of saved) top = Math.max(top, seq);
  return [top];
}

/** With the index it is known exactly what is lost; without it, every sequence that nothing is left of may be. */
function lostOf(work: Work, known: ReadonlyMap<string, number> | null): readonly SequenceRange[] {
  if (known !== null) {
    const lost = toRanges([...known.values()].filter((seq) => !work.saved.has(seq)));
    // The image may be whole in itself and still end before what was committed.
    return work.ending < work.witness ? [...lost, { from: work.ending + 1, to: work.witness }] : lost;
  }
  const left = work.fresh
    .prepare(keptSequences)
    .all()
    .map((row) => Number(row.seq));
  const gaps: SequenceRange[] = [];
  let next = 1;
  for (const seq of [...left, work.highest + 1]) {
    if (seq > next) gaps.push({ from: next, to: seq - 1 });
    next = seq + 1;
  }
  if (gaps.length > 0) work.findings.push("some of the missing sequences may have been completed and cleared before");
  return gaps;
}

function toRanges(sequences: readonly number[]): readonly SequenceRange[] {
  const ranges: { from: number; to: number }[] = [];
  for (const seq of [...new Set(sequences)].sort((a, b) => a - b)) {
    const last = ranges.at(-1);
    if (last !== undefined && last.to === seq - 1) last.to = seq;
    else ranges.push({ from: seq, to: seq });
  }
  return ranges;
}
