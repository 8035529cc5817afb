/**
 * Owns putting one database into the place of another so that a crash leaves the old one or the new one: what is to be done is written down
 * first, and whoever opens the directory next does the rest. What is put there, and who holds the lock, is `server-store.ts`.
 */
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { HoldfastError } from "../errors.ts";

/** Names within the directory: what is to lie at `file`, where it lies now, and where what lies there goes. */
type Swap = { readonly file: string; readonly from: string; readonly aside: string };

const noteName = "server.swap.json";
/** SQLite keeps a part of a database beside it: the three go together, and a WAL that stayed behind would be taken for the new one's. */
const suffixes = ["-wal", "-shm", ""] as const;

export const isSwapOpen = (directory: string): boolean => existsSync(join(directory, noteName));

/** Swaps, from the moment at which the note is on the disk. `from` must be complete and on the disk itself. Needs the server's lock. */
export function swapDatabase(directory: string, swap: Swap): void {
  const [note, draft] = [join(directory, noteName), join(directory, `${noteName}.part`)];
  writeFileSync(draft, JSON.stringify(swap), { mode: 0o600 });
  makeDurable(draft);
  makeDurable(directory);
  renameSync(draft, note);
  makeDurable(directory);
  finishSwap(directory);
}

/** Does what a swap that was cut off has left to do; nothing when there was none. Needs the server's lock. */
export function finishSwap(directory: string): void {
  if (!isSwapOpen(directory)) return;
  const { file, from, aside } = readNote(join(directory, noteName));
  const at = (name: string): string => join(directory, name);
  // Once `from` has gone, what lies at `file` is the new database, and stays.
  if (existsSync(at(from))) {
    for (const suffix of suffixes) if (existsSync(at(file + suffix))) renameSync(at(file + suffix), at(aside + suffix));
    makeDurable(directory);
    renameSync(at(from), at(file));
    makeDurable(directory);
  }
  rmSync(join(directory, noteName));
  makeDurable(directory);
}

function readNote(note: string): Swap {
  try {
    const { file, from, aside } = JSON.parse(readFileSync(note, "utf8")) as Partial<Swap>;
    const names = [file, from, aside];
    if (names.every((name) => typeof name === "string" && name !== "" && !/[\\/]/.test(name)))
      return { file, from, aside } as Swap;
  } catch {
    // What is no note says as little as one that is damaged.
  }
  throw new HoldfastError(
    "database_corrupt",
    `${note} says that a restore was cut off, and cannot be read`,
    "the files of both databases lie beside it: keep a copy, then restore again after removing it",
  );
}

export function makeDurable(path: string): void {
  const descriptor = openSync(path, "r");
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
