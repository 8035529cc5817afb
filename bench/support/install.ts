// Owns the peers' installation: the pinned packages of bench/package.json, put under bench/node_modules when they are not there.
// Leaves using them to peers.ts.
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

const folder = join(import.meta.dirname, "..");

export function installPeers(): void {
  const { dependencies } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  if (Object.entries<string>(dependencies).every(([name, version]) => isInstalled(name, version))) return;
  process.stderr.write("bench: installing the peers in bench/node_modules\n");
  const options = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
  const installed = spawnSync(process.platform === "win32" ? "npm.cmd" : "npm", options, {
    cwd: folder,
    stdio: ["ignore", 2, 2],
    shell: process.platform === "win32",
  });
  if (installed.status !== 0)
    throw new Error("the peers could not be installed; the measurements need them beside ours");
}

function isInstalled(name: string, version: string): boolean {
  const file = join(folder, "node_modules", name, "package.json");
  return existsSync(file) && JSON.parse(readFileSync(file, "utf8")).version === version;
}
