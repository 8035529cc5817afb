/**
 * Owns the table `space`: which history of the server the cursors belong to, its newest version, the clock's offset, when to ask again.
 * What is asked and what becomes of the answer is `pull.ts`.
 */
import { getMeta, setMeta } from "./meta.ts";
import type { Store } from "./store.ts";
import { integer, integerOrNull, parsed, text } from "./store.ts";

/** The space of collections that name none, until a program says where its server is. */
const unnamedSpace = "default";

const columns = "name, history, head, seen, offset_ms, due, pulled, failures, asked";
const find = `SELECT ${columns} FROM space WHERE name = ?`;
const ensure = "INSERT OR IGNORE INTO space (name) VALUES (?)";
const setAnswered =
  "UPDATE space SET history = ?, head = ?, offset_ms = ?, failures = 0, due = ?, pulled = ?, asked = ? WHERE name = ?";
const setFailed = "UPDATE space SET failures = failures + 1, due = ? WHERE name = ?";
const setDue = "UPDATE space SET due = ? WHERE name = ? AND due > ?";
const setSeen = "UPDATE space SET seen = max(seen, ?) WHERE name = ?";
const dropSeen = "UPDATE space SET seen = 0 WHERE name = ?";
const setAsked = "UPDATE space SET asked = 1, due = 0 WHERE name = ?";

export type Space = {
  readonly name: string;
  /** Identity of the server's history; empty before the first answer. */
  readonly history: string;
  readonly head: number;
  /** The highest version of this history that an answer or a fetch has brought, as far as no acknowledged change says so itself. */
  readonly seen: number;
  /** Milliseconds that the server's clock is ahead of ours. */
  readonly offsetMs: number;
  /** When it is asked next, by the wall clock; 0: now. */
  readonly due: number;
  /** When it was last found that nothing newer exists. */
  readonly pulled: number | null;
  /** Failures in a row. */
  readonly failures: number;
  /** Somebody asked for a pull, so it goes out in every mode. */
  readonly isAsked: boolean;
};

/** Where the sync server is, as the program that sends has told the store. */
export type SyncPlace = { readonly remote: string; readonly space: string; readonly subject: string };

const nowhere: SyncPlace = { remote: "", space: unnamedSpace, subject: "" };

/** Processes without a way to the server queue for the one that another process named. */
export function syncPlace(store: Store): SyncPlace {
  if (store.sync !== null) {
    const { remote, space, subject } = store.sync;
    return { remote, space, subject };
  }
  return writtenPlace(store) ?? nowhere;
}

/** What a process that sends has told of it last; `null`: none ever did. */
export function writtenPlace(store: Store): SyncPlace | null {
  const written = getMeta(store, "sync");
  return written === null ? null : parsed<SyncPlace>(written, nowhere);
}

/** Tells whether it is another place than before. */
export function saveSyncPlace(store: Store, place: SyncPlace): boolean {
  const written = JSON.stringify(place);
  if (getMeta(store, "sync") === written) return false;
  setMeta(store, "sync", written);
  return true;
}

/** The name of a collection's space; an empty one stands for the server's. */
export const spaceNameOf = (store: Store, given: string): string => (given === "" ? syncPlace(store).space : given);

export function getSpace(store: Store, name: string): Space {
  const row = store.db.prepare(find).get(name);
  return row === undefined
    ? { name, history: "", head: 0, seen: 0, offsetMs: 0, due: 0, pulled: null, failures: 0, isAsked: false }
    : {
        name: text(row.name),
        history: text(row.history),
        head: integer(row.head),
        seen: integer(row.seen),
        offsetMs: integer(row.offset_ms),
        due: integer(row.due),
        pulled: integerOrNull(row.pulled),
        failures: integer(row.failures),
        isAsked: integer(row.asked) === 1,
      };
}

/** Something is worth asking for: at once, or after a moment in which more may come together. */
export function wantPull(store: Store, name: string, delayMs = 0): void {
  store.db.prepare(ensure).run(name);
  const due = delayMs === 0 ? 0 : store.world.now() + delayMs;
  store.db.prepare(setDue).run(due, name, due);
}

/** A person wants it, whatever the mode. */
export function askPull(store: Store, name: string): void {
  store.db.prepare(ensure).run(name);
  store.db.prepare(setAsked).run(name);
}

/** A record has come here by itself, at a version that no page has brought yet. */
export function keepSeen(store: Store, name: string, version: number): void {
  store.db.prepare(ensure).run(name);
  store.db.prepare(setSeen).run(version, name);
}

export function forgetSeenVersion(store: Store, name: string): void {
  store.db.prepare(dropSeen).run(name);
}

export function noteAnswer(store: Store, after: Omit<Space, "failures" | "seen">): void {
  store.db.prepare(ensure).run(after.name);
  store.db
    .prepare(setAnswered)
    .run(after.history, after.head, after.offsetMs, after.due, after.pulled, after.isAsked ? 1 : 0, after.name);
}

export function noteFailure(store: Store, name: string, due: number): void {
  store.db.prepare(ensure).run(name);
  store.db.prepare(setFailed).run(due, name);
}
