/**
 * Owns moving a damaged store's files aside and putting the salvaged one in their place, so that a crash in between changes nothing.
 * When that is done is left to `salvage.ts`.
 */
import { closeSync, fsyncSync, openSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Wal } from "./image.ts";

/** Damaged files that earlier openings kept beside the store. */
export function listQuarantined(directory: string): readonly string[] {
  return readdirSync(directory).filter((name) => name.startsWith(`holdfast.db.corrupt-`));
}

/** Opening has rolled the journal into the file by now, so the one that was read before is written beside it again. */
export function keepWal(quarantine: readonly (readonly [string, string])[], wal: Wal): void {
  const target = quarantine.find(([from]) => from.endsWith("-wal"))?.[1];
  if (target !== undefined) writeFileSync(target, wal.content, { mode: 0o600 });
}

export function finishSalvage(path: string): void {
  const finished = `${path}.salvaged`;
  if (statSync(finished, { throwIfNoEntry: false }) === undefined) return;
  // The damaged file is still in place when the crash came before it was moved: then it has to move first.
  const stamp = `corrupt-${new Date().toISOString().replaceAll(/[:.]/g, "-")}`;
  for (const [from, to] of quarantineNames(path, stamp)) renameIfThere(from, to);
  renameSync(finished, path);
  syncDirectory(join(path, ".."));
}

/** The -shm is only an index of the -wal; under this name SQLite rebuilds it instead of believing it. */
export function quarantineNames(path: string, stamp: string): readonly (readonly [string, string])[] {
  const kept = `${path}.${stamp}`;
  return [
    [path, kept],
    [`${path}-wal`, `${kept}-wal`],
    [`${path}-shm`, `${kept}-shm-old`],
  ];
}

export function renameIfThere(from: string, to: string): void {
  if (statSync(from, { throwIfNoEntry: false }) === undefined) return;
  // A journal that was written aside already is the whole one; what is left in place is shorter.
  if (statSync(to, { throwIfNoEntry: false }) === undefined) renameSync(from, to);
  else rmSync(from);
}

export function syncDirectory(directory: string): void {
  const handle = openSync(directory, "r");
  try {
    fsyncSync(handle);
  } catch {
    // Not every file system syncs directories.
  } finally {
    closeSync(handle);
  }
}
