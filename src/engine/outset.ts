/**
 * Owns the one question by which a write that queues learns what it needs of the store: settings, whether local ids are known, how full
 * the store is, the last sequence. Who else wants one of them asks for it alone; the transaction remembers both alike.
 */
import type { Fullness, Store } from "./store.ts";
import { integer, textOrNull } from "./store.ts";

const outset = `SELECT (SELECT value FROM meta WHERE name = 'settings') AS settings, EXISTS (SELECT 1 FROM alias) AS aliases,
  sum(n) AS operations, (SELECT n FROM counter WHERE id = 8) AS done, (SELECT n FROM counter WHERE id = 101) AS bytes,
  (SELECT n FROM counter WHERE id = 100) AS sequence FROM counter WHERE id <= 8`;

/** Reads it all into the memory of the transaction, unless that has begun to remember already. Returns how full the store is. */
export function readOutset(store: Store): Fullness {
  const { transaction } = store.memory;
  if (transaction?.fullness) return transaction.fullness;
  const row = store.db.prepare(outset).get();
  const operations = integer(row?.operations);
  const fullness = { unsent: operations - integer(row?.done), operations, bytes: integer(row?.bytes) };
  if (transaction === null) return fullness;
  transaction.fullness = fullness;
  transaction.storedSequence = integer(row?.sequence);
  transaction.hasAliases ??= row?.aliases === 1;
  if (!transaction.meta.has("settings")) transaction.meta.set("settings", textOrNull(row?.settings));
  return fullness;
}
