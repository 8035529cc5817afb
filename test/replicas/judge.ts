// Owns what has to hold in a simulated run of replicas: after every step, and when everything has come to rest.
// The rules carry the numbers of PROOF: I1 nothing promised is lost, I2 effects once, I5 replicas converge, I6 no conflict lost, I8 counts.

import { canonicalText } from "../../src/canonical.ts";
import type { Database } from "../../src/database.ts";
import type { Json } from "../../src/operation.ts";
import type { Output } from "../../src/verbs.ts";
import type { Promises } from "./moves.ts";
import type { Replica } from "./replica.ts";
import { collections } from "./replica.ts";
import type { ServerHost } from "./server-host.ts";

export type Violation = { readonly rule: string; readonly detail: string };

/** All that the server ever had, and what each client has seen. */
export type Witnesses = {
  /** Every text of every version that was ever committed at the server. */
  readonly committed: Set<string>;
  /** By replica and record, the highest version that it has shown. */
  readonly seen: Map<string, number>;
  head: number;
};

export const newWitnesses = (): Witnesses => ({ committed: new Set(), seen: new Map(), head: 0 });

const serverRows =
  "SELECT collection, key, version, value FROM hf_record WHERE space = ? AND version > ? ORDER BY version";
const clientRows = `SELECT collection.name AS collection, record.key AS key, record.version AS version
  FROM record JOIN collection ON collection.id = record.collection`;

/** Reads what the server has committed since the last look; versions only grow, and none is used twice. */
export function judgeServer(server: ServerHost, space: string, witnesses: Witnesses): Violation | null {
  const rows = server.database.prepare(serverRows).all(space, witnesses.head);
  for (const row of rows) {
    const version = Number(row.version);
    if (version <= witnesses.head) return { rule: "S1", detail: `version ${version} was given twice` };
    witnesses.head = version;
    witnesses.committed.add(String(row.value));
  }
  return null;
}

/** A record never goes back to an older version on a client (monotonic reads). */
export function judgeReplica(replica: Replica, witnesses: Witnesses): Violation | null {
  for (const row of replica.database.prepare(clientRows).all()) {
    const name = `${replica.name} ${row.collection}/${row.key}`;
    const version = Number(row.version);
    const before = witnesses.seen.get(name) ?? 0;
    if (version < before && version !== 0)
      return { rule: "monotonic reads", detail: `${name} went from version ${before} back to ${version}` };
    witnesses.seen.set(name, version);
  }
  return null;
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

/** I5: once everything is quiet and decided, every replica shows exactly what the server has. */
export function judgeEquality(server: ServerHost, space: string, replicas: readonly Replica[]): Violation | null {
  const truth = serverState(server, space);
  for (const replica of replicas) {
    const mine = replicaState(replica);
    if (mine === null) return { rule: "I5", detail: `${replica.name} does not answer` };
    for (const name of new Set([...truth.keys(), ...mine.keys()])) {
      const [there, here] = [truth.get(name) ?? "nothing", mine.get(name)?.text ?? "nothing"];
      if (there === here && (mine.get(name)?.state ?? "synced") === "synced") continue;
      return {
        rule: "I5",
        detail: `${name}: the server has ${there}, ${replica.name} shows ${here} (${mine.get(name)?.state})`,
      };
    }
  }
  return null;
}

function serverState(server: ServerHost, space: string): ReadonlyMap<string, string> {
  const rows = server.database.prepare(serverRows).all(space, 0);
  return new Map(
    rows
      .filter((row) => row.value !== null)
      .map((row) => [`${row.collection}/${row.key}`, canonicalText(JSON.parse(String(row.value)) as Json)]),
  );
}

type Shown = { readonly text: string; readonly state: string };

function replicaState(replica: Replica): ReadonlyMap<string, Shown> | null {
  const shown = new Map<string, Shown>();
  for (const { name } of collections) {
    const answered = replica.ask("records.query", { collection: name, limit: 1000 });
    if (answered.kind !== "ok") return null;
    const { records } = answered.output as Output<"records.query">;
    for (const { key, value, state } of records)
      if (value !== null) shown.set(`${name}/${key}`, { text: canonicalText(value as Json), state });
  }
  return shown;
}

/** I2: a meter has counted every step that was acknowledged, once. */
export function judgeMeters(server: ServerHost, space: string, promises: Promises): Violation | null {
  const truth = serverState(server, space);
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

/** The server's versions are gapless: each was given to a record, and nothing was skipped. */
export function judgeVersions(server: ServerHost, space: string, witnesses: Witnesses): Violation | null {
  const [row] = server.database.prepare("SELECT head FROM hf_space WHERE name = ?").all(space);
  const head = Number(row?.head ?? 0);
  return head === witnesses.head ? null : { rule: "S2", detail: `head ${head}, newest version ${witnesses.head}` };
}
