/**
 * Owns what every transport promises, as cases that run over any of them in any test runner: same calls, same errors, same events.
 * What it promises about records is `record-contract.ts`, what the cases share `contract.ts`; what the verbs mean is tested with the engine.
 */
import { connect } from "../client/client.ts";
import { assert, isCode } from "../errors.ts";
import { maxDepth } from "../json.ts";
import type { Json } from "../operation.ts";
import type { HoldfastEvent } from "../verbs.ts";
import type { OperationType } from "../world.ts";
import type { Case, TransportWorld } from "./contract.ts";
import { codeOf, equal, errorOf, patienceMs, pause, until } from "./contract.ts";
import { recordCases } from "./record-contract.ts";

/** The types that the engine under the transport must know and run. */
export const contractTypes: readonly OperationType[] = [
  { type: "contract.apply", run: async ({ input }) => ({ kind: "applied", result: input }) },
  {
    type: "contract.reject",
    run: async () => ({ kind: "rejected", problem: { code: "contract_refusal", message: "the contract says no" } }),
  },
];

export type ContractCase = { readonly name: string; readonly run: () => Promise<void> };

/** An instant that never comes while a test runs. */
const farAway = 32_503_680_000_000;

/**
 * The cases of the contract; each makes its own world and closes it.
 * @example
 * for (const { name, run } of transportContract({ makeWorld })) test(name, run);
 */
export function transportContract({
  makeWorld,
}: {
  readonly makeWorld: () => TransportWorld | Promise<TransportWorld>;
}): readonly ContractCase[] {
  return Object.entries({ ...cases, ...recordCases }).map(([name, body]) => ({
    name,
    run: async () => {
      const world = await makeWorld();
      try {
        const client = connect({ transport: await world.open() });
        await body(client, world).finally(client.close);
      } finally {
        await world.close();
      }
    },
  }));
}

/** A list in a list in a list, made without a stack of its own. */
function deep(depth: number): Json {
  let value: Json = 1;
  for (let level = 0; level < depth; level += 1) value = [value];
  return value;
}

const cases: Readonly<Record<string, Case>> = {
  "an enqueue answers when it is durable, with a handle that tells the end": async (client) => {
    const operation = await client.queue.add({
      type: "contract.apply",
      payload: { text: "é\u0000\u{1f41a}", list: [1, null, true] },
    });
    equal(operation.isNew, true);
    const settled = await operation.settled({ timeoutMs: patienceMs });
    equal([settled.id, settled.status, settled.outcome], [operation.id, "completed", "applied"]);
    equal(settled.result, { text: "é\u0000\u{1f41a}", list: [1, null, true] });
  },

  "the end is told also when it came before anybody asked": async (client) => {
    const operation = await client.queue.add({ type: "contract.apply", payload: 1 });
    await until(async () => (await client.queue.get({ id: operation.id })).status === "completed");
    equal((await operation.settled({ timeoutMs: patienceMs })).status, "completed");
  },

  "a parked operation settles as failed, with its reason": async (client) => {
    const operation = await client.queue.add({ type: "contract.reject", payload: {} });
    const settled = await operation.settled({ timeoutMs: patienceMs });
    equal([settled.status, settled.problem?.code], ["failed", "contract_refusal"]);
  },

  "the end is told when retention prunes the operation meanwhile": async (client) => {
    await client.settings.set({ retainCount: 0 });
    const operation = await client.queue.add({ type: "contract.apply", payload: 1, notBefore: Date.now() + 300 });
    const settled = await operation.settled({ timeoutMs: patienceMs });
    equal([settled.id, settled.status], [operation.id, "completed"]);
  },

  "a cancelled operation settles as cancelled": async (client) => {
    const operation = await client.queue.add({ type: "contract.apply", payload: 1, notBefore: farAway });
    const waiting = operation.settled({ timeoutMs: patienceMs });
    equal((await client.queue.cancel({ ids: [operation.id] })).done, [operation.id]);
    equal((await waiting).status, "cancelled");
  },

  "waiting ends with its time limit or its signal, and the operation stays": async (client) => {
    const operation = await client.queue.add({ type: "contract.apply", payload: 1, notBefore: farAway });
    equal(await codeOf(operation.settled({ timeoutMs: 30 })), "timed_out");
    const abort = new AbortController();
    const waiting = codeOf(operation.settled({ signal: abort.signal }));
    abort.abort();
    equal(await waiting, "aborted");
    equal((await client.queue.get({ id: operation.id })).status, "pending");
  },

  "a call whose signal has aborted does nothing": async (client) => {
    const before = (await client.queue.list({})).operations.length;
    const add = client.queue.add({ type: "contract.apply", payload: 1 }, { signal: AbortSignal.abort() });
    equal(await codeOf(add), "aborted");
    equal((await client.queue.list({})).operations.length, before);
  },

  "the same id queues one operation, however often it is sent": async (client) => {
    const input = { type: "contract.apply", payload: 1, id: "0190a6f0-1111-7000-8000-00000000abcd" };
    const first = await client.queue.add(input);
    const second = await client.queue.add(input);
    equal([first.id, first.isNew, second.id, second.isNew], [input.id, true, input.id, false]);
  },

  "several are queued all or none, each with its handle": async (client) => {
    const operations = [1, 2, 3].map((payload) => ({ type: "contract.apply", payload }));
    const { receipts } = await client.queue.addMany({ operations });
    const ends = await Promise.all(receipts.map((each) => each.settled({ timeoutMs: patienceMs })));
    equal(
      ends.map(({ result }) => result),
      [1, 2, 3],
    );
    const refused = client.queue.addMany({
      operations: [
        { type: "contract.apply", payload: 4 },
        { type: "", payload: 5 },
      ],
    });
    equal(await codeOf(refused), "invalid_input");
    equal((await client.queue.list({})).operations.length, 3);
  },

  "errors arrive with code, message, hint and details": async (client) => {
    const missing = await errorOf(client.queue.get({ id: "ffffffff-ffff-7fff-8fff-ffffffffffff" }));
    assert(isCode(missing, "not_found"), `expected not_found, got ${String(missing)}`);
    assert(missing.message.includes("ffffffff") && missing.hint.length > 0, "an error without its id or hint");
    const wrong = await errorOf(client.queue.list({ limit: 0 }));
    assert(isCode(wrong, "invalid_input"), `expected invalid_input, got ${String(wrong)}`);
    assert(Array.isArray(wrong.details?.issues), "invalid_input without its issues");
  },

  "a payload may nest as deep as everywhere else, alone and among others, and not one level deeper": async (client) => {
    const add = (depth: number) => ({ type: "contract.apply", payload: deep(depth) });
    const operation = await client.queue.add(add(maxDepth));
    const { receipts } = await client.queue.addMany({ operations: [add(maxDepth), add(maxDepth)] });
    for (const { id, settled } of [operation, ...receipts]) {
      equal((await settled({ timeoutMs: patienceMs })).result, deep(maxDepth));
      equal((await client.queue.get({ id })).payload, deep(maxDepth));
    }
    for (const depth of [maxDepth + 1, maxDepth + 50, 50_000]) {
      const refused = await errorOf(client.queue.add(add(depth)));
      assert(isCode(refused, "invalid_input"), `expected invalid_input, got ${String(refused)}`);
      assert(refused.message.includes(`deeper than ${maxDepth}`), `no limit in "${refused.message.slice(0, 200)}"`);
    }
    equal(await codeOf(client.queue.addMany({ operations: [add(1), add(maxDepth + 1)] })), "invalid_input");
    equal((await client.queue.list({})).operations.length, 3);
  },

  "what JSON cannot carry is refused and not bent": async (client) => {
    for (const payload of [Number.NaN, 1n, new Date(0), { deep: [() => {}] }, [undefined]]) {
      equal(await codeOf(client.queue.add({ type: "contract.apply", payload: payload as never })), "invalid_input");
    }
    const blank = await client.queue.add({
      type: "contract.apply",
      payload: { a: undefined, b: 1 } as never,
    });
    equal((await client.queue.get({ id: blank.id })).payload, { b: 1 });
  },

  "a listener hears each event once and in order, beginning with what is called next": async (client) => {
    const heard: HoldfastEvent[] = [];
    const stop = client.subscribe((event) => heard.push(event));
    const { receipts } = await client.queue.addMany({
      operations: [1, 2, 3].map((payload) => ({ type: "contract.apply", payload })),
    });
    await until(async () => heard.filter(({ kind }) => kind === "settled").length === 3);
    stop();
    expectOrder(heard);
    equal(
      heard.filter(({ kind }) => kind === "enqueued").map(({ id }) => id),
      receipts.map(({ id }) => id),
    );
    const count = heard.length;
    await client.network.offline();
    await pause(50);
    equal(heard.length, count);
  },

  "a listener that begins after a sequence hears the past first": async (client) => {
    const first = await client.queue.add({ type: "contract.apply", payload: 1, notBefore: farAway });
    const second = await client.queue.add({ type: "contract.apply", payload: 2, notBefore: farAway });
    const heard: HoldfastEvent[] = [];
    client.subscribe((event) => heard.push(event), { after: first.sequence });
    const third = await client.queue.add({ type: "contract.apply", payload: 3, notBefore: farAway });
    await until(async () => heard.some(({ id }) => id === third.id));
    expectOrder(heard);
    equal(
      heard.filter(({ kind }) => kind === "enqueued").map(({ id }) => id),
      [second.id, third.id],
    );
  },

  "a place beyond the end of the feed is a gap, and one that no feed has is refused once": async (client) => {
    const heard: HoldfastEvent[] = [];
    let gaps = 0;
    const onGap = (): void => {
      gaps += 1;
    };
    for (const after of [-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, "3" as never]) {
      const refused = await errorOf((async () => client.subscribe((event) => heard.push(event), { after, onGap }))());
      assert(isCode(refused, "invalid_input"), `expected invalid_input for ${after}, got ${String(refused)}`);
      assert(refused.message.includes("after") && refused.hint.length > 0, "an error without its place or hint");
    }
    const stop = client.subscribe((event) => heard.push(event), { after: Number.MAX_SAFE_INTEGER, onGap });
    await until(async () => gaps === 1);
    const { id } = await client.queue.add({ type: "contract.apply", payload: 1, notBefore: farAway });
    await until(async () => heard.some((event) => event.id === id));
    equal([gaps, heard.filter(({ kind }) => kind === "enqueued").length], [1, 1]);
    stop();
  },

  "one listener that throws silences nobody": async (_, world) => {
    const errors: unknown[] = [];
    const client = connect({ transport: await world.open(), onError: (error) => errors.push(error) });
    const heard: HoldfastEvent[] = [];
    client.subscribe(() => {
      throw new Error("a listener's own mistake");
    });
    client.subscribe((event) => heard.push(event));
    await client.queue.add({ type: "contract.apply", payload: 1, notBefore: farAway });
    await until(async () => heard.length > 0 && errors.length > 0);
    await client.close();
  },

  "nothing is lost or repeated when connections break": async (client, world) => {
    const heard: HoldfastEvent[] = [];
    client.subscribe((event) => heard.push(event));
    const late = await client.queue.add({ type: "contract.apply", payload: 0, notBefore: farAway });
    const settled = late.settled({ timeoutMs: patienceMs });
    for (let payload = 1; payload <= 5; payload += 1) {
      await client.queue.add({ type: "contract.apply", payload });
      await world.cut?.();
      // What happens while the client is cut off must still reach it.
      await world.engine.submit("queue.add", { type: "contract.apply", payload: -payload });
    }
    await world.engine.submit("queue.cancel", { ids: [late.id] });
    equal((await settled).status, "cancelled");
    await until(async () => heard.filter(({ kind }) => kind === "settled").length >= 10);
    expectOrder(heard);
    equal(new Set(heard.filter(({ kind }) => kind === "enqueued").map(({ id }) => id)).size, 11);
  },

  "a closed client refuses calls and ends its waits": async (_, world) => {
    const client = connect({ transport: await world.open() });
    const operation = await client.queue.add({ type: "contract.apply", payload: 1, notBefore: farAway });
    const waiting = codeOf(operation.settled());
    await client.close();
    equal(await waiting, "engine_closed");
    equal(await codeOf(client.queue.status()), "engine_closed");
    equal(world.engine.handle("queue.get", { id: operation.id }).status, "pending");
  },

  "many calls at once each get their own answer": async (client) => {
    const payloads = Array.from({ length: 60 }, (_, index) => index);
    const added = await Promise.all(
      payloads.map((payload) => client.queue.add({ type: "contract.apply", payload, notBefore: farAway })),
    );
    const read = await Promise.all(added.map(({ id }) => client.queue.get({ id })));
    equal(
      read.map(({ payload }) => payload),
      payloads,
    );
  },
};

/** Sequences grow strictly; what is only told live has none. */
function expectOrder(events: readonly HoldfastEvent[]): void {
  const sequences = events.map(({ sequence }) => sequence).filter((sequence) => sequence !== 0);
  equal(
    sequences,
    [...new Set(sequences)].sort((a, b) => a - b),
  );
}
