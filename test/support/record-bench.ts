// Owns an engine with records on virtual time: one process, and a small sync server in memory that takes every write.
// The engine's own server is `src/server/`; what both sides do under faults is test/simulation/.
import { createHash } from "node:crypto";
import type { Engine } from "../../src/engine/engine.ts";
import { openEngine } from "../../src/engine/engine.ts";
import { openDatabase } from "../../src/node/sqlite.ts";
import type { Fields } from "../../src/record.ts";
import { applyChange } from "../../src/record.ts";
import { seededRandom } from "../../src/testing/random.ts";
import { newScheduler } from "../../src/testing/scheduler.ts";
import { newVirtualMachine } from "../../src/testing/virtual-machine.ts";
import { bootProcess } from "../../src/testing/virtual-world.ts";
import type { HoldfastEvent, Input, Output, Verb } from "../../src/verbs.ts";
import type { PushRequest, WireRecord } from "../../src/wire.ts";
import type { Collection, Reply, SyncPort } from "../../src/world.ts";

export type RecordBench = {
  readonly engine: Engine;
  readonly events: HoldfastEvent[];
  readonly ask: <V extends Verb>(verb: V, input: Input<V>) => Output<V>;
  /** Creates or replaces a record here. */
  readonly put: (collection: string, key: string, value: Fields) => Output<"records.write">;
  readonly value: (collection: string, key: string) => Fields | null;
  /** Somebody else writes at the server; `null` removes. */
  readonly elsewhere: (collection: string, key: string, value: Fields | null) => void;
  /** What the server has of a record. */
  readonly there: (collection: string, key: string) => Fields | null | undefined;
  readonly run: (ms?: number) => Promise<void>;
  readonly now: () => number;
  readonly [Symbol.dispose]: () => void;
};

/** Starts an engine; without `isSynced` it has no server and everything stays pending. */
export function startRecords(
  collections: readonly Collection[],
  more: { readonly isSynced?: boolean } = {},
): RecordBench {
  const scheduler = newScheduler();
  const machine = newVirtualMachine({
    scheduler,
    random: seededRandom("records"),
    hash: (text) => createHash("sha256").update(text).digest("hex"),
    probe: async () => ({ isReachable: true, reason: "it answers" }),
  });
  const database = openDatabase(":memory:");
  const server = newServer(() => machine_now());
  const process = bootProcess(machine, "records");
  const machine_now = (): number => process.world.now();
  const engine = openEngine({
    database,
    world: process.world,
    collections,
    ...(more.isSynced === true ? { sync: server.port } : {}),
  });
  const events: HoldfastEvent[] = [];
  engine.subscribe((event) => events.push(event));
  engine.start();
  const ask: RecordBench["ask"] = (verb, input) => engine.handle(verb, input);
  return {
    engine,
    events,
    ask,
    put: (collection, key, value) => ask("records.write", { kind: "put", collection, key, value: value as never }),
    value: (collection, key) => (ask("records.get", { collection, key }).record?.value ?? null) as Fields | null,
    elsewhere: server.write,
    there: (collection, key) => server.records.get(`${collection}/${key}`)?.value as Fields | null | undefined,
    run: (ms = 1_000) => scheduler.runFor(ms),
    now: machine_now,
    [Symbol.dispose]: () => {
      process.kill();
      database.close();
    },
  };
}

function newServer(now: () => number) {
  const records = new Map<string, WireRecord>();
  const pokes = new Set<Parameters<SyncPort["watch"]>[1]>();
  const state = { head: 0 };
  const reply = async <T>(response: T): Promise<Reply<T>> => ({
    kind: "answered",
    response,
    sentBytes: 10,
    receivedBytes: 20,
  });
  const write = (collection: string, key: string, value: Fields | null): number => {
    state.head += 1;
    const record = {
      collection,
      key,
      version: state.head,
      value: value as WireRecord["value"],
      schema: 1,
      author: "ada",
      at: now(),
    };
    records.set(`${collection}/${key}`, record);
    for (const poke of pokes) poke({ space: "space", head: state.head } as Parameters<typeof poke>[0]);
    return state.head;
  };
  const apply = (item: PushRequest["items"][number]) => ({
    id: item.id,
    outcome: "applied" as const,
    changes: item.changes.map((change) => {
      const known = records.get(`${change.collection}/${change.key}`)?.value ?? null;
      const { unset, ...rest } = change;
      const next = applyChange(
        known as Fields | null,
        { ...rest, ...(unset === undefined ? {} : { unset }) } as Parameters<typeof applyChange>[1],
      );
      return { collection: change.collection, key: change.key, version: write(change.collection, change.key, next) };
    }),
  });
  const port: SyncPort = {
    remote: "https://sync.example",
    space: "space",
    subject: "",
    push: (request) => reply({ answers: request.items.map(apply), now: now() }),
    pull: (request) => {
      const wanted = [...records.values()].filter((record) =>
        request.wants.some(({ collection, after }) => collection === record.collection && record.version > after),
      );
      const page = wanted.sort((a, b) => a.version - b.version).slice(0, request.limit);
      const hasMore = page.length < wanted.length;
      const upTo = hasMore ? (page[page.length - 1]?.version ?? 0) : state.head;
      return reply({ history: "h", records: page, upTo, head: state.head, hasMore, now: now() });
    },
    fetch: (request) => {
      const found = request.keys.map((key) => records.get(`${request.collection}/${key}`));
      return reply({ history: "h", head: state.head, records: found.filter((each) => each !== undefined), now: now() });
    },
    watch: (_space, listener) => {
      pokes.add(listener);
      return () => pokes.delete(listener);
    },
  };
  return {
    records,
    port,
    write: (collection: string, key: string, value: Fields | null): void => void write(collection, key, value),
  };
}
