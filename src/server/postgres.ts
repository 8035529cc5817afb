/**
 * Owns the server's store on PostgreSQL, and the one use of its client: what a connection is, and which types go over it.
 * Transactions are in `postgres-transaction.ts`, connections in `postgres-pool.ts`, pokes in `postgres-pokes.ts`.
 */
import postgres from "postgres";
import { HoldfastError } from "../errors.ts";
import { checkParameter } from "./parameter.ts";
import { failureOf, kindOf, unsent } from "./postgres-failure.ts";
import { isUpToDate, migrateOn } from "./postgres-migrations.ts";
import { newPokes } from "./postgres-pokes.ts";
import type { Reply, Session } from "./postgres-pool.ts";
import { closedStore, newPool } from "./postgres-pool.ts";
import type { RunOptions } from "./postgres-transaction.ts";
import { runOnSession, runTransaction } from "./postgres-transaction.ts";
import type { Dialect, ServerRow, ServerStore, SqlParameter } from "./store.ts";

export type PostgresOptions = {
  /** `postgres://user:password@host:port/name`; further parameters such as `sslmode` as in libpq. */
  readonly url: string;
  /** Certificates in PEM of who vouches for the server's, as the file of libpq's `sslrootcert`. Default: those of the runtime. */
  readonly authorities?: string;
  /** Connections of this process for transactions; one more is for pokes. Default 10. */
  readonly connections?: number;
  /** A statement that takes longer is stopped, waits for locks included. Default 15 s. */
  readonly statementTimeoutMs?: number;
  /** How long a transaction waits for a connection. Default 15 s. */
  readonly waitMs?: number;
  /** How long serialization failures, deadlocks and lost connections are tried again. Default 15 s; a restart of the database fits in. */
  readonly retryMs?: number;
  /** Default 15 s. */
  readonly heartbeatMs?: number;
  /** Hears what is no failure of a request: the connection for pokes coming and going. */
  readonly report?: (message: string, error: unknown) => void;
};

const connectMs = 5_000;
/** The database stops a statement itself; this much later it is taken for gone. */
const graceMs = 5_000;
const goodbyeMs = 5_000;

const dialect: Dialect = { name: "postgres", forUpdate: " FOR UPDATE", bigint: "bigint", text: 'text COLLATE "C"' };

/** A database may be set to answer before the disk has it; what we acknowledge is on the disk. */
const insistOnDisk =
  "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";

/**
 * Opens the store; fails at once when the database cannot be reached or refuses us.
 * @example
 * const store = await openPostgres({ url: "postgres://holdfast@localhost/holdfast" });
 */
export async function openPostgres(options: PostgresOptions): Promise<ServerStore> {
  const statementMs = options.statementTimeoutMs ?? 15_000;
  const waitMs = options.waitMs ?? 15_000;
  const retryMs = options.retryMs ?? 15_000;
  const connectTo = (onNotify?: (channel: string, payload: string) => void): Promise<Session> =>
    connect(options, statementMs, onNotify);
  const pool = newPool(connectTo, { connections: options.connections ?? 10, waitMs, goodbyeMs });
  const pokes = newPokes({
    connect: connectTo,
    heartbeatMs: options.heartbeatMs ?? 15_000,
    report: options.report ?? (() => {}),
  });
  let isClosed = false;
  const whileOpen = async <T>(task: () => Promise<T>): Promise<T> => {
    if (isClosed) throw closedStore();
    return task();
  };
  try {
    pool.give(await pool.take());
  } catch (error) {
    await pool.close();
    throw failureOf(error);
  }
  const repeated: RunOptions = { isReadOnly: false, isRepeatable: true, retryMs };
  return {
    dialect,
    write: (work, { isRepeatable = false } = {}) =>
      whileOpen(() => runTransaction(pool, work, { ...repeated, isRepeatable })),
    read: (work) => whileOpen(() => runTransaction(pool, work, { ...repeated, isReadOnly: true })),
    migrate: (migrations) =>
      whileOpen(async () => {
        const isCurrent = (session: Session) => isUpToDate(session, migrations);
        if (await runOnSession(pool, isCurrent, { ...repeated, isReadOnly: true })) {
          return;
        }
        await runOnSession(pool, (session) => migrateOn(session, migrations), repeated);
      }),
    poke: pokes.poke,
    onPoke: pokes.onPoke,
    close: async () => {
      isClosed = true;
      await Promise.all([pokes.close(), pool.close()]);
    },
  };
}

// ---- one connection ---------------------------------------------------------------------------------------------

type Sql = ReturnType<typeof open>;
type Address = Pick<PostgresOptions, "url" | "authorities">;

/**
 * Opens one connection as a client of its own. A client of several connections would quietly open a new one for a lost one and
 * send it the next statement of the transaction, which then takes place without its beginning.
 */
async function connect(
  address: Address,
  statementMs: number,
  onNotify: (channel: string, payload: string) => void = () => {},
): Promise<Session> {
  let isLost = false;
  const listeners: (() => void)[] = [];
  const lose = (): void => {
    if (isLost) return;
    isLost = true;
    void sql.end({ timeout: 0 });
    for (const listener of listeners) listener();
  };
  const sql = open(address, statementMs, { onclose: lose, onnotify: onNotify });

  /** Sends what `ask` asks and waits for all of it; one at a time, so that the client never has a statement waiting. */
  let tail: Promise<unknown> = Promise.resolve();
  function inTurn(ask: () => readonly PromiseLike<unknown>[], limitMs: number): Promise<Reply> {
    const answered = tail.then(async () => {
      if (isLost) throw unsent();
      try {
        return await within(limitMs, all(ask()));
      } catch (error) {
        if (kindOf(error) === "lost") lose();
        throw error;
      }
    });
    tail = answered.catch(() => {});
    return answered;
  }

  const session: Session = {
    query: (text, parameters, before = "") =>
      inTurn(() => {
        const typed = parameters.map((parameter) => typedParameter(sql, parameter));
        const ahead = before === "" ? [] : [sql.unsafe(before).execute()];
        return [...ahead, sql.unsafe(text, typed, { prepare: true, simple: false } as { prepare: boolean }).execute()];
      }, statementMs + graceMs),
    control: (text, limitMs = statementMs + graceMs) => inTurn(() => [sql.unsafe(text).execute()], limitMs),
    isLost: () => isLost,
    onLost: (listener) => {
      listeners.push(listener);
    },
    close: async () => {
      lose();
    },
  };
  await session.control(insistOnDisk, connectMs);
  return session;
}

/** `onnotify` is what the client's own `listen` is made of; that one opens another connection behind our back. */
type Hooks = {
  readonly onclose: () => void;
  readonly onnotify: (channel: string, payload: string) => void;
};

function open(address: Address, statementMs: number, hooks: Hooks) {
  const sql = newClient(address, statementMs, hooks);
  // When a server hangs up before the login is through, the client connects again at once and for ever. It asks for the option
  // `socket` before and after each try: one try for every host of the address is enough, trying again is ours.
  let tries = -1;
  const mostTries = 2 * sql.options.host.length;
  Object.defineProperty(sql.options, "socket", {
    get: () => {
      tries += 1;
      if (tries >= mostTries) throw new Error("the server hung up before the login was through");
    },
  });
  return sql;
}

function newClient(address: Address, statementMs: number, hooks: Hooks) {
  try {
    return postgres(address.url, {
      ...hooks,
      ...tlsOf(address),
      max: 1,
      idle_timeout: undefined,
      max_lifetime: null,
      connect_timeout: connectMs / 1_000,
      fetch_types: false,
      onnotice: () => {},
      types,
      connection: {
        application_name: "holdfast",
        statement_timeout: statementMs,
        idle_in_transaction_session_timeout: statementMs + graceMs,
      },
    });
  } catch {
    // The error of the client may show the address, and the address may hold a password.
    throw new HoldfastError(
      "config_invalid",
      "the address of the database cannot be read",
      "write it as postgres://user:password@host:port/name, with special characters percent-encoded",
    );
  }
}

const wholeHost = /^[a-z]+:\/\/(?:[^@/?]*@)?(?:\[([^\]]+)\]|([^:/?,]+))(?::\d+)?(?:[/?]|$)/i;
const isAddress = /^[\d.]+$|:/;

/**
 * What the client leaves open. It does not know `sslrootcert`; and where the host is a number it compares the certificate with "localhost".
 * As in libpq, a chain that can be checked is checked in every mode that insists on TLS, the name in `verify-full` alone.
 */
function tlsOf({ url, authorities }: Address): { readonly ssl?: object } {
  const mode = /[?&]sslmode=([^&]*)/.exec(url)?.[1] ?? (authorities === undefined ? "disable" : "verify-full");
  if (["disable", "allow", "prefer"].includes(mode) || (mode === "require" && authorities === undefined)) return {};
  const [, inBrackets, plain] = wholeHost.exec(url) ?? [];
  const host = inBrackets ?? plain ?? "";
  return {
    ssl: {
      ...(authorities === undefined ? {} : { ca: authorities }),
      ...(isAddress.test(host) ? { host } : {}),
      ...(mode === "require" || mode === "verify-ca" ? { checkServerIdentity: () => undefined } : {}),
    },
  };
}

/** All of them have to end, also after a failure, before the next statement may be sent. */
async function all(asked: readonly PromiseLike<unknown>[]): Promise<Reply> {
  const ended = await Promise.allSettled(asked);
  for (const each of ended) if (each.status === "rejected") throw each.reason;
  const answer = ended.at(-1) as PromiseFulfilledResult<unknown>;
  return replyOf(answer.value);
}

type Result = readonly ServerRow[] & { readonly count: number | null; readonly command: string };

/** Several statements in one text give an array of results; what counts is the last. */
function replyOf(answer: unknown): Reply {
  const results = answer as readonly unknown[];
  const result = (Array.isArray(results.at(-1)) ? results.at(-1) : results) as Result;
  return { rows: [...result], changes: result.count ?? 0, command: result.command };
}

async function within<T>(limitMs: number, task: Promise<T>): Promise<T> {
  if (limitMs === 0) return task;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      reject(Object.assign(new Error(`no answer within ${limitMs} ms`), { code: "NO_ANSWER" }));
    }, limitMs);
  });
  try {
    return await Promise.race([task, late]);
  } finally {
    clearTimeout(timer);
  }
}

// ---- types ------------------------------------------------------------------------------------------------------

const oid = { bool: 16, int8: 20, text: 25, float8: 701, numeric: 1700 } as const;
/** Types whose text PostgreSQL's client would turn into objects: json, jsonb, date, timestamp, timestamptz. */
const opaque = [114, 3802, 1082, 1114, 1184];

const types = {
  integer: { to: oid.int8, from: [oid.int8], serialize: String, parse: readNumber },
  numeric: { to: oid.numeric, from: [oid.numeric], serialize: String, parse: readNumber },
  // SQLite has no truth values but 1 and 0.
  truth: { to: oid.bool, from: [oid.bool], serialize: String, parse: (text: string) => (text === "t" ? 1 : 0) },
  opaque: { to: oid.text, from: opaque, serialize: String, parse: (text: string) => text },
};

function readNumber(text: string): number {
  const value = Number(text);
  if (Math.abs(value) <= Number.MAX_SAFE_INTEGER) return value;
  throw new HoldfastError(
    "internal",
    `the database holds the integer ${text}, beyond what a number can hold exactly`,
    "nothing of Holdfast writes such a number: find out who else writes its tables",
  );
}

/** The type goes along with the value, so that a text is never read as a number, nor a number as a text. */
function typedParameter(sql: Sql, value: SqlParameter) {
  if (value === null) return null;
  checkParameter(value);
  if (typeof value === "string") return sql.typed(value as never, oid.text);
  return sql.typed(value as never, Number.isInteger(value) ? oid.int8 : oid.float8);
}
