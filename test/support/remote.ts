// Owns a small remote with receipts for stories: it keeps what took effect, and does to the next requests what the story says.
// Random remotes are test/simulation/model-server.ts.
import type { Answer, Json } from "../../src/operation.ts";
import type { Attempt, OperationType } from "../../src/world.ts";

/** What happens to one request, in words of the wire. */
export type Incident =
  | "no route"
  | "lost before"
  | "lost after"
  | "portal"
  | "hangs"
  | { readonly status: 400 | 401 | 403 | 404 | 409 | 422 | 429 | 500 | 503; readonly afterMs?: number };

export type Remote = {
  /** What took effect, in order. */
  readonly effects: { readonly key: string; readonly body: Json; readonly subject: string }[];
  /** Every request that left, in order. */
  readonly requests: { readonly id: string; readonly key: string; readonly body: Json; readonly at: number }[];
  /** What happens to the next requests; after these all goes well. */
  readonly next: (...incidents: readonly Incident[]) => void;
  /** What happens to every request of an operation whose payload has this name. */
  readonly always: (name: string, incident: Incident | null) => void;
  /** What happens to every request. */
  readonly everything: (incident: Incident | null) => void;
  readonly tokens: Set<string>;
  readonly type: OperationType;
};

const problem = (code: string, message: string, status?: number) =>
  status === undefined ? { code, message } : { code, message, status };

/** A remote named "remote" and the type "write" that sends to it. */
export function newRemote(now: () => number, more: Partial<OperationType> = {}): Remote {
  const receipts = new Map<string, Answer>();
  const queue: Incident[] = [];
  const always = new Map<string, Incident>();
  const tokens = new Set<string>();
  let everything: Incident | null = null;
  const remote: Remote = {
    effects: [],
    requests: [],
    next: (...incidents) => void queue.push(...incidents),
    always: (name, incident) => void (incident === null ? always.delete(name) : always.set(name, incident)),
    everything: (incident) => {
      everything = incident;
    },
    tokens,
    type: {
      type: "write",
      remoteOf: () => "remote",
      retry: { maxAttempts: 5, initialMs: 1_000, maxMs: 8_000, jitter: 0 },
      run: (attempt) => answer(attempt),
      ...more,
    },
  };
  const take = ({ operation, idempotencyKey, input }: Attempt): Answer => {
    const known = receipts.get(idempotencyKey);
    if (known !== undefined) return known.kind === "applied" ? { ...known, kind: "duplicate" } : known;
    remote.effects.push({ key: idempotencyKey, body: input, subject: operation.subject });
    const reply: Answer = { kind: "applied", serverId: `server-${remote.effects.length}`, result: { ok: true } };
    receipts.set(idempotencyKey, reply);
    return reply;
  };
  const answer = async (attempt: Attempt): Promise<Answer> => {
    const { operation, idempotencyKey, input } = attempt;
    remote.requests.push({ id: operation.id, key: idempotencyKey, body: input, at: now() });
    const name = (input as { readonly name?: string } | null)?.name ?? "";
    const incident = always.get(name) ?? everything ?? queue.shift();
    if (incident === undefined) return take(attempt);
    if (incident === "hangs") return await new Promise<Answer>(() => {});
    if (incident === "lost after") take(attempt);
    const told = judge(incident);
    if (told.kind === "rejected" || told.kind === "conflict") receipts.set(idempotencyKey, told);
    return told;
  };
  return remote;
}

/** The table of answers, see docs/failures.md. */
function judge(incident: Exclude<Incident, "hangs">): Answer {
  if (incident === "no route")
    return { kind: "unknown", problem: problem("no_route", "no route"), mayHaveLanded: false };
  if (incident === "portal")
    return { kind: "unknown", problem: problem("portal", "a login page"), mayHaveLanded: false };
  if (typeof incident === "string")
    return { kind: "unknown", problem: problem("reset", "no answer"), mayHaveLanded: true };
  const { status, afterMs } = incident;
  const said = problem(`http_${status}`, `the remote answered ${status}`, status);
  switch (status) {
    case 401:
      return { kind: "auth", problem: said };
    case 409:
      return { kind: "conflict", problem: said, remote: { version: 2 } };
    case 500:
      return { kind: "retry", problem: said, isCharged: true, scope: "operation" };
    case 429:
    case 503:
      return { kind: "retry", problem: said, isCharged: false, scope: "remote", afterMs: afterMs ?? 1_000 };
    default:
      return { kind: "rejected", problem: said };
  }
}
