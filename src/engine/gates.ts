/**
 * Owns the table `gate`: what a person or an answer has closed: pauses, working offline, signed-out subjects, refused credentials.
 * Whether a remote can be reached is in `network.ts`; both are asked at a claim.
 */
import type { Problem } from "../operation.ts";
import type { Pause } from "../verbs.ts";
import type { Store } from "./store.ts";
import { integer, integerOrNull, text } from "./store.ts";

/** After a refusal of credentials the subject is tried again by itself after this long, doubling, in case the remote was wrong. */
export const authRetryMs = { first: 60_000, most: 3_600_000 } as const;

const all = "SELECT kind, name, remote, reason, code, since, until, tries FROM gate";
const findGate = "SELECT tries FROM gate WHERE kind = ? AND name = ? AND remote = ?";
const put = `INSERT INTO gate (kind, name, remote, reason, code, since, until, tries) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
  ON CONFLICT (kind, name, remote) DO UPDATE SET
    reason = excluded.reason, code = excluded.code, since = min(since, excluded.since), until = excluded.until, tries = excluded.tries`;
const drop = "DELETE FROM gate WHERE kind = ? AND name = ? AND remote = ?";
const dropAuth = "DELETE FROM gate WHERE kind = 'auth' AND name = ?";
const hasGate = "SELECT 1 AS n FROM gate WHERE kind = ? AND name = ? LIMIT 1";

export type AuthGate = {
  readonly subject: string;
  readonly remote: string;
  readonly reason: string;
  /** Which refusal it was, e.g. `token_expired`: hints go by it, since the words are the remote's own. */
  readonly code: string;
  /** The first refusal. A clock that was put back to before it opens the gate for a look, and the next refusal takes its time. */
  readonly since: number;
  /** When it is tried again by itself. */
  readonly until: number;
};

export type Gates = {
  readonly isWorkingOffline: boolean;
  readonly pauses: readonly Pause[];
  readonly isAllPaused: boolean;
  readonly types: ReadonlySet<string>;
  readonly remotes: ReadonlySet<string>;
  readonly signedOut: ReadonlyMap<string, number>;
  readonly auth: readonly AuthGate[];
};

const pauseKinds = ["all", "lane", "type", "remote"] as const;

/** Reads every gate; there are few. */
export function readGates(store: Store): Gates {
  const { transaction } = store.memory;
  const gates = transaction?.gates ?? readAll(store);
  if (transaction !== null) transaction.gates = gates;
  return gates;
}

/** Whoever writes a gate calls this, so that the same transaction sees what it did. */
function forgetGates(store: Store): void {
  if (store.memory.transaction !== null) store.memory.transaction.gates = null;
}

function readAll(store: Store): Gates {
  const rows = store.db.prepare(all).all();
  const named = (kind: string): ReadonlySet<string> =>
    new Set(rows.filter((row) => row.kind === kind).map((row) => text(row.name)));
  const pauses = rows.flatMap((row): readonly Pause[] => {
    const kind = pauseKinds.find((each) => each === row.kind);
    return kind === undefined
      ? []
      : [{ kind, name: text(row.name), reason: text(row.reason), since: integer(row.since) }];
  });
  return {
    isWorkingOffline: rows.some((row) => row.kind === "offline"),
    pauses,
    isAllPaused: pauses.some((pause) => pause.kind === "all"),
    types: named("type"),
    remotes: named("remote"),
    signedOut: new Map(rows.filter((row) => row.kind === "subject").map((row) => [text(row.name), integer(row.since)])),
    auth: rows
      .filter((row) => row.kind === "auth")
      .map((row) => ({
        subject: text(row.name),
        remote: text(row.remote),
        reason: text(row.reason),
        code: text(row.code),
        since: integer(row.since),
        until: integerOrNull(row.until) ?? 0,
      })),
  };
}

export function isLanePaused(store: Store, lane: string): boolean {
  return store.db.prepare(hasGate).get("lane", lane) !== undefined;
}

export function isWorkingOffline(store: Store): boolean {
  return store.db.prepare(hasGate).get("offline", "") !== undefined;
}

type GateKind = "all" | "lane" | "type" | "remote" | "offline" | "subject";

/** Closes a gate; tells whether it was open. */
export function closeGate(store: Store, kind: GateKind, name: string, reason: string): boolean {
  const wasOpen = store.db.prepare(findGate).get(kind, name, "") === undefined;
  forgetGates(store);
  store.db.prepare(put).run(kind, name, "", reason, "", store.world.now(), null, 0);
  return wasOpen;
}

/** Opens a gate; tells whether it was closed. */
export function openGate(store: Store, kind: GateKind, name: string): boolean {
  forgetGates(store);
  return store.db.prepare(drop).run(kind, name, "").changes > 0;
}

/** A remote refused a subject's credentials: its operations for that remote wait, and nothing is charged. */
export function refuseCredentials(
  store: Store,
  { subject, remote }: Pick<AuthGate, "subject" | "remote">,
  { code, message }: Pick<Problem, "code" | "message">,
): boolean {
  const before = store.db.prepare(findGate).get("auth", subject, remote);
  const tries = integer(before?.tries);
  const delay = Math.min(authRetryMs.first * 2 ** tries, authRetryMs.most);
  const now = store.world.now();
  forgetGates(store);
  store.db.prepare(put).run("auth", subject, remote, message, code, now, now + delay, tries + 1);
  return before === undefined;
}

/** The remote has accepted the subject's credentials again. */
export function acceptCredentials(store: Store, subject: string, remote: string): boolean {
  forgetGates(store);
  return store.db.prepare(drop).run("auth", subject, remote).changes > 0;
}

/** Fresh credentials: every refusal of the subject is forgotten. */
export function freshCredentials(store: Store, subject: string): boolean {
  forgetGates(store);
  return store.db.prepare(dropAuth).run(subject).changes > 0;
}
