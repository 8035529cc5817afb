/**
 * Owns the table `choice`: which side a person chose for a record before there was a conflict about it.
 * What a choice decides is `conflicts.ts`.
 */
import { getSettings } from "./meta.ts";
import type { Store } from "./store.ts";
import { integer, text } from "./store.ts";

const find = "SELECT choose, version, at FROM choice WHERE record = ?";
const any = "SELECT 1 AS n FROM choice LIMIT 1";
const put = `INSERT INTO choice (record, choose, version, at) VALUES (?, ?, ?, ?)
  ON CONFLICT (record) DO UPDATE SET choose = excluded.choose, version = excluded.version, at = excluded.at`;
const drop = "DELETE FROM choice WHERE record = ?";

export function chooseBeforehand(
  store: Store,
  record: number,
  choice: { readonly choose: string; readonly version: number },
): void {
  if (store.memory.transaction !== null) store.memory.transaction.hasChoices = true;
  store.db.prepare(put).run(record, choice.choose, choice.version, store.world.now());
}

/** Nearly always nobody has chosen beforehand, and then no record has to be looked at for it. */
export function hasChoices(store: Store): boolean {
  const { transaction } = store.memory;
  const has = transaction?.hasChoices ?? store.db.prepare(any).get() !== undefined;
  if (transaction !== null) transaction.hasChoices = has;
  return has;
}

/** What a person chose beforehand holds only for what that person saw; anything else is asked again (`void`). */
export function takeChoice(
  store: Store,
  record: number,
  version: number,
): "local" | "remote" | "merge" | "void" | null {
  const found = hasChoices(store) ? store.db.prepare(find).get(record) : undefined;
  if (found === undefined) return null;
  forgetChoice(store, record);
  const isFresh = store.world.now() - integer(found.at) <= getSettings(store).conflictStaleMs;
  return isFresh && integer(found.version) === version ? (text(found.choose) as "local" | "remote" | "merge") : "void";
}

/** A choice was about what was unsent then: what is written once that has landed is another change. */
export function forgetChoice(store: Store, record: number): void {
  if (hasChoices(store)) store.db.prepare(drop).run(record);
}
