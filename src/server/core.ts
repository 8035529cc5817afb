/**
 * Owns what every part of the server works on: the store, the declared collections, clock and ids, limits, and who is asking.
 * What is done with them is in the files beside; how they are put together is `server.ts`.
 */
import { checkOptions } from "../misuse.ts";
import type { Access } from "./auth.ts";
import type { ServerCollection, Who } from "./collections.ts";
import type { ServerStore } from "./store.ts";

/** Limits of one server process; each has a test at the limit and past it. */
export const serverLimits = {
  /** Bytes of one request's body. */
  bodyBytes: 8_388_608,
  /** Bytes of record values in one page of a pull; a page has one operation's records at least. */
  pageBytes: 8_388_608,
  /** Bytes of the records that one operation touches: they come in one page, and clients take 64 MiB, which these may fill in UTF-8. */
  operationBytes: 16_777_216,
  /** Requests per second that one token may make in the long run, and how many at once. */
  requestsPerSecond: 100,
  burst: 400,
  /** Open connections; whoever comes past them is hung up on. Whoever listens on a socket sees to it. */
  sockets: 10_000,
  /** Open event streams, of all and of one token. */
  streams: 5_000,
  streamsPerToken: 200,
  /** Spaces that one event stream listens to. */
  streamSpaces: 50,
  /** Time after which an event stream ends, so that its rights are asked again. */
  streamMs: 900_000,
  heartbeatMs: 25_000,
  /** How long receipts are kept: longer than any operation lives on a client. */
  receiptMs: 400 * 86_400_000,
  /** How long removals are remembered; a client that was away for longer reads everything again, its unsent work kept. */
  tombstoneMs: 90 * 86_400_000,
  /** Rows that one transaction of the retention takes. */
  retentionRows: 500,
} as const;
export type ServerLimits = { readonly [name in keyof typeof serverLimits]: number };

/** What is larger would be taken and could then be sent to no client; a timer that is set further ahead goes off at once. */
const most: Readonly<Record<string, { readonly value: number; readonly why: string }>> = {
  pageBytes: { value: serverLimits.operationBytes, why: "which is what clients take" },
  operationBytes: { value: serverLimits.operationBytes, why: "which is what clients take" },
  heartbeatMs: { value: 2_147_483_647, why: "which is what a timer takes" },
};

/** The limits with those that are given. Throws a `TypeError` for a name that does not exist and for what is no number above 0. */
export function limitsFrom(given: Partial<ServerLimits> = {}): ServerLimits {
  checkOptions("limits", given, Object.keys(serverLimits));
  const limits: Record<string, number> = { ...serverLimits };
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined) continue;
    const { value: upTo = Number.MAX_SAFE_INTEGER, why = "" } = most[name] ?? {};
    // One request in two seconds is a rate; half of a stream is nothing.
    const isCounted = name !== "requestsPerSecond";
    const fits = typeof value === "number" && value > 0 && value <= upTo && (!isCounted || Number.isInteger(value));
    if (!fits) {
      const words = `a ${isCounted ? "whole " : ""}number above 0${why === "" ? "" : ` and at most ${upTo}, ${why}`}`;
      throw new TypeError(`limits: ${name} must be ${words}; got ${JSON.stringify(value)}`);
    }
    limits[name] = value;
  }
  return limits as ServerLimits;
}

export type LogEntry = { readonly level: "debug" | "info" | "warn" | "error"; readonly message: string } & {
  readonly [name: string]: unknown;
};

export type Core = {
  readonly store: ServerStore;
  readonly collections: ReadonlyMap<string, ServerCollection>;
  /** Whether collections that are not declared are accepted. */
  readonly isOpen: boolean;
  readonly limits: ServerLimits;
  readonly version: string;
  readonly now: () => number;
  readonly newId: () => string;
  /** SHA-256 in lower-case hexadecimal digits. */
  readonly hash: (text: string) => string | Promise<string>;
  readonly log: (entry: LogEntry) => void;
};

/** The roles that a token has in a space; null: it may not use the space. */
export function whoIn(access: Access, space: string): Who | null {
  const grants = access.spaces.filter((grant) => grant.space === space || grant.space === "*");
  if (grants.length === 0) return null;
  return { subject: access.subject, roles: [...new Set(grants.flatMap((grant) => grant.roles))] };
}
