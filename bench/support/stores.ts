// Owns the stores that are measured: ours in a directory, and a raw table in a file of the same file system.
// Leaves what is queued in them to the bars.
import { mkdirSync, mkdtempSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { Engine } from "../../src/engine/engine.ts";
import { openEngine } from "../../src/node/engine.ts";
import type { Settings } from "../../src/shapes.ts";
import type { OperationType } from "../../src/world.ts";

/** What every row and every operation carries: a small note, 180 bytes of JSON. */
export const note = { title: "A note", body: "x".repeat(150) } as const;
export const noteText = JSON.stringify(note);

export const noteType: OperationType = { type: "note" };

/** Millions are queued and nothing is dropped on the way. */
export const roomy: Partial<Settings> = { maxOperations: 10_000_000, maxBytes: 1e12 };

export function newDirectory(parent: string, name: string): string {
  mkdirSync(parent, { recursive: true });
  return mkdtempSync(join(parent, `${name}-`));
}

/** Our store as a program opens it, with all that watches over it. */
export async function openOurs(directory: string, types: readonly OperationType[] = [noteType]): Promise<Engine> {
  return openEngine({ directory, types, settings: roomy, log: () => {} });
}

export type RawTable = {
  readonly insertOne: () => void;
  readonly insertMany: (count: number) => void;
  readonly close: () => void;
};

/** The floor: one table with an integer key and a text, WAL, synchronous=FULL, prepared once. */
export function openRaw(directory: string): RawTable {
  const connection = new DatabaseSync(join(directory, "raw.db"));
  connection.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
    CREATE TABLE note (id INTEGER PRIMARY KEY, payload TEXT NOT NULL)`);
  const insert = connection.prepare("INSERT INTO note (payload) VALUES (?)");
  const begin = connection.prepare("BEGIN IMMEDIATE");
  const commit = connection.prepare("COMMIT");
  return {
    insertOne: () => void insert.run(JSON.stringify(note)),
    insertMany: (count) => {
      begin.run();
      for (let index = 0; index < count; index += 1) insert.run(JSON.stringify(note));
      commit.run();
    },
    close: () => connection.close(),
  };
}
