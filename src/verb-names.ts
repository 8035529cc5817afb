/**
 * Owns the list of verbs as plain names, for clients that carry no schema: a browser bundle has no room for one.
 * What each verb takes and answers is said in `verbs.ts`; a test holds the two together.
 */
import type { Verb, Verbs } from "./verbs.ts";

/** Every verb, and whether it only reads. */
export const verbKinds = {
  "queue.add": "write",
  "queue.addMany": "write",
  "queue.get": "read",
  "queue.list": "read",
  "queue.status": "read",
  "queue.why": "read",
  "queue.history": "read",
  "queue.edit": "write",
  "queue.retry": "write",
  "queue.move": "write",
  "queue.cancel": "write",
  "queue.detach": "write",
  "queue.release": "write",
  "queue.remove": "write",
  "queue.clear": "write",
  "queue.pause": "write",
  "queue.resume": "write",
  "queue.resolve": "write",
  "queue.export": "read",
  "queue.import": "write",
  "ids.get": "read",
  "ids.assign": "write",
  "sync.run": "write",
  "sync.status": "read",
  "sync.runs": "read",
  "sync.rollback": "write",
  "collections.declare": "write",
  "collections.list": "read",
  "collections.sync": "write",
  "records.write": "write",
  "records.transaction": "write",
  "records.get": "read",
  "records.query": "read",
  "records.count": "read",
  "records.sql": "read",
  "records.history": "read",
  "records.restore": "write",
  "records.import": "write",
  "records.pin": "write",
  "conflicts.list": "read",
  "conflicts.groups": "read",
  "conflicts.get": "read",
  "conflicts.resolve": "write",
  "conflicts.undo": "write",
  "conflicts.prefer": "write",
  "network.status": "read",
  "network.check": "write",
  "network.offline": "write",
  "network.online": "write",
  "subject.signIn": "write",
  "subject.signOut": "write",
  "settings.get": "read",
  "settings.set": "write",
  "events.list": "read",
  "engine.info": "read",
  "engine.check": "read",
} as const satisfies { readonly [V in Verb]: Verbs[V]["kind"] };

/** Where to read what a verb takes. Programs call it, so this names no command: many verbs have none of their name. */
export const inputHint = (verb: Verb): string => `see \`${verb}\` in docs/http.md, or in /openapi.json of a daemon`;

/** Writes whose second run changes nothing and answers the same, so that a lost answer may simply be asked for again. */
const repeatableWrites: ReadonlySet<Verb> = new Set<Verb>([
  "queue.pause",
  "queue.resume",
  "ids.assign",
  "sync.run",
  "network.check",
  "network.offline",
  "network.online",
  "subject.signIn",
  "subject.signOut",
  "settings.set",
]);

/**
 * Tells whether a request may be sent again when its answer was lost. An enqueue may when every operation in it
 * carries its own id: the second one finds the first.
 */
export function isRepeatable(verb: Verb, input: unknown): boolean {
  if (verbKinds[verb] === "read" || repeatableWrites.has(verb)) return true;
  if (verb === "queue.add") return hasId(input);
  if (verb !== "queue.addMany") return false;
  const { operations } = input as { readonly operations?: unknown };
  return Array.isArray(operations) && operations.every(hasId);
}

function hasId(input: unknown): boolean {
  return typeof (input as { readonly id?: unknown } | null)?.id === "string";
}
