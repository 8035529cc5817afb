/**
 * Owns the table of spaces: the gapless sequence of each, the identity of its history, and the floor below which it forgot removals.
 * What a version is given to is `push.ts`; when the floor rises is `retention.ts`.
 */
import type { Dialect, ServerRow, Tx } from "./store.ts";

export type Space = {
  readonly name: string;
  /** The newest version; every version up to it was given to exactly one change. */
  readonly head: number;
  /** Minted when the space came into being or was restored from a backup: cursors of another history mean nothing here. */
  readonly history: string;
  /** Removals up to this version may be forgotten. */
  readonly floor: number;
};

const readSpace = "SELECT name, head, history, floor FROM hf_space WHERE name = ?";
const readNames = "SELECT name, head, history, floor FROM hf_space ORDER BY name";
const createSpace = `INSERT INTO hf_space (name, head, history, floor, created_at) VALUES (?, 0, ?, 0, ?)
  ON CONFLICT (name) DO NOTHING`;
const moveHead = "UPDATE hf_space SET head = ? WHERE name = ?";
const raiseFloor = "UPDATE hf_space SET floor = ? WHERE name = ? AND floor < ?";
const mintHistory = "UPDATE hf_space SET history = ? WHERE name = ?";

export type Minting = { readonly newId: () => string; readonly now: () => number };

/** The space as it is; `null` when nobody has written to or read from it yet. */
export async function findSpace(tx: Tx, name: string): Promise<Space | null> {
  const [row] = await tx.all(readSpace, name);
  return row === undefined ? null : toSpace(row);
}

async function listSpaces(tx: Tx): Promise<readonly Space[]> {
  return (await tx.all(readNames)).map(toSpace);
}

/** The space, made on first use. Needs a write transaction. */
export async function ensureSpace(tx: Tx, name: string, minting: Minting): Promise<Space> {
  await tx.run(createSpace, name, minting.newId(), minting.now());
  const space = await findSpace(tx, name);
  if (space === null) throw new Error(`the space ${name} was made and is not there`);
  return space;
}

/**
 * Locks the space's counter until the transaction ends, so that versions are given in the order of commits: whoever reads the head
 * sees everything below it. This lock comes before any other read of the transaction.
 */
export async function lockSpace(
  tx: Tx,
  name: string,
  { dialect, minting }: { readonly dialect: Dialect; readonly minting: Minting },
): Promise<Space> {
  const [row] = await tx.all(`${readSpace} ${dialect.forUpdate}`, name);
  if (row !== undefined) return toSpace(row);
  await tx.run(createSpace, name, minting.newId(), minting.now());
  const [made] = await tx.all(`${readSpace} ${dialect.forUpdate}`, name);
  if (made === undefined) throw new Error(`the space ${name} was made and is not there`);
  return toSpace(made);
}

export async function saveHead(tx: Tx, name: string, head: number): Promise<void> {
  await tx.run(moveHead, head, name);
}

export async function saveFloor(tx: Tx, name: string, floor: number): Promise<void> {
  await tx.run(raiseFloor, floor, name, floor);
}

/** After a restore: what clients have seen may lie in a future that never was, so every cursor must begin anew. */
export async function mintHistories(tx: Tx, newId: () => string): Promise<number> {
  const spaces = await listSpaces(tx);
  for (const { name } of spaces) await tx.run(mintHistory, newId(), name);
  return spaces.length;
}

const toSpace = (row: ServerRow): Space => ({
  name: String(row.name),
  head: Number(row.head),
  history: String(row.history),
  floor: Number(row.floor),
});
