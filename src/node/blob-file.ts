/**
 * Owns reading a captured file for sending: its content is what was captured, or nothing of it is sent.
 * How files are captured and collected is `blobs.ts`; what is done with the bytes is left to the operation types.
 */
import type { Hash } from "node:crypto";
import { createHash } from "node:crypto";
import type { BigIntStats } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { open } from "node:fs/promises";
import { HoldfastError } from "../errors.ts";
import { sourceError } from "./file-errors.ts";

/** What is read, hashed and sent at a time: memory stays the same for every size of file. */
export const blockBytes = 262_144;

/** Files whose content was checked are remembered, so that a transfer in many parts hashes its file once per process. */
const rememberedFiles = 1_000;

/** Clocks of file systems are coarse: a file changed this lately can change again without its times showing it. */
const racyMs = 2_000;

/** An open file whose content was checked. Close it. */
export type BlobFile = {
  readonly sizeBytes: number;
  readonly sha256: string;
  /** The bytes from `start` to before `end` in small blocks; throws `file_changed` when the file ends too early. */
  readonly read: (start: number, end: number) => AsyncGenerator<Uint8Array, void, undefined>;
  /** Digest of a part, for checksums on the wire. */
  readonly digest: (algorithm: "sha1" | "sha256", start: number, end: number) => Promise<Uint8Array>;
  /** Throws `file_changed` unless the content is still the checked one. Call it before the last byte goes out. */
  readonly assertUnchanged: () => Promise<void>;
  readonly close: () => Promise<void>;
};

export type Expected = {
  readonly path: string;
  readonly sha256: string;
  readonly sizeBytes: number;
  /** True when only we write there, so that times tell every change. */
  readonly isOurs: boolean;
  /** Added to the hint of `file_changed`: how this kind of capture can change at all. */
  readonly hint: string;
};

/** Remembers by device, inode, size and times which content a file has. */
export type Memory = {
  readonly has: (key: string, sha256: string) => boolean;
  readonly keep: (key: string, sha256: string) => void;
};

/** Makes the memory of checked files; one per process is enough. */
export function makeMemory(): Memory {
  const known = new Map<string, string>();
  return {
    has: (key, sha256) => known.get(key) === sha256,
    keep: (key, sha256) => {
      if (known.size >= rememberedFiles) known.delete(known.keys().next().value ?? "");
      known.set(key, sha256);
    },
  };
}

/** Opens a file and checks its content; throws `file_missing` or `file_changed`. */
export async function openChecked(expected: Expected, memory: Memory): Promise<BlobFile> {
  const handle = await open(expected.path, "r").catch((error: unknown) => {
    throw sourceError(error, expected.path);
  });
  try {
    let checked = await check(handle, expected, memory);
    const recheck = async (isSure: boolean) => {
      const hasKey = checked.key === keyOf(await handle.stat({ bigint: true }));
      if (!hasKey || !isSure) checked = await check(handle, expected, memory);
    };
    // Somebody else may write there at any moment: look at the times before each block goes out.
    const guard = expected.isOurs ? undefined : () => recheck(true);
    const read = (start: number, end: number) => readBlocks(handle, expected, { start, end, guard });
    return {
      sizeBytes: expected.sizeBytes,
      sha256: expected.sha256,
      read,
      digest: async (algorithm, start, end) => {
        const hash = createHash(algorithm);
        for await (const block of read(start, end)) hash.update(block);
        return hash.digest();
      },
      assertUnchanged: () => recheck(checked.isSettled),
      close: () => handle.close(),
    };
  } catch (error) {
    await handle.close();
    throw sourceError(error, expected.path);
  }
}

/** Feeds a whole open file into a hash and tells how many bytes there were. */
export async function hashAll(handle: FileHandle, hash: Hash): Promise<number> {
  const block = new Uint8Array(blockBytes * 4);
  let at = 0;
  for (;;) {
    const { bytesRead } = await handle.read(block, 0, block.length, at);
    if (bytesRead === 0) return at;
    hash.update(block.subarray(0, bytesRead));
    at += bytesRead;
  }
}

/** Tells two states of one file apart. */
export function keyOf(stat: BigIntStats): string {
  return [stat.dev, stat.ino, stat.size, stat.mtimeNs, stat.ctimeNs].join(":");
}

type Checked = { readonly key: string; readonly isSettled: boolean };

async function check(handle: FileHandle, expected: Expected, memory: Memory): Promise<Checked> {
  const before = await handle.stat({ bigint: true });
  if (!before.isFile()) throw changed(expected, "it is no regular file any more");
  if (Number(before.size) !== expected.sizeBytes) {
    throw changed(expected, `it has ${before.size} bytes now, ${expected.sizeBytes} when it was captured`);
  }
  const key = keyOf(before);
  const isSettled = expected.isOurs || Date.now() - Number(before.mtimeMs) > racyMs;
  if (isSettled && memory.has(key, expected.sha256)) return { key, isSettled };
  const hash = createHash("sha256");
  await hashAll(handle, hash);
  if (hash.digest("hex") !== expected.sha256) throw changed(expected, "its content is not the captured one");
  if (key !== keyOf(await handle.stat({ bigint: true }))) throw changed(expected, "it is being written at this moment");
  if (isSettled) memory.keep(key, expected.sha256);
  return { key, isSettled };
}

async function* readBlocks(
  handle: FileHandle,
  expected: Expected,
  range: { readonly start: number; readonly end: number; readonly guard: (() => Promise<void>) | undefined },
): AsyncGenerator<Uint8Array, void, undefined> {
  let at = range.start;
  while (at < range.end) {
    // A fresh block each time: the socket may still hold the one before.
    const block = Buffer.allocUnsafe(Math.min(blockBytes, range.end - at));
    const { bytesRead } = await handle.read(block, 0, block.length, at);
    if (bytesRead === 0) throw changed(expected, `it ends at byte ${at} now`);
    await range.guard?.();
    at += bytesRead;
    yield block.subarray(0, bytesRead);
  }
}

function changed(expected: Expected, how: string): HoldfastError {
  return new HoldfastError("file_changed", `${expected.path} is not what was queued: ${how}`, expected.hint, {
    details: { path: expected.path, sha256: expected.sha256 },
  });
}
