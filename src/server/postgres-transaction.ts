/**
 * Owns how a transaction runs on PostgreSQL: its level, its savepoints, when it is run again, and what a lost commit means.
 * Which connection it gets is `postgres-pool.ts`, what a failure means `postgres-failure.ts`. Why these levels: decision 0014.
 */
import { numberPlaceholders } from "./placeholders.ts";
import { failureOf, isReadOnlyDatabase, isUnsent, kindOf, unknownCommit } from "./postgres-failure.ts";
import type { Pool, Reply, Session } from "./postgres-pool.ts";
import type { SqlParameter, Tx } from "./store.ts";

const beginWrite = "BEGIN ISOLATION LEVEL READ COMMITTED";
const beginRead = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/** Waits between runs grow from the first to the last of these, with full jitter, so that rivals do not meet again. */
const pauseMs = { first: 4, last: 400 } as const;
const rollbackMs = 2_000;

type Work<T> = (session: Session) => Promise<T>;
/** What `work` came to: a value, with the savepoints that must go before the commit, or an error of its own. */
type Done<T> = { readonly value: T; readonly before: string } | { readonly thrown: unknown };

export type RunOptions = {
  readonly isReadOnly: boolean;
  /** See `WriteOptions`; reads always are. */
  readonly isRepeatable: boolean;
  /** How long a transaction is tried again, from its first run on. */
  readonly retryMs: number;
};

/**
 * How one run ended. `thrown`: by the work itself. `failed` and `again`: by the database, for good or not; nothing is left of it.
 * `unknown`: the connection was lost with the commit on its way.
 */
type Ending<T> =
  | { readonly kind: "done"; readonly value: T }
  | { readonly kind: "thrown" | "again" | "unknown" | "failed"; readonly error: unknown };

/** Runs `work` in transactions until one of them ends for good. */
export function runTransaction<T>(pool: Pool, work: (tx: Tx) => Promise<T>, options: RunOptions): Promise<T> {
  return repeat(pool, (session) => runInTx(session, work), options);
}

/** The same for work that speaks to the connection itself, as migrations do. */
export function runOnSession<T>(pool: Pool, work: Work<T>, options: RunOptions): Promise<T> {
  return repeat(pool, async (session) => ({ value: await work(session), before: "" }), options);
}

async function repeat<T>(pool: Pool, work: Work<Done<T>>, options: RunOptions): Promise<T> {
  const giveUpAt = performance.now() + options.retryMs;
  for (let run = 0; ; run += 1) {
    const ending = await runOnce(pool, work, options);
    if (ending.kind === "done") return ending.value;
    if (ending.kind === "thrown") throw ending.error;
    if (ending.kind === "failed") throw failureOf(ending.error);
    const isUnknown = ending.kind === "unknown" && !options.isRepeatable;
    const pause = Math.random() * Math.min(pauseMs.last, pauseMs.first * 2 ** run);
    if (isUnknown) throw unknownCommit(ending.error);
    if (performance.now() + pause > giveUpAt) throw failureOf(ending.error);
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

async function runOnce<T>(pool: Pool, work: Work<Done<T>>, options: RunOptions): Promise<Ending<T>> {
  let session: Session;
  try {
    session = await pool.take();
  } catch (error) {
    return stopped(error);
  }
  try {
    return await runOn(session, work, options);
  } finally {
    pool.give(session);
  }
}

async function runOn<T>(session: Session, work: Work<Done<T>>, options: RunOptions): Promise<Ending<T>> {
  try {
    await session.control(options.isReadOnly ? beginRead : beginWrite);
    const done = await work(session);
    if (!("thrown" in done)) return await commit(session, done.before, done.value);
    await undo(session);
    return { kind: "thrown", error: done.thrown };
  } catch (error) {
    const isElsewhere = !options.isReadOnly && isReadOnlyDatabase(error);
    await (isElsewhere ? session.close() : undo(session));
    return isElsewhere ? { kind: "again", error } : stopped(error);
  }
}

const stopped = (error: unknown): Ending<never> => ({ kind: kindOf(error) === "refused" ? "failed" : "again", error });

async function commit<T>(session: Session, before: string, value: T): Promise<Ending<T>> {
  try {
    const { command } = await session.control(`${before}COMMIT`);
    if (command === "COMMIT") return { kind: "done", value };
    return { kind: "failed", error: new Error(`the commit ended in ${command}`) };
  } catch (error) {
    if (kindOf(error) === "lost" && !isUnsent(error)) return { kind: "unknown", error };
    await undo(session);
    return stopped(error);
  }
}

/** After this the connection is either free of the transaction or gone. */
async function undo(session: Session): Promise<void> {
  if (session.isLost()) return;
  try {
    await session.control("ROLLBACK", rollbackMs);
  } catch {
    await session.close();
  }
}

// ---- one transaction --------------------------------------------------------------------------------------------

async function runInTx<T>(session: Session, work: (tx: Tx) => Promise<T>): Promise<Done<T>> {
  const open = newTx(session);
  const [ended] = await Promise.allSettled([work(open.tx)]);
  const { failure, before } = open.end();
  // What stopped the transaction says more than what `work` has made of it.
  if (failure !== undefined) throw failure;
  if (ended.status === "rejected") return { thrown: ended.reason };
  return { value: ended.value, before };
}

type OpenTx = {
  readonly tx: Tx;
  /** No statement comes after this. Returns what keeps the transaction from being committed, and what must go before the commit. */
  readonly end: () => { readonly failure: unknown; readonly before: string };
};

/**
 * Savepoints are sent in the packet of the next statement, so they cost no round trip, and none that holds no statement is sent at all.
 * PostgreSQL refuses everything after a failed statement; so does this, with the first failure, until a savepoint has undone it.
 */
function newTx(session: Session): OpenTx {
  let controls: readonly string[] = [];
  let refused: unknown;
  let lost: unknown;
  let hasEnded = false;
  let names = 0;

  async function send(sql: string, parameters: readonly SqlParameter[]): Promise<Reply> {
    if (hasEnded) throw new TypeError("this transaction has ended: await every statement inside of its work");
    if (lost !== undefined || refused !== undefined) throw failureOf(lost ?? refused);
    const before = joined(controls);
    controls = [];
    try {
      return await session.query(numberPlaceholders(sql), parameters, before);
    } catch (error) {
      // A serialization failure inside a savepoint is not undone by it: the whole transaction has to run again.
      if (kindOf(error) === "refused") refused = error;
      else lost = error;
      throw failureOf(error);
    }
  }

  async function savepoint<T>(work: () => Promise<T>): Promise<T> {
    names += 1;
    const name = `s${names}`;
    const opening = `SAVEPOINT ${name}`;
    const refusedBefore = refused;
    controls = [...controls, opening];
    try {
      const value = await work();
      if (lost !== undefined || refused !== refusedBefore) throw failureOf(lost ?? refused);
      controls = controls.includes(opening) ? before(controls, opening) : [...controls, `RELEASE SAVEPOINT ${name}`];
      return value;
    } catch (error) {
      const undoing = [`ROLLBACK TO SAVEPOINT ${name}`, `RELEASE SAVEPOINT ${name}`];
      controls = controls.includes(opening) ? before(controls, opening) : [...controls, ...undoing];
      refused = refusedBefore;
      throw error;
    }
  }

  return {
    tx: {
      all: async (sql, ...parameters) => (await send(sql, parameters)).rows,
      run: async (sql, ...parameters) => ({ changes: (await send(sql, parameters)).changes }),
      savepoint,
    },
    end: () => {
      hasEnded = true;
      return { failure: lost ?? refused, before: joined(controls) };
    },
  };
}

/** A savepoint that was not sent yet takes everything after it along. */
function before(controls: readonly string[], opening: string): readonly string[] {
  return controls.slice(0, controls.indexOf(opening));
}

const joined = (controls: readonly string[]): string => controls.map((control) => `${control};`).join("");
