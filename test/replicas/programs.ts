// Owns what the programs of a simulated run declare: the collections of a client before and after its upgrade, and what may be read of tasks.
// What the server declares is server-host.ts; who runs which version when is drawn in moves.ts.
import type { Fields } from "../../src/record.ts";
import type { Collection } from "../../src/world.ts";

/** Version 2 of a note has a mood; every older one is calm. */
export const raiseNote = (value: Fields, from: number): Fields =>
  from < 2 && value.mood === undefined ? { ...value, mood: "calm" } : value;

/** A record as the newest program shows it: two sides are compared so, since a client may be upgraded between them. */
export const inNewestWords = (collection: string, value: Fields): Fields =>
  collection === "notes" ? raiseNote(value, 1) : value;

export function collectionsOf(version: 1 | 2): readonly Collection[] {
  return [
    {
      name: "notes",
      version,
      ...(version === 2 ? { upcast: raiseNote } : {}),
      indexes: ["slug"],
      unique: [["slug"]],
      merge: { n: { rule: "counter" }, tags: { rule: "set" }, best: { rule: "max" }, text: { rule: "text" } },
    },
    {
      name: "tasks",
      merge: { a: { rule: "prefer-local" }, b: { rule: "prefer-remote" } },
      strategy: { deleted_upstream: "local_wins", deleted_here: "remote_wins" },
    },
    { name: "meters", merge: { n: { rule: "counter" } } },
    { name: "boxes", keys: "server" },
  ];
}

/** How much of the tasks a client may read; everything else is read by everybody, and all may write everything. */
export const reaches = ["everything", "some tasks", "no tasks"] as const;
export type Reach = (typeof reaches)[number];

/** The tasks that are in reach of a client that may read some. */
export const someTasks = ["k1", "k3", "k5"] as const;

/** Whether a client may read a record, by the name under which it is judged. */
export function isInReach(reach: Reach, name: string): boolean {
  if (reach === "everything" || !name.startsWith("tasks/")) return true;
  return reach === "some tasks" && someTasks.some((key) => name === `tasks/${key}`);
}

export const collectionNames = ["notes", "tasks", "meters", "boxes"] as const;
