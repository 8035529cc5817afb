/**
 * Owns the receipts: what was answered under each idempotency key, and per client the number below which nothing comes any more.
 * They are written in the transaction of the effects; what is answered is decided in `push.ts`, when they go in `retention.ts`.
 */
import type { PushAnswer } from "../wire.ts";
import { allIn, runRows } from "./sql.ts";
import type { Tx } from "./store.ts";

export type Receipt = {
  readonly id: string;
  readonly client: string;
  readonly number: number;
  /** Of what was asked; the same key with another is a mistake of the client. */
  readonly hash: string;
  readonly answer: PushAnswer;
};

const readReceiptsSql = (marks: string): string =>
  `SELECT id, client, number, hash, answer FROM hf_receipt WHERE space = ? AND id IN (${marks})`;
const insertReceipts = (rows: string): string =>
  `INSERT INTO hf_receipt (space, id, client, number, hash, answer, at) VALUES ${rows}`;
const readFloorsSql = (marks: string): string =>
  `SELECT client, floor FROM hf_client WHERE space = ? AND client IN (${marks})`;
const raiseFloorsSql = (rows: string): string => `INSERT INTO hf_client (space, client, floor, seen_at) VALUES ${rows}
  ON CONFLICT (space, client) DO UPDATE SET floor = excluded.floor, seen_at = excluded.seen_at
  WHERE hf_client.floor < excluded.floor`;
const deleteOld = `DELETE FROM hf_receipt WHERE (space, id) IN
  (SELECT space, id FROM hf_receipt WHERE at < ? ORDER BY at LIMIT ?)`;

export async function readReceipts(
  tx: Tx,
  space: string,
  ids: readonly string[],
): Promise<ReadonlyMap<string, Receipt>> {
  const rows = await allIn(tx, readReceiptsSql, { before: [space], list: ids });
  return new Map(
    rows.map((row) => [
      String(row.id),
      {
        id: String(row.id),
        client: String(row.client),
        number: Number(row.number),
        hash: String(row.hash),
        answer: JSON.parse(String(row.answer)) as PushAnswer,
      },
    ]),
  );
}

export async function writeReceipts(
  tx: Tx,
  receipts: readonly Receipt[],
  at: { readonly space: string; readonly now: number },
): Promise<void> {
  const rows = receipts.map(({ id, client, number, hash, answer }) => [
    ...[at.space, id, client, number, hash, JSON.stringify(answer), at.now],
  ]);
  await runRows(tx, insertReceipts, rows);
}

/** Where the floors of these clients are; a client that never named one is not among them. */
export async function readFloors(tx: Tx, space: string, clients: readonly string[]): Promise<Map<string, number>> {
  const rows = await allIn(tx, readFloorsSql, { before: [space], list: clients });
  return new Map(rows.map((row) => [String(row.client), Number(row.floor)]));
}

/** Moves floors up, never down. They have no age: a client that comes back after years is still known. */
export async function raiseFloors(
  tx: Tx,
  floors: readonly (readonly [client: string, floor: number])[],
  { space, now }: { readonly space: string; readonly now: number },
): Promise<void> {
  await runRows(
    tx,
    raiseFloorsSql,
    floors.map(([client, floor]) => [space, client, floor, now]),
  );
}

export async function forgetReceipts(
  tx: Tx,
  { before, limit }: { readonly before: number; readonly limit: number },
): Promise<number> {
  return (await tx.run(deleteOld, before, limit)).changes;
}
