// Owns the server's data of a simulated run on a real PostgreSQL: processes that die or lose their connections at any statement,
// transactions that take their time, and copies that are put back. Virtual time stands still while the database works; pump.ts leads it.
// Pokes between processes go their virtual way here: LISTEN/NOTIFY has a clock of its own and is proven in faults.pg.test.ts.
import { openPostgres } from "../../src/server/postgres.ts";
import { mintHistories } from "../../src/server/spaces.ts";
import type { ServerStore, Tx } from "../../src/server/store.ts";
import type { Random } from "../../src/testing/random.ts";
import { seededRandom } from "../../src/testing/random.ts";
import type { Scheduler } from "../../src/testing/scheduler.ts";
import type { VirtualProcess } from "../../src/testing/virtual-world.ts";
import { isDeath } from "../../src/testing/virtual-world.ts";
import type { All, ServerBase } from "../replicas/server-base.ts";
import type { Proxy as LossyProxy } from "../support/postgres-proxy.ts";
import { startProxy } from "../support/postgres-proxy.ts";
import type { Pump } from "./pump.ts";
import { newPump } from "./pump.ts";

export type PostgresBase = ServerBase & {
  /** What has happened, so that a run in which little did is known for one. */
  readonly facts: { commits: number; waits: number; lost: number; unknown: number; pauses: number };
};

const waitingNow = "SELECT count(*) AS n FROM pg_locks WHERE NOT granted";
const receipts = "SELECT id, answer FROM hf_receipt ORDER BY id";
const tables = `SELECT table_name AS name FROM information_schema.tables
  WHERE table_schema = 'public' AND table_name LIKE 'hf!_%' ESCAPE '!' ORDER BY table_name`;
const sessions = "FROM pg_stat_activity WHERE datname = current_database() AND application_name = ?";
const terminate = `SELECT pg_terminate_backend(pid) AS told ${sessions}`;
const countSessions = `SELECT count(*) AS n ${sessions}`;

const named = (url: string, name: string): string => {
  const address = new URL(url);
  address.searchParams.set("application_name", name);
  return address.href;
};

/** How often what happens to one transaction. */
const chances = { pause: 0.12, lose: 0.02, unknown: 0.02 } as const;
const longestPauseMs = 8_000;

/** Opens the data of one run in a database of its own. */
export async function openPostgresBase(url: string, seed: number): Promise<PostgresBase> {
  const random = seededRandom(`postgres/${seed}`);
  const judge = await openPostgres({ url: named(url, "judge"), connections: 2 });
  const facts = { commits: 0, waits: 0, lost: 0, unknown: 0, pauses: 0 };
  const pump = newPump(async () => {
    const [row] = await judge.read((tx) => tx.all(waitingNow));
    facts.waits += Number(row?.n) > 0 ? 1 : 0;
    return Number(row?.n);
  });
  const living = new Map<string, Living>();
  let isKept = false;
  /** Ends a process's connections as its death does: what was open is undone by the database. */
  const cut = (name: string): Promise<void> =>
    pump.aside(async () => {
      for (let left = 1; left > 0; ) {
        const ask = async (sql: string) => (await judge.read((tx) => tx.all(sql, name)))[0];
        await ask(terminate);
        left = Number((await ask(countSessions))?.n);
      }
    });
  const close = async (name: string): Promise<void> => {
    const dead = living.get(name);
    if (dead === undefined) return;
    living.delete(name);
    await cut(name);
    await pump.aside(async () => {
      await dead.store.close();
      await dead.proxy.close();
    });
  };
  return {
    facts,
    turn: pump.turn,
    open: async (process, { scheduler, onCommit }) => {
      const made = pump.aside(async () => {
        const proxy = await startProxy(named(url, process.name.replace(" ", "-")));
        return { proxy, store: await openPostgres({ url: proxy.url, connections: 40 }) };
      });
      const { proxy, store } = await made;
      living.set(process.name.replace(" ", "-"), { store, proxy });
      const parts = { pump, scheduler, process, facts, proxy, store, onCommit };
      return mortalStore({
        ...parts,
        random: random.fork(process.name),
        cut: () => cut(process.name.replace(" ", "-")),
      });
    },
    abandon: (process) => void close(process.name.replace(" ", "-")),
    look: (work) => pump.aside(() => judge.read((tx) => work(tx.all as All))),
    receipts: (all) => all(receipts),
    change: (sql) => pump.aside(async () => void (await judge.write((tx) => tx.run(sql)))),
    copy: async () => {
      await pump.aside(() => keepCopy(judge, isKept));
      isKept = true;
    },
    hasCopy: () => isKept,
    restore: (newId) =>
      pump.aside(async () => {
        await putBack(judge);
        // As `holdfast server restore --history` does after PostgreSQL's own restore.
        if (newId !== null) await judge.write((tx) => mintHistories(tx, newId));
      }),
    close: async () => {
      for (const name of [...living.keys()]) await close(name);
      await judge.close();
    },
  };
}

type Living = { readonly store: ServerStore; readonly proxy: LossyProxy };

// ---- one process ----------------------------------------------------------------------------------------------------

type Mortal = {
  readonly pump: Pump;
  readonly scheduler: Scheduler;
  readonly process: VirtualProcess;
  readonly random: Random;
  readonly facts: PostgresBase["facts"];
  readonly proxy: LossyProxy;
  readonly store: ServerStore;
  readonly cut: () => Promise<void>;
  readonly onCommit: () => Promise<void>;
};

function mortalStore(mortal: Mortal): ServerStore {
  const { pump, process, store, facts, onCommit } = mortal;
  const listeners = new Set<(space: string, head: number) => void>();
  let transactions = 0;
  /** `go` hands the store the work of one transaction, which may be run more than once. */
  const run = async <T>(
    { isWrite, isRepeatable }: { readonly isWrite: boolean; readonly isRepeatable: boolean },
    work: (tx: Tx) => Promise<T>,
    go: (inside: (tx: Tx) => Promise<T>) => Promise<T>,
  ): Promise<T> => {
    process.step();
    transactions += 1;
    const fate = drawFate(mortal.random.fork(`${transactions}`), isWrite && isRepeatable);
    let step = pump.begin();
    const inside = async (tx: Tx): Promise<T> => {
      await pump.end(step);
      try {
        return await alive(mortal, async () => {
          const value = await work(mortalTx(mortal, fate, tx));
          if (isWrite) await meetEnd(mortal, fate);
          return value;
        });
      } finally {
        step = pump.begin();
      }
    };
    const value = await go(inside).finally(() => pump.end(step));
    process.step();
    if (!isWrite) return value;
    facts.commits += 1;
    // Nothing else goes on before the commit has been seen: the next one may hide it.
    await onCommit();
    process.atCommit("after");
    return value;
  };
  return {
    ...store,
    write: (work, options = {}) =>
      run({ isWrite: true, isRepeatable: options.isRepeatable === true }, work, (inside) =>
        store.write(inside, options),
      ),
    read: (work) => run({ isWrite: false, isRepeatable: true }, work, (inside) => store.read(inside)),
    migrate: (migrations) => pump.step(() => store.migrate(migrations)),
    poke: async (space, head) => {
      for (const listener of [...listeners]) listener(space, head);
    },
    onPoke: (listener) => {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    // Whoever ends in order and whoever dies leave the same here: `abandon` closes the connections.
    close: async () => {},
  };
}

/** A process that dies inside a transaction takes its connections along, and the database undoes what was open. */
async function alive<T>({ process, cut }: Mortal, work: () => Promise<T>): Promise<T> {
  try {
    process.step();
    return await work();
  } catch (error) {
    if (isDeath(error)) await cut();
    throw error;
  }
}

/** `at`: the statement before which it happens. */
type Fate = {
  readonly at: number;
  readonly pauseMs: number;
  readonly isLost: boolean;
  readonly isUnknown: boolean;
  done: number;
};

function drawFate(random: Random, mayBeUnknown: boolean): Fate {
  const [isPaused, isLost, isUnknown] = [chances.pause, chances.lose, chances.unknown].map((each) =>
    random.chance(each),
  );
  return {
    at: random.below(6),
    pauseMs: isPaused ? 1 + random.below(random.chance(0.3) ? longestPauseMs : 200) : 0,
    isLost: isLost === true,
    isUnknown: mayBeUnknown && isUnknown === true,
    done: 0,
  };
}

function mortalTx(mortal: Mortal, fate: Fate, tx: Tx): Tx {
  const { pump, process, facts, cut, scheduler } = mortal;
  const statement = async <T>(work: () => Promise<T>): Promise<T> => {
    process.step();
    const isDue = fate.done === fate.at;
    fate.done += 1;
    if (isDue && fate.isLost) {
      facts.lost += 1;
      await cut();
    }
    const value = await pump.step(work);
    process.step();
    if (isDue && fate.pauseMs > 0) {
      facts.pauses += 1;
      await new Promise<void>((resolve) => scheduler.after(fate.pauseMs, resolve));
      process.step();
    }
    return value;
  };
  return {
    all: (sql, ...parameters) => statement(() => tx.all(sql, ...parameters)),
    run: (sql, ...parameters) => statement(() => tx.run(sql, ...parameters)),
    savepoint: (work) => tx.savepoint(work),
  };
}

/** What happens at the commit: a death before it, or an answer to it that nobody gets. */
async function meetEnd({ process, facts, proxy }: Mortal, fate: Fate): Promise<void> {
  process.step();
  process.atCommit("before");
  if (!fate.isUnknown || fate.done > 1_000) return;
  // Once: the transaction is run again, and finds its receipts.
  fate.done = 1_001;
  facts.unknown += 1;
  proxy.set("lose answer");
}

// ---- copies ---------------------------------------------------------------------------------------------------------

const namesIn = async (store: ServerStore): Promise<readonly string[]> =>
  (await store.read((tx) => tx.all(tables))).map(({ name }) => String(name));

async function keepCopy(store: ServerStore, isKept: boolean): Promise<void> {
  const names = await namesIn(store);
  await store.write(async (tx) => {
    if (isKept) await tx.run("DROP SCHEMA kept CASCADE");
    await tx.run("CREATE SCHEMA kept");
    for (const name of names) await tx.run(`CREATE TABLE kept.${name} AS TABLE public.${name}`);
  });
}

async function putBack(store: ServerStore): Promise<void> {
  const names = await namesIn(store);
  await store.write(async (tx) => {
    for (const name of names) {
      await tx.run(`TRUNCATE public.${name}`);
      await tx.run(`INSERT INTO public.${name} SELECT * FROM kept.${name}`);
    }
  });
}
