// Owns `npm run build`: dist/ with the library as plain modules and the command line bundled so that it starts fast.
// Leaves the verdict on the result to scripts/package-checks.ts; decision 0002 says why the two are made differently.
import { spawn } from "node:child_process";
import { chmodSync, existsSync, globSync, mkdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import path from "node:path";
import type { Rolldown } from "tsdown";
import { build } from "tsdown";
import { root } from "./stage-runner.ts";

const dist = path.join(root, "dist");
/** Leaves judging the types to somebody who does it in the same moment, as scripts/check.ts does. */
const isUnchecked = process.argv.includes("--unchecked");
const scratch = path.join(root, ".tmp", `build-${process.pid}`);

async function main(): Promise<void> {
  mkdirSync(scratch, { recursive: true });
  try {
    const fresh = path.join(scratch, "dist");
    await Promise.all([compileLibrary(fresh), bundleCommandLine(path.join(scratch, "cli"))]);
    renameSync(path.join(scratch, "cli"), path.join(fresh, "cli"));
    replaceDist(fresh);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

function compileLibrary(outDir: string): Promise<void> {
  const tsc = path.join(root, "node_modules/typescript-native/bin/tsc");
  const args = [tsc, "-p", "tsconfig.build.json", "--outDir", outDir, ...(isUnchecked ? ["--noCheck"] : [])];
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { cwd: root, stdio: ["ignore", 2, 2] });
    child.once("error", reject);
    child.once("exit", (code) => (code === 0 ? resolve() : reject(new Error(`tsc ended with exit code ${code}`))));
  });
}

/**
 * Dependencies are bundled in, which halves the start; what a command imports late becomes a file of its own beside
 * main.js, which halves it again for the commands that do not need it.
 */
async function bundleCommandLine(outDir: string): Promise<void> {
  await build({
    config: false,
    cwd: root,
    entry: { main: "src/cli/main.ts" },
    outDir,
    format: "esm",
    platform: "node",
    target: "node22.18",
    dts: false,
    clean: false,
    report: false,
    logLevel: "warn",
    failOnWarn: true,
    deps: { alwaysBundle: [/^(?!node:)/], onlyBundle: false },
    outExtensions: () => ({ js: ".js" }),
    outputOptions: {
      banner: (chunk) => (chunk.isEntry ? "#!/usr/bin/env node" : ""),
      chunkFileNames: "[name]-[hash].js",
      // What our functions promise is said in the library beside the bundle; in it nobody reads, and it was an eighth of the package.
      comments: { legal: true, jsdoc: false, annotation: false },
    },
    plugins: [licenceNotices()],
  });
  chmodSync(path.join(outDir, "main.js"), 0o755);
}

/** What is bundled in is passed on, so its licences go with it. */
function licenceNotices(): Rolldown.Plugin {
  return {
    name: "licence-notices",
    generateBundle(_options, bundle) {
      const modules = Object.values(bundle).flatMap((chunk) => (chunk.type === "chunk" ? chunk.moduleIds : []));
      const packages = new Set(modules.map((id) => id.match(/^.*\/node_modules\/(?:@[^/]+\/)?[^/]+/)?.[0] ?? ""));
      packages.delete("");
      this.emitFile({ type: "asset", fileName: "LICENSES.txt", source: [...packages].sort().map(noticeOf).join("\n") });
    },
  };
}

function noticeOf(folder: string): string {
  const { name, version, license } = JSON.parse(readFileSync(path.join(folder, "package.json"), "utf8"));
  const texts = globSync("{licen[cs]e,LICEN[CS]E,License}*", { cwd: folder }).filter((file) => !file.endsWith(".js"));
  const text = texts.map((file) => readFileSync(path.join(folder, file), "utf8").trim()).join("\n\n");
  return `## ${name} ${version} (${license})\n\n${text}\n`;
}

/** A reader of dist/ meets the old build or the new one, and of two builds at once the later one stays. */
function replaceDist(fresh: string): void {
  for (let attempt = 1; ; attempt++) {
    try {
      if (existsSync(dist)) renameSync(dist, path.join(scratch, `old-${attempt}`));
      renameSync(fresh, dist);
      return;
    } catch (error) {
      if (attempt === 5) throw error;
    }
  }
}

await main();
