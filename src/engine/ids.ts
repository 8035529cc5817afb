/**
 * Owns the tables `alias` and `ref`: local ids, what they became on the remote, and which queued operations mention them.
 * What counts as a mention and how it is replaced is the rule of `id.ts` and of each type.
 */
import { HoldfastError } from "../errors.ts";
import { findReferences, rewriteReferences } from "../id.ts";
import type { Json } from "../operation.ts";
import type { OperationType } from "../world.ts";
import type { Store } from "./store.ts";
import { integer, text, textOrNull } from "./store.ts";

const findAlias = "SELECT local, server, seq, op FROM alias WHERE local = ?";
const anyAlias = "SELECT 1 AS n FROM alias LIMIT 1";
const addAlias = "INSERT INTO alias (local, server, seq, op) VALUES (?, NULL, ?, ?)";
const reviveAlias = "UPDATE alias SET seq = ?, op = ? WHERE local = ? AND server IS NULL";
const setServer = "UPDATE alias SET server = ? WHERE local = ?";
const addRef = "INSERT OR IGNORE INTO ref (local, seq) VALUES (?, ?)";
const refsTo = "SELECT seq FROM ref WHERE local = ? ORDER BY seq";
const refsOf = "SELECT local FROM ref WHERE seq = ?";
const dropRefsTo = "DELETE FROM ref WHERE local = ?";
const dropRefsOf = "DELETE FROM ref WHERE seq = ?";
const unsettled = "SELECT local FROM alias WHERE seq = ? AND server IS NULL";

export type Alias = {
  readonly local: string;
  readonly server: string | null;
  readonly seq: number;
  readonly op: string;
};

export function getAlias(store: Store, local: string): Alias | null {
  const row = store.db.prepare(findAlias).get(local);
  if (row === undefined) return null;
  return { local, server: textOrNull(row.server), seq: integer(row.seq), op: text(row.op) };
}

/** Whether the key of a record, where the server gives keys, came from there: it is none that was made here. */
export const isServerKey = (store: Store, key: string): boolean =>
  !key.startsWith("local-") && getAlias(store, key) === null;

/** The server's id of a local id, once it is known. */
export function serverIdOf(store: Store, local: string): string | null {
  return getAlias(store, local)?.server ?? null;
}

/** Declares that an operation creates a local id. A local id belongs to one creation; one that was given up frees it. Returns that one's sequence, else `null`. */
export function declareLocalId(
  store: Store,
  local: string,
  by: { readonly seq: number; readonly id: string; readonly isFree: (seq: number) => boolean },
): number | null {
  const known = getAlias(store, local);
  if (store.memory.transaction !== null) store.memory.transaction.hasAliases = true;
  if (known === null) {
    store.db.prepare(addAlias).run(local, by.seq, by.id);
    return null;
  }
  if (known.server !== null || !by.isFree(known.seq)) {
    throw new HoldfastError(
      "duplicate_local_id",
      `the local id "${local}" is created by operation ${known.op} already`,
      "use another local id, or refer to the existing one",
      { details: { operation: known.op, serverId: known.server } },
    );
  }
  store.db.prepare(reviveAlias).run(by.seq, by.id, local);
  return known.seq;
}

/** Most stores know no local id at all, and then no payload has to be searched. */
export function knowsAliases(store: Store): boolean {
  const { transaction } = store.memory;
  const has = transaction?.hasAliases ?? store.db.prepare(anyAlias).get() !== undefined;
  if (transaction !== null) transaction.hasAliases = has;
  return has;
}

/** Local ids known to this store that a payload mentions, anywhere. */
export function mentionsIn(store: Store, type: OperationType | undefined, payload: Json): readonly Alias[] {
  if (!knowsAliases(store)) return [];
  const found = new Map<string, Alias>();
  const look = (candidate: string): boolean => {
    const alias = getAlias(store, candidate);
    if (alias !== null) found.set(candidate, alias);
    return alias !== null;
  };
  findReferences(payload, look);
  for (const candidate of type?.mentions?.(payload) ?? []) look(candidate);
  return [...found.values()];
}

/** Local ids without a server's id that a value mentions. */
export function localIdsIn(store: Store, value: Json): readonly string[] {
  return mentionsIn(store, undefined, value)
    .filter(({ server }) => server === null)
    .map(({ local }) => local);
}

/** Replaces every local id whose server id is known. */
export function rewritePayload(store: Store, type: OperationType | undefined, payload: Json): Json {
  if (!knowsAliases(store)) return type?.rewrite?.(payload, () => null) ?? payload;
  const server = (local: string): string | null => serverIdOf(store, local);
  const replaced = rewriteReferences(payload, server);
  return type?.rewrite?.(replaced, server) ?? replaced;
}

export function addReference(store: Store, local: string, seq: number): void {
  store.db.prepare(addRef).run(local, seq);
}

/** Operations that mention a local id, oldest first. */
export function referrersOf(store: Store, local: string): readonly number[] {
  return store.db
    .prepare(refsTo)
    .all(local)
    .map((row) => integer(row.seq));
}

/** Local ids that an operation still mentions. */
export function referencesOf(store: Store, seq: number): readonly string[] {
  if (!knowsAliases(store)) return [];
  return store.db
    .prepare(refsOf)
    .all(seq)
    .map((row) => text(row.local));
}

/** Writes the server's id down; the alias stays for ever, the references are done. */
export function settleLocalId(store: Store, local: string, server: string): void {
  store.db.prepare(setServer).run(server, local);
  store.db.prepare(dropRefsTo).run(local);
}

export function dropReferencesOf(store: Store, seq: number): void {
  if (!knowsAliases(store)) return;
  store.db.prepare(dropRefsOf).run(seq);
}

/** Local ids that an operation has created without our knowing the server's id. */
export function unnamedBy(store: Store, seq: number): readonly string[] {
  if (!knowsAliases(store)) return [];
  return store.db
    .prepare(unsettled)
    .all(seq)
    .map((row) => text(row.local));
}
