// Owns the way from "npm test" to a running task: a fitting Node, installed dependencies, then the task's own program.
// Leaves the tasks to the programs named below. Written for Node 20 and older, since any Node may be the first to read it.
// @ts-check
import { spawn, spawnSync } from "node:child_process";
import { createHash, randomUUID } from "node:crypto";
import { existsSync, lstatSync, mkdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

/** @type {Readonly<Record<string, readonly string[]>>} */
const tasks = {
  start: ["scripts/start.ts"],
  demo: ["scripts/demo.ts"],
  test: ["scripts/test.ts"],
  check: ["scripts/check.ts"],
  build: ["scripts/build.ts"],
  sim: ["test/simulation/run.ts"],
  bench: ["bench/run.ts"],
  fix: ["node_modules/@biomejs/biome/bin/biome", "check", "--write", "."],
};

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");
const toolchain = path.join(root, ".toolchain");
const minimumNode = [22, 18];
const toolchainNode = "24.21.0";

const lockHeartbeatMs = 1_000;
const lockStaleMs = 30_000;
const lockPollMs = 200;
const installTries = 3;

const isWindows = process.platform === "win32";

/** @param {string} text */
const say = (text) => process.stderr.write(`holdfast: ${text}\n`);

/** An expected failure: told in one line, without a stack. */
class Stop extends Error {}

// ---- a Node that can run the sources ----------------------------------------------------------------------------

/** @param {string} version */
function isRecentEnough(version) {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const [wantMajor = 0, wantMinor = 0] = minimumNode;
  return major > wantMajor || (major === wantMajor && minor >= wantMinor);
}

function toolchainBinary() {
  const platform = isWindows ? "win" : process.platform;
  const name = `node-${platform}-${process.arch}`;
  const binary = path.join(toolchain, "node_modules", name, "bin", isWindows ? "node.exe" : "node");
  return { name, binary, stamp: path.join(toolchain, `${name}-${toolchainNode}.size`) };
}

/** The stamp is the size of a binary that has once answered with its version: half a download never matches it. */
function isToolchainReady() {
  const { binary, stamp } = toolchainBinary();
  if (!existsSync(binary) || !existsSync(stamp)) return false;
  return readFileSync(stamp, "utf8").trim() === String(statSync(binary).size);
}

function stampToolchain() {
  const { binary, stamp } = toolchainBinary();
  if (!existsSync(binary)) return false;
  const answer = spawnSync(binary, ["--version"], { encoding: "utf8", timeout: 20_000 });
  if (answer.stdout?.trim() !== `v${toolchainNode}`) return false;
  writeFileSync(stamp, `${statSync(binary).size}\n`);
  return true;
}

/** @param {NodeJS.ProcessEnv} env */
async function ensureNode(env) {
  if (isRecentEnough(process.versions.node)) return process.execPath;
  const { name, binary } = toolchainBinary();
  if (!isToolchainReady()) {
    await withLock(async () => {
      if (isToolchainReady() || stampToolchain()) return;
      const wanted = `${name}@${toolchainNode}`;
      say(`Node ${process.versions.node} is older than ${minimumNode.join(".")}; installing ${wanted} in .toolchain/`);
      rmSync(path.join(toolchain, "node_modules"), { recursive: true, force: true });
      writeFileSync(path.join(toolchain, "package.json"), '{"private":true}\n');
      const args = [
        "i",
        "--prefix",
        toolchain,
        "--no-save",
        "--no-package-lock",
        "--ignore-scripts",
        "--force",
        wanted,
      ];
      await npm([...args, ...quiet], { ...env, npm_config_workspaces: "false" });
      if (!stampToolchain()) throw new Stop(`${binary} does not answer with v${toolchainNode}`);
    });
  }
  return binary;
}

// ---- dependencies -----------------------------------------------------------------------------------------------

const quiet = ["--no-audit", "--no-fund", "--loglevel=error"];
const modules = path.join(root, "node_modules");
const modulesStamp = path.join(modules, ".holdfast-lock");

function lockHash() {
  return createHash("sha256")
    .update(readFileSync(path.join(root, "package-lock.json")))
    .digest("hex");
}

function areDependenciesReady() {
  return existsSync(modulesStamp) && readFileSync(modulesStamp, "utf8").trim() === lockHash();
}

/** npm writes its own list last, so a complete list that agrees with the lock is a complete installation. */
function isInstalledByHand() {
  const list = path.join(modules, ".package-lock.json");
  if (!existsSync(list)) return false;
  const installed = JSON.parse(readFileSync(list, "utf8")).packages ?? {};
  const locked = JSON.parse(readFileSync(path.join(root, "package-lock.json"), "utf8")).packages;
  return Object.entries(locked).every(
    ([place, entry]) => place === "" || entry.optional || entry.link || installed[place]?.version === entry.version,
  );
}

/** @param {NodeJS.ProcessEnv} env */
async function ensureDependencies(env) {
  if (areDependenciesReady()) return;
  await withLock(async () => {
    if (areDependenciesReady()) return;
    if (isInstalledByHand()) return writeFileSync(modulesStamp, `${lockHash()}\n`);
    // npm would empty the folder behind the link, which belongs to another checkout.
    if (lstatSync(modules, { throwIfNoEntry: false })?.isSymbolicLink()) {
      return say("node_modules is a link and differs from package-lock.json; left as it is");
    }
    say(existsSync(modules) ? "package-lock.json changed; installing dependencies" : "installing dependencies");
    const startedAt = Date.now();
    await npm(["ci", "--ignore-scripts", ...quiet], env);
    writeFileSync(modulesStamp, `${lockHash()}\n`);
    say(`dependencies installed in ${Math.round((Date.now() - startedAt) / 1000)} s`);
  });
}

/**
 * Runs npm, again after a failure: a registry that does not answer for a moment is the usual reason.
 * @param {readonly string[]} args
 * @param {NodeJS.ProcessEnv} env
 */
async function npm(args, env) {
  const cli = process.env.npm_execpath;
  const isNpm = cli !== undefined && /npm-cli\.[cm]?js$/.test(cli);
  const [command, prefix] = isNpm ? [process.execPath, [cli]] : [isWindows ? "npm.cmd" : "npm", []];
  for (let attempt = 1; ; attempt++) {
    const code = await run(command, [...prefix, ...args], { env, output: "stderr", shell: isWindows && !isNpm });
    if (code === 0) return;
    if (attempt === installTries) throw new Stop(`npm ${args[0]} failed ${installTries} times (exit code ${code})`);
    say(`npm ${args[0]} ended with exit code ${code}; trying again`);
    await sleep(attempt * 2_000);
  }
}

// ---- one installer at a time ------------------------------------------------------------------------------------

/**
 * The lock is a file that names its holder and that the holder touches every second; a killed holder's lock is taken.
 * @param {() => Promise<unknown>} work
 */
async function withLock(work) {
  mkdirSync(toolchain, { recursive: true });
  const lock = path.join(toolchain, "install.lock");
  const token = `${process.pid} ${randomUUID()}`;
  let isTold = false;
  while (!tryCreate(lock, token)) {
    if (isStale(lock)) {
      removeStale(lock);
      continue;
    }
    if (!isTold) say("another process is installing; waiting for it");
    isTold = true;
    await sleep(lockPollMs);
  }
  const heartbeat = setInterval(() => {
    const now = new Date();
    if (readOr(lock) === token) utimesSync(lock, now, now);
  }, lockHeartbeatMs);
  try {
    await work();
  } finally {
    clearInterval(heartbeat);
    if (readOr(lock) === token) rmSync(lock, { force: true });
  }
}

/** @param {string} file @param {string} text */
function tryCreate(file, text) {
  try {
    writeFileSync(file, text, { flag: "wx" });
    return true;
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code === "EEXIST") return false;
    throw error;
  }
}

/** @param {string} file */
function readOr(file) {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}

/** @param {string} lock */
function isStale(lock) {
  const stat = statSync(lock, { throwIfNoEntry: false });
  if (stat === undefined) return false;
  if (Date.now() - stat.mtimeMs > lockStaleMs) return true;
  const pid = Number.parseInt(readOr(lock), 10);
  if (!Number.isInteger(pid)) return false;
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return /** @type {NodeJS.ErrnoException} */ (error).code === "ESRCH";
  }
}

/**
 * Two waiters may see the same stale lock; only the one that holds the second file removes it, after looking again.
 * @param {string} lock
 */
function removeStale(lock) {
  const guard = `${lock}.takeover`;
  const guardStat = statSync(guard, { throwIfNoEntry: false });
  if (guardStat !== undefined && Date.now() - guardStat.mtimeMs > lockStaleMs) rmSync(guard, { force: true });
  if (!tryCreate(guard, String(process.pid))) return;
  try {
    if (isStale(lock)) rmSync(lock, { force: true });
  } finally {
    rmSync(guard, { force: true });
  }
}

// ---- the task ---------------------------------------------------------------------------------------------------

/**
 * Starts a program with this one's terminal, hands signals on to it and answers with its exit code.
 * @param {string} command
 * @param {readonly string[]} args
 * @param {{ env: NodeJS.ProcessEnv, output?: "stderr", shell?: boolean }} options
 * @returns {Promise<number>}
 */
function run(command, args, { env, output, shell = false }) {
  return new Promise((resolve, reject) => {
    const stdio = /** @type {const} */ (["inherit", output === "stderr" ? 2 : "inherit", "inherit"]);
    const child = spawn(command, args, { cwd: root, env, stdio: [...stdio], shell });
    // A terminal sends its interrupt to the whole group, so the child has that one already.
    /** @type {readonly NodeJS.Signals[]} */
    const handled = ["SIGINT", "SIGTERM", "SIGHUP"];
    /** @param {NodeJS.Signals} signal */
    const forward = (signal) => {
      if (signal !== "SIGINT" || !process.stdin.isTTY) child.kill(signal);
    };
    for (const signal of handled) process.on(signal, forward);
    child.on("error", reject);
    child.on("exit", (code, signal) => {
      for (const name of handled) process.off(name, forward);
      resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal]));
    });
  });
}

/** @param {NodeJS.ProcessEnv} env @param {string} first */
function withPath(env, first) {
  const key = Object.keys(env).find((name) => name.toUpperCase() === "PATH") ?? "PATH";
  return { ...env, [key]: [first, env[key]].filter(Boolean).join(path.delimiter) };
}

async function main() {
  const [name = "", ...rest] = process.argv.slice(2);
  const program = Object.hasOwn(tasks, name) ? tasks[name] : undefined;
  if (program === undefined) {
    say(`usage: node scripts/run.mjs ${Object.keys(tasks).join("|")} [arguments]`);
    return 2;
  }
  const node = await ensureNode(process.env);
  // What V8 made of a program is kept from one start to the next: a task starts many, and most of them are large.
  const kept = { NODE_COMPILE_CACHE: path.join(root, ".tmp", "compile-cache"), ...process.env };
  const env = withPath(kept, path.dirname(node));
  await ensureDependencies(env);
  // Node 22 warns about built-in SQLite and stripped types at every start; both are what this package is built on.
  const options = ["--disable-warning=ExperimentalWarning"];
  return run(node, [...options, ...program, ...rest], { env });
}

main().then(
  (code) => {
    process.exitCode = code;
  },
  (error) => {
    say(error instanceof Stop ? error.message : String(error?.stack ?? error));
    process.exitCode = 1;
  },
);
