/**
 * Owns the server's database on this machine: its directory, its file, the lock that keeps one server per directory, backup and restore.
 * PostgreSQL is opened here too, and has none of these: it has its own.
 */
import { createHash, randomUUID } from "node:crypto";
import { chmodSync, copyFileSync, existsSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import envPaths from "env-paths";
import { HoldfastError, isCode } from "../errors.ts";
import { serverLimits } from "../server/core.ts";
import { openEmbeddedStore } from "../server/embedded.ts";
import type { Compacted } from "../server/retention.ts";
import { compact } from "../server/retention.ts";
import { migrationsFor } from "../server/schema.ts";
import type { ServerOptions } from "../server/server.ts";
import { mintHistories } from "../server/spaces.ts";
import type { ServerStore } from "../server/store.ts";
import type { NewToken, Suspension, TokenInfo } from "../server/tokens.ts";
import {
  addToken,
  listSuspensions,
  listTokens,
  reinstateAccount,
  revokeToken,
  suspendAccount,
} from "../server/tokens.ts";
import { makeFolder } from "./folder.ts";
import { finishSwap, isSwapOpen, makeDurable, swapDatabase } from "./server-swap.ts";
import type { FileLock, SqliteDatabase } from "./sqlite.ts";
import { acquireFileLock, openDatabase } from "./sqlite.ts";

const readSpaces = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'hf_space'";

const fileName = "server.db";
const lockName = "server.lock";
const scratchName = /^restore-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.db(-wal|-shm)?$/;

/** Where the database of a server lies. */
export type StorePlace =
  | { readonly kind: "embedded"; readonly directory: string }
  | { readonly kind: "postgres"; readonly url: string; readonly connections?: number };

/** Where the embedded database lies when nothing else is said. */
export function defaultServerDirectory(environment: Readonly<Record<string, string | undefined>>): string {
  const home = environment.HOLDFAST_HOME;
  const base = home === undefined || home === "" ? envPaths("holdfast", { suffix: "" }).data : resolve(home);
  return join(base, "server");
}

/** SHA-256 of a text, synchronously: many small texts are hashed in a push. */
export const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

/** Opens a store for commands that work beside a running server: tokens, backups. */
export async function openServerStore(
  place: StorePlace,
  report: (message: string, error: unknown) => void = () => {},
): Promise<ServerStore> {
  if (place.kind === "embedded") {
    makeFolder(place.directory);
    finishRestore(place);
    const store = openEmbeddedStore(openDatabase(join(place.directory, fileName)), { defer: setImmediate });
    await store.migrate(migrationsFor(store.dialect));
    return store;
  }
  const { openPostgres } = await import("../server/postgres.ts");
  const { connections } = place;
  const store = await openPostgres({
    ...readAuthorities(place.url),
    report,
    ...(connections === undefined ? {} : { connections }),
  });
  await store.migrate(migrationsFor(store.dialect));
  return store;
}

const rootCertificate = /([?&])sslrootcert=([^&]*)(?:&|$)/;

/** `sslrootcert` names a file, which only this side can read; `system` means the authorities of the machine. */
function readAuthorities(url: string): { readonly url: string; readonly authorities?: string } {
  const [found, mark = "", name = ""] = rootCertificate.exec(url) ?? [];
  if (found === undefined || name === "system") return { url };
  const file = decodeURIComponent(name);
  try {
    return { url: url.replace(found, mark).replace(/[?&]$/, ""), authorities: readFileSync(file, "utf8") };
  } catch (cause) {
    const message = `the certificates of sslrootcert cannot be read: ${file}`;
    throw new HoldfastError("config_invalid", message, "name a PEM file that the server may read", { cause });
  }
}

/** Tokens and accounts of a server, also beside one that runs. */
export type TokenDesk = {
  readonly add: (token: NewToken) => Promise<TokenInfo & { readonly token: string }>;
  readonly list: () => Promise<readonly TokenInfo[]>;
  readonly revoke: (id: string) => Promise<boolean>;
  readonly suspensions: () => Promise<readonly Suspension[]>;
  readonly suspend: (subject: string, reason: string) => Promise<void>;
  readonly reinstate: (subject: string) => Promise<boolean>;
};

export async function withTokens<T>(
  place: StorePlace,
  now: () => number,
  work: (desk: TokenDesk) => Promise<T>,
): Promise<T> {
  const store = await openServerStore(place);
  try {
    return await work({
      add: async (token) => {
        const made = await addToken(store, token, { now, hash: sha256 });
        return { ...made.info, token: made.token };
      },
      list: () => listTokens(store),
      revoke: (id) => revokeToken(store, id, now()),
      suspensions: () => listSuspensions(store),
      suspend: (subject, reason) => suspendAccount(store, { subject, reason }, now()),
      reinstate: (subject) => reinstateAccount(store, subject),
    });
  } finally {
    await store.close();
  }
}

/** Forgets what is older than the limits allow, beside a running server too. */
export async function compactServer(
  place: StorePlace,
  options: Pick<ServerOptions, "limits" | "now">,
): Promise<Compacted> {
  const store = await openServerStore(place);
  try {
    return await compact({ store, limits: { ...serverLimits, ...options.limits }, now: options.now ?? Date.now });
  } finally {
    await store.close();
  }
}

/** Takes the directory for one server. PostgreSQL takes as many servers as there are. */
export function lockServer(place: StorePlace): FileLock {
  if (place.kind === "postgres") return { release: () => {} };
  makeFolder(place.directory);
  const lock = acquireFileLock(join(place.directory, lockName));
  if (lock !== null) return afterSwap(lock, place.directory);
  throw new HoldfastError(
    "daemon_running",
    `a server runs on ${place.directory} already`,
    "stop it first, or name another directory with --data",
    { details: { directory: place.directory } },
  );
}

function afterSwap(lock: FileLock, directory: string): FileLock {
  try {
    finishSwap(directory);
    return lock;
  } catch (error) {
    lock.release();
    throw error;
  }
}

/** A restore that was cut off is finished by whoever comes next; one that is on its way has the lock. */
function finishRestore(place: StorePlace): void {
  if (place.kind === "embedded" && isSwapOpen(place.directory)) lockServer(place).release();
}

/** Writes a consistent copy while the server runs. The file appears whole or not at all. */
export async function backupServer(place: StorePlace, target: string): Promise<void> {
  if (place.kind === "postgres") throw onlyEmbedded("backed up", "pg_dump");
  const file = resolve(target);
  if (existsSync(file)) {
    throw new HoldfastError("refused_by_state", `${file} is there already`, "name a new file", { details: { file } });
  }
  finishRestore(place);
  if (!existsSync(join(place.directory, fileName))) throw noDatabase(place.directory);
  const store = await openServerStore(place);
  const scratch = `${file}.${randomUUID()}.part`;
  try {
    await store.backup?.(scratch);
    chmodSync(scratch, 0o600);
    makeDurable(scratch);
    renameSync(scratch, file);
    makeDurable(dirname(file));
  } finally {
    await store.close();
    rmSync(scratch, { force: true });
  }
}

export type Restored = { readonly spaces: number; readonly replaced: string | null };

/**
 * Puts a backup in the place of the database of a server that does not run. Every space gets a new history: what clients saw after the
 * backup never was, so they read everything again and keep what they have not sent. What was there before is kept beside.
 */
export async function restoreServer(place: StorePlace, source: string, now: number): Promise<Restored> {
  if (place.kind === "postgres") throw onlyEmbedded("restored", "pg_restore, then `holdfast server restore --history`");
  const lock = lockServer(place);
  const { directory } = place;
  const scratch = `restore-${randomUUID()}.db`;
  try {
    if (!statSync(source, { throwIfNoEntry: false })?.isFile()) throw noFile(source);
    removeScratch(directory);
    copyFileSync(source, join(directory, scratch));
    chmodSync(join(directory, scratch), 0o600);
    const spaces = await mintInto(openCopy(join(directory, scratch), source));
    makeDurable(join(directory, scratch));
    const isReplaced = existsSync(join(directory, fileName));
    const aside = `${fileName}.before-restore-${now}`;
    if (isReplaced) settleOld(join(directory, fileName));
    swapDatabase(directory, { file: fileName, from: scratch, aside });
    return { spaces, replaced: isReplaced ? join(directory, aside) : null };
  } finally {
    if (!isSwapOpen(directory)) removeScratch(directory);
    lock.release();
  }
}

/** Gives every space of a database a new history; for PostgreSQL after its own restore. */
export async function renewHistory(place: StorePlace): Promise<number> {
  const lock = lockServer(place);
  const store = await openServerStore(place);
  try {
    return await store.write((tx) => mintHistories(tx, randomUUID));
  } finally {
    await store.close();
    lock.release();
  }
}

/** A backup, and nothing else: an empty file is a database to SQLite, and so is the store of a client; both would become an empty server. */
function openCopy(file: string, source: string): SqliteDatabase {
  try {
    const database = openDatabase(file);
    if (database.prepare(readSpaces).get() !== undefined) return database;
    database.close();
  } catch (error) {
    if (!isCode(error, "database_corrupt")) throw error;
  }
  throw new HoldfastError(
    "invalid_input",
    `${source} is no backup of a server, or is damaged; nothing was changed`,
    "name a file that `holdfast server backup` wrote",
  );
}

async function mintInto(database: SqliteDatabase): Promise<number> {
  const store = openEmbeddedStore(database, { defer: setImmediate });
  try {
    await store.migrate(migrationsFor(store.dialect));
    const spaces = await store.write((tx) => mintHistories(tx, randomUUID));
    database.checkpoint("truncate");
    return spaces;
  } finally {
    await store.close();
  }
}

/** What is in the WAL of the old database goes into it, so that it lies there in one file. */
function settleOld(file: string): void {
  try {
    const database = openDatabase(file);
    database.checkpoint("truncate");
    database.close();
  } catch {
    // A database that cannot be opened is why somebody restores; its files go aside as they are.
  }
}

/** Copies of restores that were cut off before they counted. */
function removeScratch(directory: string): void {
  for (const name of readdirSync(directory)) if (scratchName.test(name)) rmSync(join(directory, name), { force: true });
}

function onlyEmbedded(what: string, instead: string): HoldfastError {
  return new HoldfastError("invalid_input", `only the embedded database is ${what} by this command`, `use ${instead}`);
}

const noDatabase = (directory: string): HoldfastError =>
  new HoldfastError("not_found", `there is no server database in ${directory}`, "name its directory with --data");

const noFile = (source: string): HoldfastError =>
  new HoldfastError("file_missing", `there is no file ${source}`, "name a file that `holdfast server backup` wrote");
