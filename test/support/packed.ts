// Owns packing the package and installing the tarball into an empty project, as a user does.
// Leaves what is then tried there to test/package.test.ts and test/runtimes/.
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";

export const run = promisify(execFile);
export const root = path.resolve(import.meta.dirname, "../..");

const isWindows = process.platform === "win32";
export const npm = isWindows ? "npm.cmd" : "npm";
const installTimeoutMs = 150_000;

/** A folder outside the repository that goes away with `using`, with the package installed from its tarball. */
export type Project = { readonly folder: string; readonly [Symbol.dispose]: () => void };

/** Packs the repository (its prepack script builds it) and installs the result with scripts allowed to run. */
export async function installPacked(): Promise<Project> {
  const folder = mkdtempSync(path.join(tmpdir(), "holdfast-package-"));
  try {
    const options = { timeout: installTimeoutMs, shell: isWindows, env: outsideEnv() };
    await run(npm, ["pack", "--loglevel=error", "--pack-destination", folder], { ...options, cwd: root });
    const { version } = await import("../../package.json", { with: { type: "json" } }).then((found) => found.default);
    writeFileSync(path.join(folder, "package.json"), '{ "private": true, "type": "module" }\n');
    const tarball = `./holdfast-${version}.tgz`;
    await run(npm, ["install", "--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error", tarball], {
      ...options,
      cwd: folder,
    });
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
  return { folder, [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }) };
}

/** npm hands its own settings down to what it starts; in a user's shell there are none of them. */
function outsideEnv(): NodeJS.ProcessEnv {
  const inherited = Object.entries(process.env).filter(
    ([name]) => !/^npm_(?!config_(registry|cache|userconfig)$)/.test(name),
  );
  return Object.fromEntries(inherited);
}
