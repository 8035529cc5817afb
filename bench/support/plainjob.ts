// Owns plainjob in the same run, as its users have it but durable: raised to synchronous=FULL, and over the driver that we use as well, so
// that queues are compared and not drivers. Leaves installing it to install.ts and what is compared to the bars.
import { existsSync, mkdirSync, renameSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { pathToFileURL } from "node:url";
import { note } from "./stores.ts";

export const plainjobName = "plainjob at FULL";

export type Plainjob = {
  readonly name: string;
  /** Queues one note; it is durable when this returns. */
  readonly add: () => void;
  readonly addMany: (count: number) => void;
  /** Claims that many jobs, one after the other: it has no claim of several. */
  readonly claim: (count: number) => void;
  /** Everything claimed goes back. */
  readonly putBack: () => void;
  /** Resolves when `count` jobs have been sent and marked as done, each in one of `workers` workers. */
  readonly drain: (task: {
    readonly count: number;
    readonly workers: number;
    readonly send: (id: number, data: string) => Promise<unknown>;
  }) => Promise<void>;
  readonly close: () => void;
};

const quiet = { error() {}, warn() {}, info() {}, debug() {} };
const type = "note";

/** The module itself; loading it beforehand keeps it out of what is timed. */
export const loadPlainjob = () =>
  import(pathToFileURL(join(import.meta.dirname, "..", "node_modules", "plainjob/dist/plainjob.js")).href);

export async function openPlainjob(directory: string, synchronous: "FULL" | "OFF" = "FULL"): Promise<Plainjob> {
  const { defineQueue, defineWorker } = await loadPlainjob();
  const filename = join(directory, "plainjob.db");
  const connection = new DatabaseSync(filename);
  const queue = defineQueue({ connection: asBetterSqlite(connection, filename), logger: quiet });
  // It sets NORMAL by itself, which loses acknowledged jobs in a power cut.
  connection.exec(`PRAGMA synchronous = ${synchronous}`);
  return {
    name: plainjobName,
    add: () => queue.add(type, note),
    addMany: (count) =>
      queue.addMany(
        type,
        Array.from({ length: count }, () => note),
      ),
    claim: (count) => {
      for (let taken = 0; taken < count; taken += 1)
        if (queue.getAndMarkJobAsProcessing(type) === undefined) throw new Error("plainjob had no job to give");
    },
    putBack: () => queue.requeueTimedOutJobs(0),
    drain: async ({ count, workers, send }) => {
      let left = count;
      let finish: () => void = () => {};
      let giveUp: (error: Error) => void = () => {};
      const landed = new Promise<void>((resolve, reject) => {
        finish = resolve;
        giveUp = reject;
      });
      const onCompleted = (): void => {
        left -= 1;
        if (left === 0) finish();
      };
      const onFailed = (_: unknown, error: string): void => giveUp(new Error(error));
      const work = ({ id, data }: { readonly id: number; readonly data: string }) => send(id, data);
      const options = { queue, logger: quiet, onCompleted, onFailed };
      const all = Array.from({ length: workers }, () => defineWorker(type, work, options));
      for (const worker of all) worker.start().catch(giveUp);
      await landed;
      for (const worker of all) await worker.stop();
    },
    close: () => queue.close(),
  };
}

/** What plainjob asks of `better-sqlite3`. */
function asBetterSqlite(connection: DatabaseSync, filename: string) {
  return {
    driver: "better-sqlite3",
    filename,
    pragma: (text: string) => connection.exec(`PRAGMA ${text}`),
    exec: (sql: string) => connection.exec(sql),
    prepare: (sql: string) => {
      const statement = connection.prepare(sql);
      statement.setAllowBareNamedParameters(true);
      return statement;
    },
    transaction: <A extends readonly unknown[], R>(work: (...input: A) => R) => {
      const beginning =
        (begin: string) =>
        (...input: A): R => {
          connection.exec(begin);
          const output = work(...input);
          connection.exec("COMMIT");
          return output;
        };
      return Object.assign(beginning("BEGIN"), { immediate: beginning("BEGIN IMMEDIATE") });
    },
    close: () => connection.close(),
  };
}

const batch = 10_000;

/** The directory of a queue of that depth under `root`, built when it is not there yet. */
export async function plainjobOf(root: string, count: number): Promise<string> {
  const directory = join(root, `plainjob-${count}`);
  if (existsSync(directory)) return directory;
  const unfinished = `${directory}.unfinished`;
  mkdirSync(unfinished, { recursive: true });
  // Only while it is built: what is measured is opened with FULL.
  const plainjob = await openPlainjob(unfinished, "OFF");
  for (let done = 0; done < count; done += batch) plainjob.addMany(Math.min(batch, count - done));
  plainjob.close();
  renameSync(unfinished, directory);
  return directory;
}
