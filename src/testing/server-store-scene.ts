/**
 * Owns what the cases of the store's contract are made of: a table to count in, a poke that is waited for, checks that say what was wrong.
 * It leaves the rules to `server-store-contract.ts` and `server-store-rivals.ts`.
 */
import type { ErrorCode } from "../errors.ts";
import { assert, isCode } from "../errors.ts";
import type { ServerRow, ServerStore, SqlParameter, Tx } from "../server/store.ts";
import { everySpace } from "../server/store.ts";

/** How the cases get at an implementation. */
export type ServerStoreHarness = {
  /** Opens a store on a new, empty database. */
  readonly open: () => Promise<ServerStore>;
  /** Opens the database of the last `open` once more, as another process does; `null` where only one process may have it open. */
  readonly again: (() => Promise<ServerStore>) | null;
};

export type Scene = { readonly store: ServerStore; readonly harness: ServerStoreHarness };
export type Rule = readonly [name: string, check: (scene: Scene) => Promise<void>];

export type Heard = readonly (readonly [space: string, head: number])[];

export async function makeKinds(store: ServerStore): Promise<void> {
  await store.write((tx) => tx.run(`CREATE TABLE kinds (t ${store.dialect.text}, n ${store.dialect.bigint})`));
}

export async function roundTrip({ store }: Scene, column: "t" | "n", value: SqlParameter, isNew = true): Promise<void> {
  if (isNew) await makeKinds(store);
  await store.write((tx) => tx.run(`INSERT INTO kinds (${column}) VALUES (?)`, value));
  const rows = await store.read((tx) => tx.all(`SELECT ${column} AS v FROM kinds`));
  same(rows, [{ v: value }]);
}

export async function makeCounters(store: ServerStore, names: readonly string[]): Promise<void> {
  const { bigint, text } = store.dialect;
  await store.write(async (tx) => {
    await tx.run(`CREATE TABLE tally (name ${text} NOT NULL PRIMARY KEY, n ${bigint} NOT NULL)`);
    for (const name of names) await tx.run("INSERT INTO tally (name, n) VALUES (?, 0)", name);
  });
}

export async function add(tx: Tx, name: string): Promise<void> {
  await tx.run("UPDATE tally SET n = n + 1 WHERE name = ?", name);
}

/** Takes the next number as a push does: lock, read, write. */
export async function takeNext(store: ServerStore, name: string, isUndone = false, isFed = false): Promise<number> {
  return store.write(async (tx) => {
    const [row] = await tx.all(`SELECT n FROM tally WHERE name = ?${store.dialect.forUpdate}`, name);
    const next = Number(row?.n) + 1;
    if (isFed) await tx.run("INSERT INTO feed (version) VALUES (?)", next);
    await tx.run("UPDATE tally SET n = ? WHERE name = ?", next, name);
    if (isUndone) throw new Error("undo");
    return next;
  });
}

export async function readCounter(store: ServerStore, name: string): Promise<number> {
  const [row] = await store.read((tx) => tx.all("SELECT n FROM tally WHERE name = ?", name));
  return Number(row?.n);
}

export async function counters(store: ServerStore): Promise<Readonly<Record<string, number>>> {
  const rows: readonly ServerRow[] = await store.read((tx) => tx.all("SELECT name, n FROM tally ORDER BY name"));
  return Object.fromEntries(rows.map(({ name, n }) => [String(name), Number(n)]));
}

export const named = (heard: Heard): Heard => heard.filter(([space]) => space !== everySpace);

export async function withMore(
  harness: ServerStoreHarness,
  count: number,
  check: (stores: readonly ServerStore[]) => Promise<void>,
): Promise<void> {
  const { again } = harness;
  assert(again !== null, "a case that opens a database twice runs only where that is possible");
  const stores = await Promise.all(Array.from({ length: count }, () => again()));
  try {
    await check(stores);
  } finally {
    await Promise.all(stores.map((store) => store.close()));
  }
}

export async function outcome<T>(task: Promise<T>): Promise<T | unknown> {
  return task.catch((error: unknown) => error);
}

export async function fails(task: Promise<unknown>, code?: ErrorCode): Promise<void> {
  const ended = await task.then(
    () => undefined,
    (error: unknown) => error,
  );
  if (!(ended instanceof Error)) throw new Error("it should have failed");
  if (code !== undefined && !isCode(ended, code)) throw new Error(`expected ${code}, got ${ended}`);
}

export function same(actual: unknown, expected: unknown): void {
  const [left, right] = [JSON.stringify(actual), JSON.stringify(expected)];
  if (left !== right) throw new Error(`expected ${right?.slice(0, 300)}, got ${left?.slice(0, 300)}`);
}
