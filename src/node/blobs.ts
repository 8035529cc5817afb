/**
 * Owns `<directory>/blobs`: capturing a file's content by its hash, finding it again, and collecting what nobody refers to.
 * Reading for sending is `blob-file.ts`; which operations refer to which content is told by the caller.
 */
import { createHash, randomBytes } from "node:crypto";
import type { BigIntStats } from "node:fs";
import { constants } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { copyFile, link, mkdir, open, readdir, realpath, rename, rm, stat, statfs } from "node:fs/promises";
import path from "node:path";
import { HoldfastError, isCode } from "../errors.ts";
import type { FileRef } from "../upload.ts";
import type { BlobFile, Expected } from "./blob-file.ts";
import { blockBytes, hashAll, makeMemory, openChecked } from "./blob-file.ts";
import type { Collected, Place } from "./blob-litter.ts";
import { collect, isEmpty, openDrafts, sweep } from "./blob-litter.ts";
import { sourceError, storeError, syncFolder, systemCode } from "./file-errors.ts";

/** How a file is captured: its bytes now, a second name for it, or a note of where it is and what it holds. */
export type CaptureMode = "copy" | "link" | "reference";

export type CaptureOptions = { readonly mode?: CaptureMode; readonly name?: string; readonly mediaType?: string };

export type Blobs = {
  /** Captures a file. When it resolves, the content is durable (`reference`: its hash is known). */
  readonly captureFile: (file: string, options?: CaptureOptions) => Promise<FileRef>;
  /** Captures bytes that are no file, e.g. standard input. */
  readonly captureStream: (
    source: AsyncIterable<Uint8Array>,
    options?: Omit<CaptureOptions, "mode">,
  ) => Promise<FileRef>;
  /** Opens what was captured for sending; throws `file_missing` or `file_changed`, never gives another content. */
  readonly open: (ref: FileRef) => Promise<BlobFile>;
  /** Deletes content that is in no `used` hash and older than `minAgeMs`: younger content may be on its way into the queue. */
  readonly collect: (used: Iterable<string>, options?: { readonly minAgeMs?: number }) => Promise<Collected>;
  /** Whether there is nothing to collect. */
  readonly isEmpty: () => Promise<boolean>;
  /** Clears what processes left behind that died while they captured. Call it at start. */
  readonly sweep: () => Promise<number>;
};

/** Between its capture and its enqueue content is referred to by nobody; an hour covers every enqueue that can still come. */
const collectAgeMs = 3_600_000;
/** Room that a capture leaves for the queue itself. */
const captureReserveBytes = 8_388_608;
/** From here on it is worth asking the file system for a shared copy. */
const cloneBytes = 1_048_576;
const fileMode = process.platform === "win32" ? 0o600 : 0o400;

/**
 * Opens the blobs of a data directory; nothing is created before the first capture.
 * @example
 * const ref = await makeBlobs("/var/lib/app").captureFile("/tmp/photo.jpg") // { blob: "9f86d0…", sizeBytes: 4, name: "photo.jpg" }
 */
export function makeBlobs(directory: string, options: { readonly minFreeBytes?: number } = {}): Blobs {
  const root = path.resolve(directory, "blobs");
  const minFreeBytes = options.minFreeBytes ?? captureReserveBytes;
  const place: Place = { root, temp: path.join(root, "tmp"), minFreeBytes };
  const memory = makeMemory();
  return {
    captureFile: (file, more = {}) => captureFile(place, path.resolve(file), more),
    captureStream: (source, more = {}) => captureStream(place, source, more),
    open: async (ref) => {
      if ("path" in ref) return openChecked({ ...ref, isOurs: false, hint: hints.reference }, memory);
      return openBlob(place, ref, (expected) => openChecked(expected, memory));
    },
    collect: (used, more = {}) => collect(place, new Set(used), more.minAgeMs ?? collectAgeMs),
    isEmpty: () => isEmpty(place),
    sweep: () => sweep(place),
  };
}

const hints = {
  reference:
    "put the file back as it was, queue the new content as an operation of its own, or capture by copy next time",
  link: "a hard link shares its bytes with the original, which was edited in place; queue the file again, by copy",
  copy: "the stored copy is damaged; check the disk and queue the file again",
} as const;

// ---- capture ----------------------------------------------------------------------------------------------------

/** A temporary file that holds the content, and what it is called once it is installed. */
type Draft = { readonly temp: string; readonly sha256: string; readonly sizeBytes: number; readonly isLink: boolean };

async function captureFile(place: Place, file: string, options: CaptureOptions): Promise<FileRef> {
  const source = await open(file, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0)).catch((error: unknown) => {
    throw sourceError(error, file);
  });
  try {
    const before = await source.stat({ bigint: true });
    if (!before.isFile()) {
      const hint = "archive a folder first; pipe a stream in instead";
      throw new HoldfastError("invalid_input", `${file} is no regular file`, hint);
    }
    const names = namesOf({ name: path.basename(file), ...options });
    if (options.mode === "reference") {
      const hash = createHash("sha256");
      const sizeBytes = await readingFrom(file, hashAll(source, hash));
      await assertStill(file, source, before);
      const modifiedAtMs = Number(before.mtimeNs / 1_000_000n);
      return { path: file, sizeBytes, sha256: hash.digest("hex"), modifiedAtMs, ...names };
    }
    return await withDraft(place, async (temp) => {
      const isLink = options.mode === "link" && (await linkInto(file, temp, before));
      const draft = isLink
        ? { temp, isLink, ...(await hashLinked(file, source)) }
        : { temp, isLink, ...(await copyInto(place, temp, { file, source, sizeBytes: Number(before.size) })) };
      await assertStill(file, source, before);
      return { ...(await install(place, draft)), ...names };
    });
  } finally {
    await source.close();
  }
}

async function captureStream(
  place: Place,
  source: AsyncIterable<Uint8Array>,
  options: Omit<CaptureOptions, "mode">,
): Promise<FileRef> {
  return withDraft(place, async (temp) => {
    const written = await writeDurably(place, temp, source);
    return { ...(await install(place, { temp, isLink: false, ...written })), ...namesOf(options) };
  });
}

/** Runs `capture` with the name of a fresh temporary file, and leaves none behind, however it ends. */
async function withDraft<T>(place: Place, capture: (temp: string) => Promise<T>): Promise<T> {
  const temp = path.join(place.temp, `${process.pid}-${randomBytes(8).toString("hex")}`);
  openDrafts.add(temp);
  try {
    await mkdir(place.temp, { recursive: true, mode: 0o700 });
    return await capture(temp);
  } catch (error) {
    throw storeError(error, place.root);
  } finally {
    await rm(temp, { force: true }).catch(() => undefined);
    openDrafts.delete(temp);
  }
}

async function linkInto(file: string, temp: string, source: BigIntStats): Promise<boolean> {
  try {
    await link(await realpath(file), temp);
  } catch (error) {
    // Another device, a file system without links, somebody else's file, too many links: then it is a copy.
    if (["EXDEV", "EPERM", "EACCES", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EMLINK"].includes(systemCode(error)))
      return false;
    throw error;
  }
  const linked = await stat(temp, { bigint: true });
  if (linked.ino === source.ino && linked.dev === source.dev) return true;
  // The name was given to another file between opening and linking: take the bytes that were opened.
  await rm(temp, { force: true });
  return false;
}

async function hashLinked(file: string, source: FileHandle): Promise<{ sha256: string; sizeBytes: number }> {
  const hash = createHash("sha256");
  const sizeBytes = await readingFrom(file, hashAll(source, hash));
  // A file opened for reading cannot be flushed everywhere; its owner's own flush then has to do.
  await source.sync().catch(() => undefined);
  return { sha256: hash.digest("hex"), sizeBytes };
}

type Source = { readonly file: string; readonly source: FileHandle; readonly sizeBytes: number };

async function copyInto(place: Place, temp: string, from: Source): Promise<{ sha256: string; sizeBytes: number }> {
  if (from.sizeBytes >= cloneBytes && (await cloneInto(from.file, temp))) {
    const handle = await open(temp, "r+");
    try {
      const hash = createHash("sha256");
      const sizeBytes = await hashAll(handle, hash);
      await handle.chmod(fileMode);
      await handle.sync();
      return { sha256: hash.digest("hex"), sizeBytes };
    } finally {
      await handle.close();
    }
  }
  await assertRoom(place, from.sizeBytes);
  return writeDurably(place, temp, blocksOf(from));
}

/** Shares the blocks where the file system can (btrfs, XFS, APFS): instant, and no room is taken. */
async function cloneInto(file: string, temp: string): Promise<boolean> {
  try {
    await copyFile(file, temp, constants.COPYFILE_FICLONE_FORCE | constants.COPYFILE_EXCL);
    return true;
  } catch {
    await rm(temp, { force: true });
    return false;
  }
}

async function* blocksOf({ file, source }: Source): AsyncGenerator<Uint8Array, void, undefined> {
  const block = new Uint8Array(blockBytes * 4);
  for (let at = 0; ; ) {
    const { bytesRead } = await readingFrom(file, source.read(block, 0, block.length, at));
    if (bytesRead === 0) return;
    at += bytesRead;
    yield block.subarray(0, bytesRead);
  }
}

async function writeDurably(
  place: Place,
  temp: string,
  source: AsyncIterable<Uint8Array>,
): Promise<{ sha256: string; sizeBytes: number }> {
  const handle = await open(temp, "wx", fileMode);
  try {
    const hash = createHash("sha256");
    let sizeBytes = 0;
    let nextCheck = 0;
    for await (const block of source) {
      if (sizeBytes >= nextCheck) {
        // A stream does not say how long it is, and others write to the disk too.
        await assertRoom(place, block.length);
        nextCheck = sizeBytes + 64 * cloneBytes;
      }
      hash.update(block);
      await writeAll(handle, block);
      sizeBytes += block.length;
    }
    await handle.sync();
    return { sha256: hash.digest("hex"), sizeBytes };
  } finally {
    await handle.close();
  }
}

async function writeAll(handle: FileHandle, block: Uint8Array): Promise<void> {
  for (let at = 0; at < block.length; ) {
    // A nearly full disk takes a part and says so; only the next write is refused.
    at += (await handle.write(block, at, block.length - at)).bytesWritten;
  }
}

async function assertRoom(place: Place, sizeBytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(place.temp);
  const free = bavail * bsize;
  if (free >= sizeBytes + place.minFreeBytes) return;
  const message = `no room in ${place.root}: ${sizeBytes} bytes to capture, ${free} free, ${place.minFreeBytes} kept for the queue`;
  throw new HoldfastError("disk_full", message, "free some space, or capture by reference");
}

/** Gives the draft its final name. A copy takes the place of an older copy: the content is the same, and this one is known to be sound. */
async function install(place: Place, draft: Draft): Promise<{ readonly blob: string; readonly sizeBytes: number }> {
  const folder = path.join(place.root, draft.sha256.slice(0, 2));
  await mkdir(folder, { recursive: true, mode: 0o700 });
  // Each link has a name of its own: an edit of one original must not reach who captured the same content elsewhere.
  const name = draft.isLink ? `${draft.sha256}.${randomBytes(4).toString("hex")}.link` : draft.sha256;
  await rename(draft.temp, path.join(folder, name));
  // The whole way down, even where the folders were there: another process may have made them and not flushed them yet.
  for (const each of [folder, place.root, path.dirname(place.root)]) await syncFolder(each);
  return { blob: draft.sha256, sizeBytes: draft.sizeBytes };
}

async function assertStill(file: string, source: FileHandle, before: BigIntStats): Promise<void> {
  const after = await readingFrom(file, source.stat({ bigint: true }));
  if (after.size === before.size && after.mtimeNs === before.mtimeNs) return;
  const hint = "wait until it is complete and queue it again";
  throw new HoldfastError("file_changed", `${file} was written while it was captured`, hint);
}

/** Tells a failure to read the person's file from one of our own folder. */
async function readingFrom<T>(file: string, reading: Promise<T>): Promise<T> {
  try {
    return await reading;
  } catch (error) {
    throw sourceError(error, file);
  }
}

function namesOf(options: Omit<CaptureOptions, "mode">): { readonly name?: string; readonly mediaType?: string } {
  const { name, mediaType } = options;
  return {
    ...(name === undefined || name === "" ? {} : { name: name.slice(0, 255) }),
    ...(mediaType === undefined ? {} : { mediaType }),
  };
}

// ---- opening ----------------------------------------------------------------------------------------------------

type BlobRef = Extract<FileRef, { readonly blob: string }>;

async function openBlob(
  place: Place,
  ref: BlobRef,
  openOne: (expected: Expected) => Promise<BlobFile>,
): Promise<BlobFile> {
  const folder = path.join(place.root, ref.blob.slice(0, 2));
  const names = await readdir(folder).catch((error: unknown) => {
    if (systemCode(error) === "ENOENT") return [] as string[];
    // For want of handles, say: what cannot be looked at is not gone.
    throw sourceError(error, folder);
  });
  const copies = names.filter((name) => name === ref.blob);
  const links = names.filter((name) => name.startsWith(`${ref.blob}.`));
  let first: unknown;
  for (const name of [...copies, ...links]) {
    const isOurs = name === ref.blob;
    const hint = isOurs ? hints.copy : hints.link;
    try {
      return await openOne({ path: path.join(folder, name), sha256: ref.blob, sizeBytes: ref.sizeBytes, isOurs, hint });
    } catch (error) {
      if (!isCode(error, "file_changed") && !isCode(error, "file_missing")) throw error;
      first ??= error;
    }
  }
  if (first !== undefined) throw first;
  const hint = "it was deleted from the data directory; queue the file again";
  throw new HoldfastError("file_missing", `the captured content ${ref.blob} of ${ref.name ?? "a file"} is gone`, hint);
}
