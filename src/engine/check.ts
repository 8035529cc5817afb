/**
 * Owns the check of the store against itself: SQLite's own check, every unsent payload's hash, every counter against a recount,
 * and that whatever can move is where a claim finds it.
 */
import type { Json } from "../operation.ts";
import type { Output } from "../verbs.ts";
import { brokenNotes } from "./evicted.ts";
import { brokenRows } from "./mending-rows.ts";
import { getMeta } from "./meta.ts";
import { hashedColumns, isGenuine } from "./row-hash.ts";
import type { SealedTable } from "./row-seal.ts";
import { sealedTables } from "./row-seal.ts";
import { schemaVersion } from "./schema.ts";
import type { Store } from "./store.ts";
import { integer, parsed, readSequence, text, writeCounts } from "./store.ts";

/** Findings that are listed; one more line says how many were left out. */
export const findingLimit = 100;

const quickCheck = "PRAGMA quick_check(10)";
const recount = "SELECT state AS id, count(*) AS n FROM op GROUP BY state";
const stateCounters = "SELECT id, n FROM counter WHERE id < 9";
const recountBytes = "SELECT coalesce(sum(bytes), 0) AS n FROM op";
const bytesCounter = "SELECT n FROM counter WHERE id = 101";
const recountTold = "SELECT n, (SELECT count(*) FROM history WHERE op = 0) AS real FROM counter WHERE id = 102";
const recountChannels = `SELECT counter.id AS id, counter.n AS n, (SELECT count(*) FROM op WHERE op.state < 8 AND op.channel = counter.id - 1000) AS real
  FROM counter WHERE counter.id > 1000 AND counter.id < 1000000000`;
const recountCollections = `SELECT collection.name AS name,
  (SELECT n FROM counter WHERE id = 1000000000 + collection.id * 4) AS records, count(record.value) AS realRecords,
  (SELECT n FROM counter WHERE id = 1000000001 + collection.id * 4) AS bytes,
  coalesce(sum(record.bytes) FILTER (WHERE record.value IS NOT NULL), 0) AS realBytes,
  (SELECT n FROM counter WHERE id = 1000000002 + collection.id * 4) AS unsettled, count(*) FILTER (WHERE record.status IN (1, 2, 3)) AS realUnsettled
  FROM collection LEFT JOIN record ON record.collection = collection.id GROUP BY collection.id`;
const payloads = `SELECT seq, ${hashedColumns}, hash FROM op WHERE state < 8 AND seq > ? ORDER BY seq LIMIT 500`;
const wrongWaits = `SELECT op.id AS id, op.waits AS waits, (SELECT count(*) FROM dep WHERE dep.seq = op.seq) AS real FROM op
  WHERE op.state < 8 AND op.waits <> (SELECT count(*) FROM dep WHERE dep.seq = op.seq)`;
const stuckAlone = "SELECT id FROM op WHERE state = 1 AND lane = '' AND waits = 0";
const stuckHeads = `SELECT id FROM op WHERE state = 1 AND waits = 0 AND lane <> '' AND position =
  (SELECT min(position) FROM op AS other WHERE other.lane = op.lane AND other.standing = 1)
  AND NOT EXISTS (SELECT 1 FROM op AS flying WHERE flying.state = 3 AND flying.lane = op.lane)`;
const onePlace = `SELECT lane, position FROM op WHERE standing = 1 GROUP BY lane, position HAVING count(*) > 1`;
const wrongStanding = "SELECT id FROM op WHERE standing <> (lane <> '' AND state < 6)";
const twoHeads = `SELECT lane, count(*) AS n FROM op WHERE state IN (0, 2, 4) AND lane <> '' GROUP BY lane HAVING count(*) > 1`;

export function engineInfo(store: Store): Output<"engine.info"> {
  return {
    version: store.version,
    schemaVersion,
    sequence: readSequence(store),
    isReadOnly: store.db.isReadOnly,
    drainer: getMeta(store, "drainer") || null,
    isDrainer: store.memory.epoch !== 0,
    types: [...store.types.keys()].sort(),
    recovery: withRecords(store.recovery, getMeta(store, "mended")) as Output<"engine.info">["recovery"],
  };
}

/** What was found when the store was opened, and what was mended of its records then or since. */
function withRecords(recovery: Json, mended: string | null): Json {
  const records = parsed<Json>(mended ?? "null", null);
  if (records === null) return recovery;
  const found = (recovery ?? { kind: "mended" }) as { readonly [name: string]: Json };
  return { ...found, records };
}

/** Looks for everything that should never be; an empty list of findings means sound. */
export function checkStore(store: Store): Output<"engine.check"> {
  // In a commit shared with writes there may be counts that are not in the table yet.
  writeCounts(store);
  const payload = checkPayloads(store);
  const findings = [
    ...checkFile(store),
    ...checkCounters(store),
    ...checkReadiness(store),
    ...payload.findings,
    ...checkRecords(store),
  ];
  const shown = findings.slice(0, findingLimit);
  if (findings.length > shown.length) shown.push(`and ${findings.length - shown.length} more`);
  return { isSound: findings.length === 0, findings: shown, checked: payload.checked };
}

function checkFile(store: Store): readonly string[] {
  const rows = store.db
    .prepare(quickCheck)
    .all()
    .map((row) => text(row.quick_check));
  return rows.length === 1 && rows[0] === "ok" ? [] : rows.map((row) => `SQLite: ${row}`);
}

function checkCounters(store: Store): readonly string[] {
  const real = new Map(
    store.db
      .prepare(recount)
      .all()
      .map((row) => [integer(row.id), integer(row.n)]),
  );
  const states = store.db
    .prepare(stateCounters)
    .all()
    .filter((row) => integer(row.n) !== (real.get(integer(row.id)) ?? 0))
    .map(
      (row) =>
        `counter of state ${integer(row.id)} says ${integer(row.n)}, there are ${real.get(integer(row.id)) ?? 0}`,
    );
  const bytes = integer(store.db.prepare(bytesCounter).get()?.n);
  const realBytes = integer(store.db.prepare(recountBytes).get()?.n);
  const told = store.db.prepare(recountTold).get();
  const channels = store.db
    .prepare(recountChannels)
    .all()
    .filter((row) => row.n !== row.real)
    .map(
      (row) => `counter of channel ${integer(row.id) - 1000} says ${integer(row.n)}, there are ${integer(row.real)}`,
    );
  return [
    ...states,
    ...(bytes === realBytes ? [] : [`counter of bytes says ${bytes}, there are ${realBytes}`]),
    ...(told?.n === told?.real ? [] : [`counter of the store's history says ${told?.n}, there are ${told?.real}`]),
    ...channels,
    ...checkCollectionCounters(store),
  ];
}

function checkCollectionCounters(store: Store): readonly string[] {
  return store.db
    .prepare(recountCollections)
    .all()
    .flatMap((row) =>
      (
        [
          ["records", row.records, row.realRecords],
          ["bytes", row.bytes, row.realBytes],
          ["unsettled records", row.unsettled, row.realUnsettled],
        ] as const
      )
        .filter(([, said, real]) => said !== real)
        .map(
          ([what, said, real]) =>
            `collection "${text(row.name)}" counts ${integer(said)} ${what}, there are ${integer(real)}`,
        ),
    );
}

function checkReadiness(store: Store): readonly string[] {
  const waits = store.db
    .prepare(wrongWaits)
    .all()
    .map((row) => `${text(row.id)} counts ${integer(row.waits)} dependencies, there are ${integer(row.real)}`);
  const alone = store.db
    .prepare(stuckAlone)
    .all()
    .map((row) => `${text(row.id)} waits for nothing`);
  const heads = store.db
    .prepare(stuckHeads)
    .all()
    .map((row) => `${text(row.id)} is the head of its lane and waits for nothing`);
  const doubled = store.db
    .prepare(twoHeads)
    .all()
    .map((row) => `lane "${text(row.lane)}" has ${integer(row.n)} operations that could go at once`);
  const places = store.db
    .prepare(onePlace)
    .all()
    .map((row) => `two operations of lane "${text(row.lane)}" stand in one place`);
  const standing = store.db
    .prepare(wrongStanding)
    .all()
    .map((row) => `${text(row.id)} stands in its lane where it should not, or the other way round`);
  return [...waits, ...alone, ...heads, ...doubled, ...places, ...standing];
}

function checkRecords(store: Store): readonly string[] {
  return ([...Object.keys(sealedTables), "evicted"] as (SealedTable | "evicted")[]).flatMap((table) => {
    const count = table === "evicted" ? brokenNotes(store) : brokenRows(store, table).length;
    return count === 0
      ? []
      : [
          `${count} rows of "${table}" no longer match their seal; they are put right when they are read, or in idle time`,
        ];
  });
}

function checkPayloads(store: Store): { readonly findings: readonly string[]; readonly checked: number } {
  const findings: string[] = [];
  let checked = 0;
  for (let after = 0; ; ) {
    const rows = store.db.prepare(payloads).all(after);
    for (const row of rows) {
      checked += 1;
      after = integer(row.seq);
      if (!isGenuine(store, row)) findings.push(`${text(row.id)}: it no longer matches its hash`);
    }
    if (rows.length === 0) return { findings, checked };
  }
}
