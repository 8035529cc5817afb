/**
 * Owns which connection to PostgreSQL a transaction gets: a bounded number of them, handed out in the order of asking, dropped when lost.
 * What a connection is belongs to `postgres.ts`, what is said over it to `postgres-transaction.ts`.
 */
import { HoldfastError } from "../errors.ts";
import type { ServerRow, SqlParameter } from "./store.ts";

export type Reply = { readonly rows: readonly ServerRow[]; readonly changes: number; readonly command: string };

/** One connection. It never comes back by itself: a statement must not slip out of its transaction onto a new one. */
export type Session = {
  /** Runs one statement with `$1` parameters. `before` goes ahead of it in the same packet: savepoints and the like. */
  readonly query: (sql: string, parameters: readonly SqlParameter[], before?: string) => Promise<Reply>;
  /** Runs one or more statements without parameters. Limits its time to `limitMs`, 0 for no limit. */
  readonly control: (sql: string, limitMs?: number) => Promise<Reply>;
  readonly isLost: () => boolean;
  readonly onLost: (listener: () => void) => void;
  readonly close: () => Promise<void>;
};

export type Pool = {
  readonly take: () => Promise<Session>;
  readonly give: (session: Session) => void;
  readonly close: () => Promise<void>;
};

export type PoolOptions = { readonly connections: number; readonly waitMs: number; readonly goodbyeMs: number };

type Waiter = { readonly take: (session: Session) => void; readonly fail: (error: unknown) => void };

export const closedStore = (): HoldfastError =>
  new HoldfastError("engine_closed", "the server's store is closed", "the server is going down: ask again later");

export function newPool(connect: () => Promise<Session>, options: PoolOptions): Pool {
  const idle: Session[] = [];
  const all = new Set<Session>();
  const waiters: Waiter[] = [];
  let opening = 0;
  let closing: Promise<void> | undefined;
  const emptied = signal();

  function take(): Promise<Session> {
    if (closing !== undefined) return Promise.reject(closedStore());
    const session = idle.pop();
    if (session !== undefined) return Promise.resolve(session);
    const taken = waitIn(waiters, options);
    grow();
    return taken;
  }

  /** Opens as many connections as there are waiters without one, up to the limit. */
  function grow(): void {
    if (closing !== undefined || opening >= waiters.length || all.size + opening >= options.connections) return;
    opening += 1;
    connect().then(
      (session) => {
        opening -= 1;
        all.add(session);
        session.onLost(() => drop(session));
        give(session);
      },
      (error: unknown) => {
        opening -= 1;
        waiters.shift()?.fail(error);
        grow();
      },
    );
  }

  function drop(session: Session): void {
    all.delete(session);
    const place = idle.indexOf(session);
    if (place >= 0) idle.splice(place, 1);
    if (all.size === 0) emptied.give();
    grow();
  }

  function give(session: Session): void {
    if (session.isLost()) return;
    if (closing !== undefined) return void session.close();
    const waiter = waiters.shift();
    if (waiter === undefined) idle.push(session);
    else waiter.take(session);
  }

  /** Transactions that run get a moment to end. */
  function close(): Promise<void> {
    closing ??= (async () => {
      for (const waiter of waiters.splice(0)) waiter.fail(closedStore());
      for (const session of idle.splice(0)) void session.close();
      if (all.size > 0) await Promise.race([emptied.promise, within(options.goodbyeMs)]);
      await Promise.all([...all].map((session) => session.close()));
    })();
    return closing;
  }

  return { take, give, close };
}

function waitIn(waiters: Waiter[], { waitMs, connections }: PoolOptions): Promise<Session> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      waiters.splice(waiters.indexOf(waiter), 1);
      reject(allBusy(connections));
    }, waitMs);
    const waiter: Waiter = {
      take: (session) => {
        clearTimeout(timer);
        resolve(session);
      },
      fail: (error) => {
        clearTimeout(timer);
        reject(error);
      },
    };
    waiters.push(waiter);
  });
}

function signal() {
  let give: () => void = () => {};
  const promise = new Promise<void>((resolve) => {
    give = resolve;
  });
  return { promise, give: () => give() };
}

/** A goodbye that waits for nothing more must not keep the process alive. */
function within(ms: number): Promise<void> {
  return new Promise((resolve) => {
    const timer: unknown = setTimeout(resolve, ms);
    (timer as { readonly unref?: () => void }).unref?.();
  });
}

function allBusy(connections: number): HoldfastError {
  return new HoldfastError(
    "timed_out",
    `all ${connections} connections to PostgreSQL stayed busy`,
    "give the server more connections, or the database fewer requests; the request may be repeated",
  );
}
