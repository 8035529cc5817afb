// Owns seeing the commits of a database as they happen, for tests whose clock or count goes by them.
// Leaves everything else to the database that it wraps.
import type { Database } from "../../src/database.ts";

/** The same database; `onCommit` is called before each commit. */
export function watchCommits(database: Database, onCommit: () => void): Database {
  return {
    ...database,
    prepare: (sql) => {
      const statement = database.prepare(sql);
      if (sql !== "COMMIT") return statement;
      return {
        ...statement,
        run: (...parameters) => {
          onCommit();
          return statement.run(...parameters);
        },
      };
    },
  };
}
