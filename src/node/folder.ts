/**
 * Owns making a folder with all its parents, where people and configurations name one.
 * Whose folder it may be and who may read it is left to whoever opens it, e.g. `home.ts`.
 */
import { mkdirSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { HoldfastError } from "../errors.ts";

const ownerOnlyFolder = 0o700;

/** Failures that mean that the name itself can be no folder; the others (rights, a full disk) are told by their own words. */
const unusable: ReadonlySet<string> = new Set(["ENOENT", "ENOTDIR", "EEXIST", "EINVAL", "ELOOP", "ENAMETOOLONG"]);

/**
 * Makes a folder for its owner alone; one that is there stays as it is. `mkdirSync` with `recursive` is not used: where a system
 * says "no such file" below a folder that exists, as /proc does, it tries for ever.
 * @example
 * makeFolder("/var/lib/app/data");
 */
export function makeFolder(folder: string): void {
  const whole = resolve(folder);
  try {
    for (const each of missingFolders(whole)) makeOne(each);
  } catch (error) {
    const { code = "", path = whole } = error as NodeJS.ErrnoException;
    if (!unusable.has(code)) throw error;
    throw new HoldfastError(
      "config_invalid",
      `the folder ${whole} cannot be made: ${dirname(path)} takes no folder of that name (${code})`,
      "name a folder on a disk of yours, e.g. with HOLDFAST_HOME, --home or --data",
      { cause: error, details: { path: whole } },
    );
  }
}

/** From the outermost that is not there to the innermost. */
function missingFolders(whole: string): readonly string[] {
  const missing: string[] = [];
  for (let at = whole; statSync(at, { throwIfNoEntry: false }) === undefined; at = dirname(at)) {
    missing.unshift(at);
    if (dirname(at) === at) break;
  }
  return missing;
}

function makeOne(folder: string): void {
  try {
    mkdirSync(folder, { mode: ownerOnlyFolder });
  } catch (error) {
    // Another process may have made it meanwhile.
    if ((error as NodeJS.ErrnoException).code !== "EEXIST" || !isFolder(folder)) throw error;
  }
}

function isFolder(name: string): boolean {
  return statSync(name, { throwIfNoEntry: false })?.isDirectory() === true;
}
