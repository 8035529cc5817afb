/**
 * Owns the disk under a store: how much is free, and the reserve file that lets a queue move again on a full disk.
 * When the reserve is given back or laid again is left to the engine.
 */

import { randomFillSync } from "node:crypto";
import { closeSync, fsyncSync, openSync, renameSync, rmSync, statfsSync, statSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { Disk } from "../world.ts";

const reserveName = "reserve";
export const defaultReserveBytes = 262_144;
/** How long a measurement of the free space is good for. */
const freshMs = 1_000;
/** The reserve is laid only when this many times its size is free, so that laying it never fills the disk. */
const reserveMargin = 2;
/** With this many times its size free it is laid without being asked for. */
const ampleMargin = 8;

export type DiskOptions = {
  readonly directory: string;
  readonly reserveBytes: number;
  readonly monotonic: () => number;
};

/** Looks after the disk that holds `directory`; lays the reserve when there is room. */
export function openDisk(options: DiskOptions): Disk {
  const { directory, reserveBytes, monotonic } = options;
  const path = join(directory, reserveName);
  let measuredAt = Number.NEGATIVE_INFINITY;
  let measured = Number.POSITIVE_INFINITY;
  const freeBytes = (): number => {
    if (monotonic() - measuredAt < freshMs) return measured;
    measuredAt = monotonic();
    measured = measureFree(directory);
    // Ample room again: the reserve is laid without anybody having to ask for it.
    if (measured >= reserveBytes * ampleMargin && sizeOf(path) < reserveBytes) lay(path, reserveBytes);
    return measured;
  };
  const forget = (): void => {
    measuredAt = Number.NEGATIVE_INFINITY;
  };
  const disk: Disk = {
    freeBytes,
    releaseReserve: () => {
      forget();
      return remove(path);
    },
    restoreReserve: () => {
      if (reserveBytes === 0 || sizeOf(path) >= reserveBytes) return true;
      forget();
      if (freeBytes() < reserveBytes * reserveMargin) return false;
      forget();
      return lay(path, reserveBytes);
    },
  };
  disk.restoreReserve();
  return disk;
}

/** Gives the reserve of a data directory back before anything there is open; false when there is none. */
export function removeReserve(directory: string): boolean {
  return remove(join(directory, reserveName));
}

function measureFree(directory: string): number {
  try {
    const { bavail, bsize } = statfsSync(directory);
    return bavail * bsize;
  } catch {
    // Some network and user-space file systems do not tell.
    return Number.POSITIVE_INFINITY;
  }
}

/** Writes the bytes for real: a sparse file holds no space, and random bytes cannot be compressed away. */
function lay(path: string, sizeBytes: number): boolean {
  const unfinished = `${path}.${process.pid}`;
  try {
    const file = openSync(unfinished, "w", 0o600);
    try {
      const bytes = randomFillSync(Buffer.alloc(sizeBytes));
      for (let at = 0; at < sizeBytes; ) at += writeSync(file, bytes, at);
      // Some file systems find out only now that there is no room.
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(unfinished, path);
    return true;
  } catch {
    rmSync(unfinished, { force: true });
    return false;
  }
}

function remove(path: string): boolean {
  try {
    rmSync(path);
    return true;
  } catch {
    return false;
  }
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}
