/**
 * Owns deleting from `<directory>/blobs`: content that nobody refers to, and what died captures left behind.
 * Capturing and finding content is `blobs.ts`; which content is referred to is told by the caller.
 */
import { link, mkdir, readdir, rename, rm, stat } from "node:fs/promises";
import path from "node:path";
import { systemCode } from "./file-errors.ts";

/** Where captured content lives, and where it is prepared. */
export type Place = { readonly root: string; readonly temp: string; readonly minFreeBytes: number };

export type Collected = { readonly removed: number; readonly freedBytes: number };

/** A temporary file without a change for a day is litter even if its process id lives: ids are used again. */
const staleMs = 86_400_000;
const trash = "trash-";

/** Temporary files that this process is writing at this moment. */
export const openDrafts = new Set<string>();

/** Whether no content is kept at all. */
export async function isEmpty({ root }: Place): Promise<boolean> {
  for (const bucket of await foldersOf(root)) if ((await readdir(path.join(root, bucket))).length > 0) return false;
  return true;
}

/** Deletes content that is in no `used` hash and older than `minAgeMs`. Safe beside captures of any process. */
export async function collect(place: Place, used: ReadonlySet<string>, minAgeMs: number): Promise<Collected> {
  let removed = 0;
  let freedBytes = 0;
  for (const bucket of await foldersOf(place.root)) {
    const folder = path.join(place.root, bucket);
    for (const name of await readdir(folder)) {
      const sha256 = name.slice(0, 64);
      if (!/^[0-9a-f]{64}$/.test(sha256) || used.has(sha256)) continue;
      const freed = await collectOne(place, path.join(folder, name), minAgeMs);
      if (freed === null) continue;
      removed += 1;
      freedBytes += freed;
    }
  }
  return { removed, freedBytes };
}

/** Bytes that were freed; `null` when it stays. The age is that of the inode: linking and renaming renew it, an edit of the original too. */
async function collectOne(place: Place, file: string, minAgeMs: number): Promise<number | null> {
  const found = await stat(file, { bigint: true }).catch(() => null);
  if (found === null || Date.now() - Number(found.ctimeMs) < minAgeMs) return null;
  const name = path.basename(file);
  if (name.endsWith(".link")) {
    // Nobody captures under this name again, and the original keeps its bytes.
    await rm(file, { force: true });
    return 0;
  }
  // Take the file aside and look again: a capture may have put a fresh copy there since.
  const aside = path.join(place.temp, `${trash}${name}`);
  await mkdir(place.temp, { recursive: true, mode: 0o700 });
  await rename(file, aside);
  const taken = await stat(aside, { bigint: true });
  if (taken.ino !== found.ino) {
    await putBack(aside, file);
    return null;
  }
  await rm(aside, { force: true });
  return Number(found.size);
}

async function putBack(aside: string, file: string): Promise<void> {
  await link(aside, file).catch((error: unknown) => {
    if (systemCode(error) !== "EEXIST") throw error;
  });
  await rm(aside, { force: true });
}

/** Deletes temporary files of dead processes and puts back what a died collection took aside. */
export async function sweep(place: Place): Promise<number> {
  let swept = 0;
  for (const name of await readdir(place.temp).catch(() => [] as string[])) {
    const file = path.join(place.temp, name);
    if (name.startsWith(trash)) {
      const sha256 = name.slice(trash.length);
      await mkdir(path.join(place.root, sha256.slice(0, 2)), { recursive: true, mode: 0o700 });
      await putBack(file, path.join(place.root, sha256.slice(0, 2), sha256));
    } else if (!openDrafts.has(file) && (await isLitter(file))) {
      await rm(file, { force: true });
      swept += 1;
    }
  }
  return swept;
}

async function isLitter(file: string): Promise<boolean> {
  const pid = Number.parseInt(path.basename(file), 10);
  if (pid === process.pid || !isAlive(pid)) return true;
  const found = await stat(file).catch(() => null);
  return found !== null && Date.now() - found.ctimeMs > staleMs;
}

function isAlive(pid: number): boolean {
  if (!(pid > 0)) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // Somebody else's process is alive too.
    return systemCode(error) === "EPERM";
  }
}

async function foldersOf(root: string): Promise<readonly string[]> {
  const names = await readdir(root).catch(() => [] as string[]);
  return names.filter((name) => /^[0-9a-f]{2}$/.test(name));
}
