/**
 * Owns files that only their owner may read: checked before they are believed, replaced whole and durably, one writer at a time.
 * What stands in them belongs to others.
 */
import { closeSync, constants, fstatSync, lstatSync, openSync, readFileSync } from "node:fs";
import { open, rename, rm, stat } from "node:fs/promises";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { HoldfastError } from "../errors.ts";
import { makeFolder } from "./folder.ts";

const sizeLimitBytes = 1_048_576;
/** How long a writer waits for another, and after which age a lock is believed to be a dead writer's. */
const lockWaitMs = 5_000;
const lockStaleMs = 10_000;

/** Changes whenever the file does; empty when there is none. */
export function signatureOf(file: string): string {
  const found = lstatSync(file, { bigint: true, throwIfNoEntry: false });
  return found === undefined
    ? ""
    : `${found.dev}:${found.ino}:${found.size}:${found.mtimeNs}:${found.ctimeNs}:${found.mode}`;
}

/** The file's text, or `null` when there is none. Throws `config_invalid` for a file that others could read or lead astray. */
export function readPrivateFile(file: string): string | null {
  let handle: number;
  try {
    handle = openSync(file, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0));
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ENOENT") return null;
    if (code === "ELOOP" || code === "EMLINK")
      throw refuse(file, "is a symbolic link", `replace it by a file: rm ${file}`);
    throw refuse(file, `cannot be read (${code})`, "check its owner and mode");
  }
  try {
    // The open file is judged, not its name: the name could mean another file a moment later.
    const found = fstatSync(handle);
    if (!found.isFile()) throw refuse(file, "is no regular file", "move it away");
    if (found.size > sizeLimitBytes) throw refuse(file, `is larger than ${sizeLimitBytes} bytes`, "move it away");
    if (process.platform !== "win32") {
      if ((found.mode & 0o077) !== 0) throw refuse(file, "can be read by others", `run: chmod 600 ${file}`);
      const user = process.getuid?.();
      if (user !== undefined && found.uid !== user)
        throw refuse(file, "belongs to another user", "let its owner run this");
    }
    return readFileSync(handle, "utf8");
  } finally {
    closeSync(handle);
  }
}

/** Replaces the text by what `change` makes of it. When it resolves, the new text survives a power cut. */
export async function updatePrivateFile(file: string, change: (before: string | null) => string): Promise<void> {
  const folder = path.dirname(file);
  makeFolder(folder);
  const lock = `${file}.lock`;
  await takeLock(lock);
  const draft = `${file}.${process.pid}.tmp`;
  try {
    const text = change(readPrivateFile(file));
    await rm(draft, { force: true });
    const handle = await open(draft, "wx", 0o600);
    try {
      await handle.writeFile(text, "utf8");
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(draft, file);
    await syncFolder(folder);
  } catch (error) {
    await rm(draft, { force: true });
    if (error instanceof HoldfastError) throw error;
    const isFull = ["ENOSPC", "EDQUOT"].includes((error as NodeJS.ErrnoException).code ?? "");
    const hint = isFull ? "free some space" : "check the folder's owner and mode";
    throw new HoldfastError(isFull ? "disk_full" : "io_failed", `${file} could not be written`, hint, { cause: error });
  } finally {
    await rm(lock, { force: true });
  }
}

async function takeLock(lock: string): Promise<void> {
  const until = performance.now() + lockWaitMs;
  while (true) {
    try {
      await (await open(lock, "wx", 0o600)).close();
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") {
        throw new HoldfastError("io_failed", `${lock} could not be made`, "check the folder's owner and mode", {
          cause: error,
        });
      }
    }
    const age = await stat(lock).then(
      (found) => Date.now() - found.mtimeMs,
      () => 0,
    );
    // A negative age is a clock that was set back; the writer may live, so it is waited for.
    if (age > lockStaleMs) await rm(lock, { force: true });
    else if (performance.now() > until) {
      throw new HoldfastError(
        "io_failed",
        `${lock} is held by another process`,
        `try again; if nothing runs, delete ${lock}`,
      );
    } else await sleep(20);
  }
}

async function syncFolder(folder: string): Promise<void> {
  // Windows cannot open a folder; its rename is durable enough there.
  if (process.platform === "win32") return;
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function refuse(file: string, what: string, hint: string): HoldfastError {
  return new HoldfastError("config_invalid", `${file} ${what}`, hint);
}
