// Owns the slow disk: a preloaded library, compiled on demand, that makes every sync of a process take five milliseconds longer.
// Leaves the library itself to shim/slowsync.c.
import { spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";

const delayUs = 5_000;
const source = join(import.meta.dirname, "..", "shim", "slowsync.c");

export type SlowDisk =
  | { readonly env: NodeJS.ProcessEnv; readonly reason: null }
  | { readonly env: null; readonly reason: string };

/** The environment of a process with a slow disk, or the reason why there is none here. */
export function slowDisk(directory: string): SlowDisk {
  if (process.platform !== "linux") return { env: null, reason: `${process.platform} has no LD_PRELOAD` };
  mkdirSync(directory, { recursive: true });
  const library = join(directory, "slowsync.so");
  const built = spawnSync("cc", ["-O2", "-shared", "-fPIC", "-o", library, source, "-ldl"], { encoding: "utf8" });
  if (built.error !== undefined) return { env: null, reason: "there is no C compiler (cc)" };
  if (built.status !== 0) return { env: null, reason: `cc failed: ${built.stderr.trim()}` };
  return { env: { ...process.env, LD_PRELOAD: library, SLOWSYNC_US: String(delayUs) }, reason: null };
}
