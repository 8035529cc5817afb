// Owns the checks of the packed package that need no network: its files, its manifest, its types and its size.
// Leaves installing and running it to test/package.test.ts. Reads dist/ as the last build left it.
import { execFile } from "node:child_process";
import { accessSync, constants, mkdirSync, readFileSync, rmSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { root } from "./stage-runner.ts";

const run = promisify(execFile);

/**
 * The tarball as people download it, and what npm unpacks from it. Half of it is the command line with its dependencies, a third the library,
 * an eighth the types; a source map, a test or a golden file does not pass the list of names. What outgrows this is looked at first.
 */
const packedLimitBytes = 1_250_000;
const unpackedLimitBytes = 5_000_000;

type Packed = {
  readonly tarball: string;
  readonly size: number;
  readonly unpackedSize: number;
  readonly files: readonly string[];
};

type Manifest = {
  readonly exports: Readonly<Record<string, string | Readonly<Record<string, string>>>>;
  readonly bin: Readonly<Record<string, string>>;
  readonly scripts: Readonly<Record<string, string>>;
};

const scratch = path.join(root, ".tmp", `pack-${process.pid}`);
const manifest: Manifest = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8"));

async function main(): Promise<number> {
  mkdirSync(scratch, { recursive: true });
  try {
    const packed = await pack();
    const checks: readonly (readonly [string, () => unknown])[] = [
      ["every file that the manifest names is packed", () => findNamedFiles(packed)],
      ["the command is executable and opens with its interpreter", checkCommand],
      ["nothing but the build and its papers is packed", () => checkContents(packed)],
      ["nothing runs on installation, here or in a dependency", checkInstallScripts],
      ["the build names no path of the machine that made it", () => checkPaths(packed)],
      [`packed ${kilobytes(packed.size)}, unpacked ${kilobytes(packed.unpackedSize)}`, () => checkSize(packed)],
      ["publint finds nothing", () => node("node_modules/publint/src/cli.js", "run", packed.tarball, "--strict")],
      ["attw finds nothing", () => attw(packed.tarball)],
    ];
    const results = await Promise.all(checks.map(([name, check]) => judge(name, check)));
    const failed = results.filter((isPassed) => !isPassed).length;
    console.log(`${results.length - failed} passed, ${failed} failed`);
    return failed > 0 ? 1 : 0;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

async function judge(name: string, check: () => unknown): Promise<boolean> {
  try {
    await check();
    console.log(`ok   ${name}`);
    return true;
  } catch (error) {
    const { stdout = "", stderr = "", message } = error as { stdout?: string; stderr?: string; message: string };
    console.log(`FAIL ${name}\n${[stdout, stderr].join("").trim() || message}`);
    return false;
  }
}

async function pack(): Promise<Packed> {
  const args = ["pack", "--json", "--ignore-scripts", "--loglevel=error", "--pack-destination", scratch];
  const { stdout } = await run("npm", args, { cwd: root, shell: process.platform === "win32" });
  const answer = JSON.parse(stdout.slice(stdout.search(/[[{]/)));
  const entry = Array.isArray(answer) ? answer[0] : (answer.holdfast ?? answer);
  return {
    tarball: path.join(scratch, entry.filename),
    size: entry.size,
    unpackedSize: entry.unpackedSize,
    files: entry.files.map((file: { readonly path: string }) => file.path),
  };
}

function node(...args: readonly string[]): Promise<unknown> {
  return run(process.execPath, args, { cwd: root, env: { ...process.env, NO_COLOR: "1" } });
}

function attw(tarball: string): Promise<unknown> {
  const cli = "node_modules/@arethetypeswrong/cli/dist/index.js";
  return node(cli, tarball, "--profile", "esm-only", "--no-definitely-typed", "--no-emoji", "--no-color");
}

function findNamedFiles(packed: Packed): void {
  const named = [
    ...Object.values(manifest.bin),
    ...Object.values(manifest.exports).flatMap((target) =>
      typeof target === "string" ? target : Object.values(target),
    ),
  ].map((file) => file.replace(/^\.\//, ""));
  const missing = named.filter((file) => !packed.files.includes(file));
  if (missing.length > 0) throw new Error(`not packed: ${missing.join(", ")}`);
}

function checkCommand(): void {
  for (const file of Object.values(manifest.bin)) {
    accessSync(path.join(root, file), constants.X_OK);
    const text = readFileSync(path.join(root, file), "utf8");
    if (!text.startsWith("#!/usr/bin/env node\n")) throw new Error(`${file} does not open with its interpreter`);
    if (text.indexOf("#!/usr/bin/env node", 1) === 20) throw new Error(`${file} opens with its interpreter twice`);
  }
}

function checkContents(packed: Packed): void {
  const allowed = /^(dist\/.*\.(js|d\.ts)|dist\/cli\/LICENSES\.txt|README\.md|CHANGELOG\.md|LICENSE|package\.json)$/;
  const strange = packed.files.filter((file) => !allowed.test(file) || /\.test\./.test(file));
  if (strange.length > 0) throw new Error(`should not be packed: ${strange.join(", ")}`);
  const missing = ["README.md", "CHANGELOG.md", "LICENSE"].filter((file) => !packed.files.includes(file));
  if (missing.length > 0) throw new Error(`not packed: ${missing.join(", ")}`);
}

function checkInstallScripts(): void {
  const own = ["preinstall", "install", "postinstall", "prepare"].filter((name) => name in manifest.scripts);
  const lock: {
    readonly packages: Readonly<Record<string, { readonly hasInstallScript?: boolean; readonly dev?: boolean }>>;
  } = JSON.parse(readFileSync(path.join(root, "package-lock.json"), "utf8"));
  const theirs = Object.entries(lock.packages).filter(([, entry]) => entry.hasInstallScript === true && !entry.dev);
  const found = [...own, ...theirs.map(([place]) => place)];
  if (found.length > 0) throw new Error(`runs on installation: ${found.join(", ")}`);
}

function checkPaths(packed: Packed): void {
  const texts = packed.files.filter((file) => file.startsWith("dist/"));
  const leaking = texts.filter((file) => readFileSync(path.join(root, file), "utf8").includes(root));
  if (leaking.length > 0) throw new Error(`names ${root}: ${leaking.join(", ")}`);
}

function checkSize(packed: Packed): void {
  if (packed.size > packedLimitBytes) throw new Error(`packed size is over ${kilobytes(packedLimitBytes)}`);
  if (packed.unpackedSize > unpackedLimitBytes)
    throw new Error(`unpacked size is over ${kilobytes(unpackedLimitBytes)}`);
}

function kilobytes(bytes: number): string {
  return `${Math.ceil(bytes / 1000)} kB`;
}

process.exitCode = await main();
