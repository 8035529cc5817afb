/**
 * Owns what a failure of PostgreSQL means: try again, the connection is gone, or refused for good, and as which error people see it.
 * Trying again is `postgres-transaction.ts`; noticing that a connection died is `postgres.ts`.
 */
import type { ErrorCode } from "../errors.ts";
import { HoldfastError } from "../errors.ts";

/**
 * `again`: the transaction is undone, and the same one may pass next time. `lost`: nothing more comes over this connection, and what it was
 * doing last may or may not have happened. `refused`: the same statement would be refused again.
 */
export type FailureKind = "again" | "lost" | "refused";

type Told = { readonly code?: unknown; readonly severity?: unknown; readonly routine?: unknown };

/** Serialization failure, deadlock, lock not to be had in time, too many connections or locks, and what was planned for an older table. */
const transient = new Set(["40001", "40P01", "55P03"]);
/** Wrong password, no such role, no such database, no right: nothing that waiting changes. */
const misconfigured = new Set(["28000", "28P01", "3D000", "42501"]);
const sqlState = /^[0-9A-Z]{5}$/;

export function kindOf(error: unknown): FailureKind {
  if (error instanceof HoldfastError) return "refused";
  const { code, severity, routine } = told(error);
  if (typeof code !== "string" || !sqlState.test(code) || !isFromServer(error)) return "lost";
  if (misconfigured.has(code)) return "refused";
  if (severity !== "ERROR") return "lost";
  if (transient.has(code) || routine === "RevalidateCachedQuery") return "again";
  return "refused";
}

const unsentCode = "CONNECTION_LOST";

/** What a statement fails with that was not sent, because its connection was gone before. */
export function unsent(): Error {
  return Object.assign(new Error("the connection was lost"), { code: unsentCode });
}

export function isUnsent(error: unknown): boolean {
  return told(error).code === unsentCode;
}

/** A primary that became a standby refuses writes until somebody connects to the new one. */
export function isReadOnlyDatabase(error: unknown): boolean {
  return isFromServer(error) && told(error).code === "25006";
}

/** The error that callers see. What is already one of ours passes. */
export function failureOf(error: unknown): HoldfastError {
  if (error instanceof HoldfastError) return error;
  const { code } = told(error);
  const message = error instanceof Error ? error.message : String(error);
  const [name, hint] = describe(kindOf(error), typeof code === "string" ? code : "");
  const details = typeof code === "string" ? { details: { sqlState: code } } : {};
  return new HoldfastError(name, `PostgreSQL: ${message}`, hint, { cause: error, ...details });
}

function describe(kind: FailureKind, code: string): readonly [ErrorCode, string] {
  if (kind === "lost")
    return ["io_failed", "check that the database runs and can be reached; the request may be repeated"];
  if (code === "25006") return ["read_only", "the database takes no writes: connect to the one that does"];
  if (kind === "again") return ["database_busy", "the database is busy; the request may be repeated"];
  if (misconfigured.has(code))
    return ["config_invalid", "check user, password, name and rights in the database address"];
  if (code === "57014")
    return ["timed_out", "a statement took longer than the statement timeout; the request may be repeated"];
  if (code === "53100") return ["disk_full", "the disk of the database is full: make room there"];
  if (code.startsWith("53"))
    return ["database_busy", "the database is at one of its limits; the request may be repeated"];
  if (code === "22021") return ["invalid_input", "texts may not contain the character U+0000"];
  return ["internal", "this is a fault of the server: report it with its log"];
}

/** What to say when the connection went away while the commit was on its way. */
export function unknownCommit(cause: unknown): HoldfastError {
  return new HoldfastError(
    "io_failed",
    "PostgreSQL: the connection was lost during the commit, so nobody can tell here whether it took place",
    "repeat the request: what has taken place is recognised by its receipt",
    { cause, details: { commit: "unknown" } },
  );
}

function told(error: unknown): Told {
  return typeof error === "object" && error !== null ? (error as Told) : {};
}

/** Errors of the server carry a severity; those of sockets and of the client do not, even where their codes look alike. */
function isFromServer(error: unknown): boolean {
  return typeof told(error).severity === "string";
}
