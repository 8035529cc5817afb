/**
 * Owns bringing a PostgreSQL database up to date: which version it has, and that one process at a time changes it.
 * What the tables are is in the migrations that it is given.
 */
import { HoldfastError } from "../errors.ts";
import type { Session } from "./postgres-pool.ts";

/** Beside our tables and by name only, so that a version can be read before anything is known about the database. */
const createVersions =
  "CREATE TABLE IF NOT EXISTS holdfast_schema (version bigint PRIMARY KEY, migrated timestamptz NOT NULL DEFAULT now())";
const findVersions = "SELECT count(*) AS n FROM pg_class WHERE oid = to_regclass('holdfast_schema')";
const readVersion = "SELECT coalesce(max(version), 0) AS version FROM holdfast_schema";
const writeVersion = "INSERT INTO holdfast_schema (version) VALUES ($1)";
/** Any number, the same in every release: all processes on one database have to mean the same lock. */
const lock = "SELECT pg_advisory_xact_lock(7306929581036541)";
/**
 * No limit on the time of a migration or on the wait for another process's, but one on the wait for a table: whoever waits for
 * a table stops everybody who comes later.
 */
const limits =
  "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL lock_timeout = 0";
const tableLimit = "SET LOCAL lock_timeout = '10s'";

/** Runs the migrations that the database does not have, all or none, in the transaction that is open on this session. */
export async function migrateOn(session: Session, migrations: readonly string[]): Promise<void> {
  await session.control(limits);
  await session.control(lock, 0);
  await session.control(tableLimit);
  await session.control(createVersions);
  const version = await versionOn(session);
  refuseNewer(version, migrations.length);
  for (const [index, migration] of migrations.entries()) {
    if (index < version) continue;
    await session.control(migration, 0);
    await session.query(writeVersion, [index + 1]);
  }
}

/** True when there is nothing to do, which is the usual case and takes no lock. */
export async function isUpToDate(session: Session, migrations: readonly string[]): Promise<boolean> {
  const { rows } = await session.query(findVersions, []);
  if (rows[0]?.n === 0) return false;
  const version = await versionOn(session);
  refuseNewer(version, migrations.length);
  return version === migrations.length;
}

async function versionOn(session: Session): Promise<number> {
  const { rows } = await session.query(readVersion, []);
  return Number(rows[0]?.version);
}

function refuseNewer(version: number, known: number): void {
  if (version <= known) return;
  throw new HoldfastError(
    "database_newer",
    `the database has version ${version} of the server's tables, this server knows ${known}`,
    "run the newer server, or restore a backup from before the upgrade",
  );
}
