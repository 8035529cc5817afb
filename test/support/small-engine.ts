// Owns an engine in memory with just what transports need to be tried: verbs on one map, a feed, two operation types.
// Leaves everything an engine is really for to src/engine/.
import type { EngineLike } from "../../src/client/transport.ts";
import { HoldfastError } from "../../src/errors.ts";
import type { Operation } from "../../src/operation.ts";
import { isTerminal } from "../../src/operation.ts";
import { retryPresets } from "../../src/retry.ts";
import type { AddInput, HoldfastEvent, Input, Output, Receipt, Verb } from "../../src/verbs.ts";
import { isVerb, parseInput } from "../../src/verbs.ts";

export function openSmallEngine(): EngineLike & { readonly close: () => void } {
  const operations = new Map<string, Operation>();
  const events: HoldfastEvent[] = [];
  const listeners = new Set<(event: HoldfastEvent) => void>();
  const timers = new Set<NodeJS.Timeout>();
  let sequence = 0;
  let retainCount = 100;

  const tell = (kind: HoldfastEvent["kind"], operation: Operation | null): void => {
    const { id = null, status = null, outcome = null, result = null } = operation ?? {};
    const at = kind === "enqueued" && operation !== null ? operation.sequence : ++sequence;
    const event = { sequence: at, at: Date.now(), kind, id, status, detail: { outcome, result } } as HoldfastEvent;
    events.push(event);
    queueMicrotask(() => {
      for (const listener of listeners) listener(event);
    });
  };
  const end = (id: string, change: Partial<Operation>): void => {
    const before = operations.get(id);
    if (before === undefined || isTerminal(before.status)) return;
    const after = { ...before, ...change, settledAt: Date.now() };
    operations.set(id, after);
    tell(change.status === "failed" ? "parked" : change.status === "cancelled" ? "cancelled" : "settled", after);
    if (isTerminal(after.status) && retainCount === 0) operations.delete(id);
  };
  const add = (input: AddInput): Receipt => {
    const id = input.id ?? crypto.randomUUID();
    const isNew = !operations.has(id);
    if (isNew) {
      const operation = fresh(input, id, ++sequence);
      operations.set(id, operation);
      tell("enqueued", operation);
      const waitMs = Math.max(0, (input.notBefore ?? 0) - Date.now());
      const refusal = { code: "contract_refusal", message: "the contract says no" };
      const change: Partial<Operation> =
        input.type === "contract.reject"
          ? { status: "failed", problem: refusal }
          : { status: "completed", outcome: "applied", result: operation.payload };
      if (waitMs < 60_000) timers.add(setTimeout(() => end(id, change), waitMs));
    }
    const { sequence: at, status, reason } = operations.get(id) as Operation;
    return { id, sequence: at, status, reason, isNew, warning: null };
  };
  const get = (id: string): Operation => {
    const found = operations.get(id);
    if (found === undefined) throw new HoldfastError("not_found", `no operation ${id}`, "list them");
    return found;
  };
  const answers: { readonly [V in Verb]?: (input: never) => unknown } = {
    "queue.add": add,
    "queue.addMany": ({ operations: many }: Input<"queue.addMany">) => ({ receipts: many.map(add) }),
    "queue.get": ({ id }: Input<"queue.get">) => get(id),
    "queue.list": () => ({ operations: [...operations.values()], next: null }),
    "queue.cancel": ({ ids }: Input<"queue.cancel">) => {
      for (const id of ids) end(get(id).id, { status: "cancelled", outcome: "cancelled" });
      return { done: ids, refused: [] };
    },
    "network.offline": () => {
      tell("network", null);
      return { isWorkingOffline: true };
    },
    "settings.set": (input: Input<"settings.set">) => {
      retainCount = input.retainCount ?? retainCount;
      return input;
    },
    "events.list": ({ after = 0, limit = 100 }: Input<"events.list">) => ({
      events: events.filter((event) => event.sequence > after).slice(0, limit),
      last: sequence,
      isTruncated: false,
    }),
  };
  const handle = <V extends Verb>(verb: V, input: Input<V>): Output<V> => {
    const answer = isVerb(verb) ? answers[verb] : undefined;
    if (answer === undefined) throw new HoldfastError("unknown_verb", `no verb ${verb}`, "use another");
    return structuredClone(answer(parseInput(verb, input) as never)) as Output<V>;
  };
  return {
    handle,
    submit: async (verb, input) => handle(verb, input),
    subscribe: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    close: () => {
      for (const timer of timers) clearTimeout(timer);
    },
  };
}

function fresh(input: AddInput, id: string, sequence: number): Operation {
  const now = Date.now();
  const nothing = {
    reason: null,
    lane: null,
    serverId: null,
    creates: null,
    group: null,
    dedupe: null,
    expiresAt: null,
    conflict: null,
    nextAttemptAt: null,
    settledAt: null,
    outcome: null,
    problem: null,
    progress: null,
    checkpoint: null,
    result: null,
    remoteVersion: null,
  } as const;
  return {
    ...nothing,
    id,
    sequence,
    type: input.type,
    version: 1,
    status: "pending",
    payload: input.payload,
    title: input.type,
    priority: 0,
    subject: "",
    remote: "",
    dependsOn: [],
    notBefore: input.notBefore ?? null,
    retry: retryPresets.default,
    onFailure: "hold",
    onCrash: "resend",
    attempts: 0,
    failures: 0,
    mayHaveLanded: false,
    revision: 0,
    idempotencyKey: id,
    createdAt: now,
    since: now,
  };
}
