// Owns the peers' installation: the pinned packages of bench/package.json for the queue and of bench/pull-peers/package.json for pulling,
// put beside those files when they are not there. Leaves using them to peers.ts and pull-clients.ts.
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

const folder = join(import.meta.dirname, "..");
const pullFolder = join(folder, "pull-peers");

export function installPeers(): void {
  if (isComplete(folder) || install(folder)) return;
  throw new Error("the peers could not be installed; the measurements need them beside ours");
}

/** What only bar P9 shows beside ours: where it cannot be had, the bar says so and goes on. */
export function installPullPeers(): void {
  if (isComplete(pullFolder) || install(pullFolder)) return;
  process.stderr.write("bench: RxDB and PouchDB could not be installed; P9 goes on without them\n");
}

/** Why RxDB and PouchDB are not there; `null` when they are. */
export function missingPeers(): string | null {
  return isComplete(pullFolder) ? null : "they could not be installed";
}

function install(where: string): boolean {
  process.stderr.write(`bench: installing the peers in ${join(where, "node_modules")}\n`);
  const options = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
  const installed = spawnSync(process.platform === "win32" ? "npm.cmd" : "npm", options, {
    cwd: where,
    stdio: ["ignore", 2, 2],
    shell: process.platform === "win32",
  });
  return installed.status === 0;
}

function isComplete(where: string): boolean {
  const { dependencies } = JSON.parse(readFileSync(join(where, "package.json"), "utf8"));
  return Object.entries<string>(dependencies).every(([name, version]) => {
    const file = join(where, "node_modules", name, "package.json");
    return existsSync(file) && JSON.parse(readFileSync(file, "utf8")).version === version;
  });
}
