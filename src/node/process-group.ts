/**
 * Owns a child process together with everything that it starts: their own group, ended as one, recognised after our death.
 * What a command is and what its end means is `command.ts`.
 */
import { execFile } from "node:child_process";
import { readdir, readFile } from "node:fs/promises";
import { promisify } from "node:util";
import type { Json } from "../operation.ts";
import { systemCode } from "./file-errors.ts";

const run = promisify(execFile);
const isWindows = process.platform === "win32";
const pollMs = 50;

/** A process that was started, told from a later one with the same number by when it began. */
export type ProcessMark = { readonly pid: number; readonly startedAt: string };

/** Sends a signal to a whole group; false when nobody is left in it. */
function signalGroup(pid: number, signal: "SIGTERM" | "SIGKILL" | 0): boolean {
  try {
    process.kill(isWindows ? pid : -pid, signal);
    return true;
  } catch (error) {
    // EPERM: somebody is there whom we may not signal.
    return systemCode(error) === "EPERM";
  }
}

/** Ends a group: asks with SIGTERM, waits, then does not ask. Resolves when it is gone or cannot be ended. */
export async function endGroup(pid: number, graceMs: number): Promise<void> {
  if (isWindows) {
    await run("taskkill", ["/pid", String(pid), "/T", "/F"]).catch(() => undefined);
    return;
  }
  signalGroup(pid, "SIGTERM");
  if (await isGoneWithin(pid, graceMs)) return;
  // Who forks faster than one signal reaches is met by the next one.
  for (let round = 0; round < 20; round += 1) {
    signalGroup(pid, "SIGKILL");
    if (await isGoneWithin(pid, pollMs * 2)) return;
  }
}

/** Marks a process so that it can be recognised later; `null` when the system does not tell. */
export async function markOf(pid: number): Promise<ProcessMark | null> {
  const startedAt = await startOf(pid);
  return startedAt === null ? null : { pid, startedAt };
}

/** Reads a mark that an earlier process stored. */
export function readMark(stored: Json): ProcessMark | null {
  if (typeof stored !== "object" || stored === null || Array.isArray(stored)) return null;
  const { pid, startedAt } = stored as Partial<ProcessMark>;
  if (typeof pid !== "number" || !Number.isSafeInteger(pid) || pid <= 1 || typeof startedAt !== "string") return null;
  return { pid, startedAt };
}

/** Tells whether the marked process still runs: the same number and the same beginning. */
export async function isRunning(mark: ProcessMark): Promise<boolean> {
  return (await startOf(mark.pid)) === mark.startedAt;
}

async function isGoneWithin(pid: number, withinMs: number): Promise<boolean> {
  const until = performance.now() + withinMs;
  while (signalGroup(pid, 0) && (await hasLiving(pid))) {
    if (performance.now() >= until) return false;
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
  return true;
}

/** Where nobody reaps orphans, as in many containers, the dead of a group answer signals for ever: look who runs. */
async function hasLiving(group: number): Promise<boolean> {
  if (process.platform !== "linux") return true;
  const names = await readdir("/proc").catch(() => [] as string[]);
  for (const name of names) {
    if (!/^\d+$/.test(name)) continue;
    const [state, , pgrp] = fieldsOf(await readFile(`/proc/${name}/stat`, "utf8").catch(() => ""));
    if (pgrp === String(group) && state !== "Z" && state !== "X") return true;
  }
  return names.length === 0;
}

/** The name of the program may hold anything; what follows its last bracket is plain: state, parent, group, … */
function fieldsOf(stat: string): readonly string[] {
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
}

/** When a process began, in the system's own terms; on Linux with the boot, because the clock there counts from it. */
async function startOf(pid: number): Promise<string | null> {
  try {
    if (process.platform === "linux") {
      const [stat, boot] = await Promise.all([
        readFile(`/proc/${pid}/stat`, "utf8"),
        readFile("/proc/sys/kernel/random/boot_id", "utf8"),
      ]);
      const fields = fieldsOf(stat);
      // A zombie has ended; it only waits for its parent to notice.
      return fields[0] === "Z" ? null : `${boot.trim()}:${fields[19]}`;
    }
    if (isWindows) return null;
    const { stdout } = await run("ps", ["-o", "lstart=", "-p", String(pid)]);
    return stdout.trim() === "" ? null : stdout.trim();
  } catch {
    return null;
  }
}
