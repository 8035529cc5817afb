/**
 * Owns a database as one virtual process sees it: it dies with the process, at any statement, and it fails when the disk is full.
 * The real database behind it is shared by the machine's processes and outlives them, as a file does.
 */
import type { Database, GuardedQuery, SqlValue, Statement } from "../database.ts";
import { HoldfastError } from "../errors.ts";
import type { VirtualMachine } from "./virtual-machine.ts";
import type { VirtualProcess } from "./virtual-world.ts";

const writeTransaction = /^\s*BEGIN\s+(IMMEDIATE|EXCLUSIVE)/i;
const transaction = /^\s*BEGIN/i;
const end = /^\s*(COMMIT|END)/i;
const rollback = /^\s*ROLLBACK\s*;?\s*$/i;
const write = /^\s*(INSERT|UPDATE|DELETE|REPLACE|CREATE|DROP|ALTER)/i;

type Kind = "begin" | "beginWrite" | "commit" | "rollback" | "write" | "other";

/**
 * Wraps the machine's database for one of its processes. A process that dies inside a transaction leaves nothing of it behind.
 * @example
 * const engine = openEngine({ database: mortalDatabase(database, machine, process), world: process.world });
 */
export function mortalDatabase(database: Database, machine: VirtualMachine, process: VirtualProcess): Database {
  const state = { open: "none" as "none" | "read" | "write" };
  const undo = (): void => {
    if (state.open === "none") return;
    state.open = "none";
    database.exec("ROLLBACK");
  };
  const guarded = <T>(kind: Kind, work: () => T): T => {
    live(process, undo);
    if (kind === "commit" && state.open === "write") pass(process, "before", undo);
    if (!hasRoom(machine, state.open, kind)) {
      undo();
      throw new HoldfastError("disk_full", "the virtual disk is full", "free some space");
    }
    const output = work();
    const wasWriting = state.open === "write";
    state.open = after(state.open, kind);
    // Death right after a commit is the moment at which a caller is not told of what is durable.
    if (kind === "commit" && wasWriting) pass(process, "after", undo);
    return output;
  };
  const statements = new Map<string, Statement>();
  const { query } = database;
  return {
    isReadOnly: database.isReadOnly,
    exec: (sql) => guarded(kindOf(sql), () => database.exec(sql)),
    prepare: (sql) => {
      const known = statements.get(sql);
      if (known !== undefined) return known;
      const kind = kindOf(sql);
      const real = database.prepare(sql);
      const wrapped: Statement = {
        run: (...parameters: readonly SqlValue[]) => guarded(kind, () => real.run(...parameters)),
        get: (...parameters: readonly SqlValue[]) => guarded(kind, () => real.get(...parameters)),
        all: (...parameters: readonly SqlValue[]) => guarded(kind, () => real.all(...parameters)),
      };
      statements.set(sql, wrapped);
      return wrapped;
    },
    ...(query === undefined
      ? {}
      : {
          query: (asked: GuardedQuery) => {
            live(process, undo);
            return query(asked);
          },
        }),
    close: undo,
  };
}

function live(process: VirtualProcess, undo: () => void): void {
  try {
    process.step();
  } catch (death) {
    undo();
    throw death;
  }
}

function pass(process: VirtualProcess, moment: "before" | "after", undo: () => void): void {
  try {
    process.atCommit(moment);
  } catch (death) {
    undo();
    throw death;
  }
}

/** Outside a transaction each write takes room for itself; inside one, the commit takes it for all. */
function hasRoom(machine: VirtualMachine, open: "none" | "read" | "write", kind: Kind): boolean {
  if (!machine.disk.isFull()) return true;
  if (kind === "commit") return open !== "write" || machine.disk.takeRoom();
  return kind !== "write" || open === "write" || machine.disk.takeRoom();
}

function kindOf(sql: string): Kind {
  if (writeTransaction.test(sql)) return "beginWrite";
  if (transaction.test(sql)) return "begin";
  if (end.test(sql)) return "commit";
  if (rollback.test(sql)) return "rollback";
  return write.test(sql) ? "write" : "other";
}

function after(open: "none" | "read" | "write", kind: Kind): "none" | "read" | "write" {
  if (kind === "beginWrite") return "write";
  if (kind === "begin") return "read";
  return kind === "commit" || kind === "rollback" ? "none" : open;
}
