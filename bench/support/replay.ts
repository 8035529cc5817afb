// Owns doing by hand what the engine has written: the writes of each commit, recorded once, are made again on a copy of the store through
// prepared statements and nothing else. That is the floor under any program that keeps these rows. Leaves what is recorded, and its time,
// to the bars.
import { DatabaseSync } from "node:sqlite";
import type { Database, SqlValue, Statement } from "../../src/database.ts";

type Write = { readonly sql: string; readonly parameters: readonly SqlValue[] };

/** The writes of one commit, from its BEGIN on. */
export type Commit = readonly Write[];

/** Notes what is written through a database; `take` hands it over, commit by commit. */
export function newRecorder() {
  let commits: Write[][] = [];
  let writes: Write[] = [];
  const note = (sql: string, parameters: readonly SqlValue[]): void => {
    if (sql.startsWith("BEGIN")) writes = [];
    writes.push({ sql, parameters });
    // Reads begin and end as well, and write nothing in between.
    if (sql === "COMMIT" && writes.length > 2) commits.push(writes);
  };
  const watched = (statement: Statement, sql: string): Statement => {
    // A write may answer with rows, and then it is not `run`.
    const isRead = /^\s*(SELECT|WITH|PRAGMA)\b/.test(sql);
    return {
      run: (...parameters) => {
        note(sql, parameters);
        return statement.run(...parameters);
      },
      get: (...parameters) => {
        if (!isRead) note(sql, parameters);
        return statement.get(...parameters);
      },
      all: (...parameters) => {
        if (!isRead) note(sql, parameters);
        return statement.all(...parameters);
      },
    };
  };
  return {
    watch: <D extends Database>(database: D): D => ({
      ...database,
      prepare: (sql: string) => watched(database.prepare(sql), sql),
    }),
    take: (): readonly Commit[] => {
      const taken = commits;
      commits = [];
      return taken;
    },
  };
}

/** Makes recorded writes again in a copy of the store as it was before them, one commit at a time, with `synchronous=FULL`. */
export function openReplay(file: string, commits: readonly Commit[]) {
  const connection = new DatabaseSync(file);
  connection.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -32768");
  const texts = new Set(commits.flatMap((commit) => commit.map(({ sql }) => sql)));
  const statements = new Map([...texts].map((sql) => [sql, connection.prepare(sql)]));
  const left = [...commits].reverse();
  return {
    next: (): void => {
      const commit = left.pop();
      if (commit === undefined) throw new RangeError("nothing more was recorded");
      for (const { sql, parameters } of commit) statements.get(sql)?.run(...parameters);
    },
    close: () => connection.close(),
  };
}
