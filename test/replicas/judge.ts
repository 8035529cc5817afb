// Owns what has to hold in a simulated run of replicas: after every step, and when everything has come to rest.
// The rules carry the numbers of PROOF: I1 nothing promised is lost, I2 effects once, I5 replicas converge, I6 no conflict lost, I8 counts.

import { canonicalText } from "../../src/canonical.ts";
import type { Database } from "../../src/database.ts";
import type { Json } from "../../src/operation.ts";
import type { Fields } from "../../src/record.ts";
import type { ServerRow } from "../../src/server/store.ts";
import type { Output } from "../../src/verbs.ts";
import type { PushAnswer } from "../../src/wire.ts";
import type { HistoryEvent } from "./history.ts";
import type { Promises, Stage } from "./moves.ts";
import { collectionNames, inNewestWords, isInReach } from "./programs.ts";
import type { Replica } from "./replica.ts";
import type { All } from "./server-base.ts";
import type { ServerHost } from "./server-host.ts";
import { space, uuidLength } from "./server-host.ts";

export type Violation = { readonly rule: string; readonly detail: string };

/** All that the server ever had, and what each client has seen. */
export type Witnesses = {
  /** Every text of every version that was ever committed at the server, in any of its histories. */
  readonly committed: Set<string>;
  /** By history and version, what it was given to. */
  readonly given: Map<string, string>;
  /** What each client showed last of each record, so that only news are recorded. */
  readonly shown: Map<string, string>;
  /** Decided conflicts that are known, by replica. */
  readonly decided: Map<string, string>;
  /** The receipts that the last look found, by id. */
  landed: ReadonlySet<string>;
  history: string;
  head: number;
};

export const newWitnesses = (): Witnesses => ({
  committed: new Set(),
  given: new Map(),
  shown: new Map(),
  decided: new Map(),
  landed: new Set(),
  history: "",
  head: 0,
});

const spaceRow = "SELECT head, floor, history FROM hf_space WHERE name = ?";
const serverRows = `SELECT collection, key, version, value FROM hf_record
  WHERE space = ? AND version > ? ORDER BY version`;
const clientRows = `SELECT collection.name AS collection, record.key AS key, record.version AS version, record.value AS value,
  record.pendings AS pendings, collection.mark AS mark,
  record.mark <> collection.mark AS unmet FROM record JOIN collection ON collection.id = record.collection`;
const clientHistory = "SELECT history FROM space WHERE name = ?";
const decidedRows = `SELECT conflict.id AS id, conflict.status AS status, collection.name AS collection, record.key AS key
  FROM conflict JOIN record ON record.id = conflict.record JOIN collection ON collection.id = record.collection
  WHERE conflict.status <> 'open'`;

/** Reads what the server has committed since the last look; versions only grow, none is used twice and none is left out. */
export function judgeServer(stage: Judged, witnesses: Witnesses): Promise<Violation | null> {
  return stage.server.base.look((all) => judgeRows(all, stage, witnesses));
}

type Judged = Pick<Stage, "server" | "events" | "promises">;

async function judgeRows(
  all: All,
  { server, events, promises }: Judged,
  witnesses: Witnesses,
): Promise<Violation | null> {
  const [row] = await all(spaceRow, space);
  if (row === undefined) return null;
  const history = inEra(server, String(row.history));
  if (history !== witnesses.history) Object.assign(witnesses, { history, head: 0, landed: new Set() });
  for (const row of await all(serverRows, space, witnesses.head)) {
    const version = Number(row.version);
    const record = `${row.collection}/${row.key}`;
    const owner = witnesses.given.get(`${history} ${version}`);
    if (owner !== undefined && owner !== record)
      return { rule: "S1", detail: `version ${version} was given to ${owner} and to ${record}` };
    witnesses.given.set(`${history} ${version}`, record);
    witnesses.head = Math.max(witnesses.head, version);
    const text = String(row.value);
    witnesses.committed.add(text);
    for (const key of promises.localKeys)
      if (record.endsWith(`/${key}`) || text.includes(key))
        return { rule: "I9", detail: `the server has the local key ${key} in ${record}: ${text}` };
    const value = row.value === null ? null : inNewestWords(String(row.collection), JSON.parse(text) as Fields);
    events.push({ kind: "commit", history, record, version, value });
  }
  noteLandings(await server.base.receipts(all), events, witnesses);
  const newest = Math.max(witnesses.head, Number(row.floor));
  // A version that was given without being used is a hole past which a cursor goes before the change is there.
  if (Number(row.head) !== newest) return { rule: "S2", detail: `head ${row.head}, newest version ${newest}` };
  for (const [id, times] of server.applied)
    if (times > 1) return { rule: "I2", detail: `operation ${id} was applied ${times} times` };
  for (const [id, { times, last }] of server.pushed)
    if (times > pushLimit)
      return { rule: "livelock", detail: `operation ${id} was answered ${times} times, last ${last}` };
  for (const [minute, times] of server.refused)
    if (times > refusalLimit)
      return { rule: "livelock", detail: `${times} requests were refused for who sent them in minute ${minute}` };
  return null;
}

/** Credentials that were refused are shown again after a minute at the earliest, or when a person acts. */
const refusalLimit = 100;

/** A person who decides, and lost answers, send an operation a few times more; nothing sends it for ever. */
const pushLimit = 150;

/** Receipts say which operation landed at which version. */
function noteLandings(rows: readonly ServerRow[], events: HistoryEvent[], witnesses: Witnesses): void {
  const { history, landed } = witnesses;
  witnesses.landed = new Set(rows.map(({ id }) => String(id)));
  for (const row of rows) {
    if (landed.has(String(row.id))) continue;
    const answer = JSON.parse(String(row.answer)) as PushAnswer;
    if (answer.outcome !== "applied") continue;
    for (const { collection, key, version } of answer.changes) {
      const operation = String(row.id).slice(0, uuidLength);
      events.push({ kind: "land", history, operation, record: `${collection}/${key}`, version });
    }
  }
}

/** A database that was copied back goes on under the same name with versions that it has given before. */
const inEra = (server: ServerHost, history: string): string => `${history} ${server.era()}`;

/** Records for the history what a client shows now, and what was decided on it since the last look. */
export function observeReplica({ events, isPolitical, server }: Stage, replica: Replica, witnesses: Witnesses): void {
  const { name: client, database } = replica;
  for (const row of database.prepare(decidedRows).all()) {
    const id = `${client} ${row.id}`;
    if (witnesses.decided.get(id) === row.status) continue;
    witnesses.decided.set(id, String(row.status));
    events.push({ kind: "decide", client, record: `${row.collection}/${row.key}` });
  }
  // Nobody is looked at between a server that is set back and hearing of it.
  const known = inEra(server, String(database.prepare(clientHistory).get(space)?.history ?? ""));
  for (const row of database.prepare(clientRows).all()) {
    const record = `${row.collection}/${row.key}`;
    // While everything is read again, what was not met yet has a version of the history before; which one that was, each reading knows.
    const history = Number(row.unmet) === 1 ? `before ${known}, reading ${row.mark}` : known;
    const facts = `${history} ${row.version} ${row.pendings} ${row.value}`;
    if (witnesses.shown.get(`${client} ${record}`) === facts) continue;
    witnesses.shown.set(`${client} ${record}`, facts);
    const value =
      row.value === null ? null : inNewestWords(String(row.collection), JSON.parse(String(row.value)) as Fields);
    const isSettled = Number(row.pendings) === 0;
    // It is gone from here, or only from what this client may read: what is shown then says nothing of what the server has.
    if (isPolitical && value === null && row.collection === "tasks") {
      events.push({ kind: "decide", client, record });
      continue;
    }
    events.push({ kind: "read", client, history, record, version: Number(row.version), value, isSettled });
  }
}

/** I8: every count, hash and index of the store itself. */
export function judgeStore(replica: Replica): Violation | null {
  const checked = replica.ask("engine.check", {});
  if (checked.kind !== "ok" || checked.output.isSound) return null;
  return { rule: "I8", detail: `${replica.name}: ${checked.output.findings.join("; ")}` };
}

/** I1 and I6: each value that a client was told is kept was on the server once, or is still to be found on that client. */
export function judgePromises(
  promises: Promises,
  replicas: readonly Replica[],
  witnesses: Witnesses,
): Violation | null {
  const server = [...witnesses.committed].join("\n");
  const clients = new Map(replicas.map((replica) => [replica.name, allTexts(replica.database)]));
  for (const [value, name] of promises.kept) {
    // "c1-1" is also the beginning of "c1-10".
    const pattern = new RegExp(`${value}(?!\\d)`);
    if (pattern.test(server) || pattern.test(clients.get(name) ?? "")) continue;
    return { rule: "I1", detail: `${name} was told that "${value}" is kept; it is nowhere` };
  }
  return null;
}

const tables = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'";

function allTexts(database: Database): string {
  const parts: string[] = [];
  for (const { name } of database.prepare(tables).all())
    for (const row of database.prepare(`SELECT * FROM "${name}"`).all()) parts.push(Object.values(row).join(" "));
  return parts.join("\n");
}

/** I5: once everything is quiet and decided, every replica shows exactly what the server has and lets it read. */
export async function judgeEquality(server: ServerHost, replicas: readonly Replica[]): Promise<Violation | null> {
  const truth = await serverState(server);
  for (const replica of replicas) {
    const mine = replicaState(replica);
    if (mine === null) return { rule: "I5", detail: `${replica.name} does not answer` };
    for (const name of new Set([...truth.keys(), ...mine.keys()])) {
      const { reach } = replica.credentials;
      const isThere = isInReach(reach, name);
      const [there, here] = [(isThere ? truth.get(name) : undefined) ?? "nothing", mine.get(name)?.text ?? "nothing"];
      if (there === here && (mine.get(name)?.state ?? "synced") === "synced") continue;
      return {
        rule: "I5",
        detail: `${name}: the server has ${there} for who may read ${reach}, ${replica.name} shows ${here} (${mine.get(name)?.state})`,
      };
    }
  }
  return null;
}

/** A value in the newest words: what an older program shows is the same note. */
const textOf = (collection: string, value: Fields): string => canonicalText(inNewestWords(collection, value) as Json);

async function serverState(server: ServerHost): Promise<ReadonlyMap<string, string>> {
  const rows = await server.base.look((all) => all(serverRows, space, 0));
  return new Map(
    rows
      .filter((row) => row.value !== null)
      .map((row) => [
        `${row.collection}/${row.key}`,
        textOf(String(row.collection), JSON.parse(String(row.value)) as Fields),
      ]),
  );
}

type Shown = { readonly text: string; readonly state: string };

function replicaState(replica: Replica): ReadonlyMap<string, Shown> | null {
  const shown = new Map<string, Shown>();
  for (const name of collectionNames) {
    const answered = replica.ask("records.query", { collection: name, limit: 1000 });
    if (answered.kind !== "ok") return null;
    const { records } = answered.output as Output<"records.query">;
    for (const { key, value, state } of records)
      if (value !== null) shown.set(`${name}/${key}`, { text: textOf(name, value as Fields), state });
  }
  return shown;
}

/** I2: a meter has counted every step that was acknowledged, once. */
export async function judgeMeters(server: ServerHost, promises: Promises): Promise<Violation | null> {
  const truth = await serverState(server);
  for (const [key, { least, most }] of promises.meters) {
    const { n } = JSON.parse(truth.get(`meters/${key}`) ?? "{}") as { readonly n?: number };
    if (n !== undefined && n >= least && n <= most) continue;
    return {
      rule: "I2",
      detail: `meter ${key} stands at ${n}; ${least} steps were acknowledged, at most ${most} taken`,
    };
  }
  return null;
}
