// Owns what the programs of a simulated run declare: the collections of a client before and after its upgrade.
// What the server declares is server-host.ts; who runs which version when is drawn in moves.ts.
import type { Fields } from "../../src/record.ts";
import type { Collection } from "../../src/world.ts";

/** Version 2 of a note has a mood; every older one is calm. */
export const raiseNote = (value: Fields, from: number): Fields =>
  from < 2 && value.mood === undefined ? { ...value, mood: "calm" } : value;

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

export const collectionNames = ["notes", "tasks", "meters", "boxes"] as const;
