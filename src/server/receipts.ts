/**
 * Owns the receipts: what was answered under each idempotency key, and per client the number below which nothing comes any more.
 * They are written in the transaction of the effects; what is answered is decided in `push.ts`, when they go in `retention.ts`.
 */
import type { PushAnswer } from "../wire.ts";
import { allIn, runRows } from "./sql.ts";
import type { Tx } from "./store.ts";

export type Receipt = {
  readonly id: string;
  readonly number: number;
  /** Of what was asked; the same key with another is a mistake of the client. */
  readonly hash: string;
  readonly answer: PushAnswer;
};

const readReceiptsSql = (marks: string): string =>
  `SELECT id, number, hash, answer FROM hf_receipt WHERE space = ? AND id IN (${marks})`;
const insertReceipts = (rows: string): string =>
  `INSERT INTO hf_receipt (space, id, client, number, hash, answer, at) VALUES ${rows}`;
const readFloor = "SELECT floor FROM hf_client WHERE space = ? AND client = ?";
const raiseFloorSql = `INSERT INTO hf_client (space, client, floor, seen_at) VALUES (?, ?, ?, ?)
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
  at: { readonly space: string; readonly client: string; readonly now: number },
): Promise<void> {
  const rows = receipts.map(({ id, number, hash, answer }) => [
    ...[at.space, id, at.client, number, hash, JSON.stringify(answer), at.now],
  ]);
  await runRows(tx, insertReceipts, rows);
}

/** Moves a client's floor up, never down, and answers where it is. It has no age: a client that comes back after years is still known. */
export async function raiseFloor(
  tx: Tx,
  wanted: { readonly space: string; readonly client: string; readonly floor: number; readonly now: number },
): Promise<number> {
  const [row] = await tx.all(readFloor, wanted.space, wanted.client);
  const floor = Number(row?.floor ?? -1);
  if (wanted.floor <= floor) return floor;
  await tx.run(raiseFloorSql, wanted.space, wanted.client, wanted.floor, wanted.now);
  return wanted.floor;
}

export async function forgetReceipts(
  tx: Tx,
  { before, limit }: { readonly before: number; readonly limit: number },
): Promise<number> {
  return (await tx.run(deleteOld, before, limit)).changes;
}
