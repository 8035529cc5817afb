// Owns small clients on virtual time for tests of records: each an engine with its own store, all before one model server.
// The server is model-server.ts; the world is src/testing/.
import { createHash } from "node:crypto";
import type { Database } from "../../src/database.ts";
import type { Engine } from "../../src/engine/engine.ts";
import { openEngine } from "../../src/engine/engine.ts";
import { openDatabase } from "../../src/node/sqlite.ts";
import type { Json } from "../../src/operation.ts";
import type { Fields, RecordView } from "../../src/record.ts";
import type { Settings } from "../../src/shapes.ts";
import { mortalDatabase } from "../../src/testing/mortal-database.ts";
import { seededRandom } from "../../src/testing/random.ts";
import type { Scheduler } from "../../src/testing/scheduler.ts";
import { newScheduler } from "../../src/testing/scheduler.ts";
import type { VirtualMachine } from "../../src/testing/virtual-machine.ts";
import { newVirtualMachine } from "../../src/testing/virtual-machine.ts";
import type { VirtualProcess } from "../../src/testing/virtual-world.ts";
import { bootProcess } from "../../src/testing/virtual-world.ts";
import type { HoldfastEvent, Input, Output, Verb } from "../../src/verbs.ts";
import type { PullResponse, PushResponse } from "../../src/wire.ts";
import type { Collection, OperationType, Reply, SyncPort } from "../../src/world.ts";
import type { Wakes } from "../simulation/wakes.ts";
import { newWakes } from "../simulation/wakes.ts";
import type { ModelServer } from "./model-server.ts";
import { newModelServer } from "./model-server.ts";

export type RecordClient = {
  readonly engine: Engine;
  readonly machine: VirtualMachine;
  readonly events: HoldfastEvent[];
  readonly ask: <V extends Verb>(verb: V, input: Input<V>) => Output<V>;
  readonly put: (key: string, value: Fields, collection?: string) => Output<"records.write">;
  readonly update: (key: string, fields: Fields, collection?: string) => Output<"records.write">;
  readonly remove: (key: string, collection?: string) => Output<"records.write">;
  readonly get: (key: string, collection?: string) => RecordView | null;
  readonly value: (key: string, collection?: string) => Json;
  readonly state: (key: string, collection?: string) => string | undefined;
  readonly conflicts: (status?: "open" | "resolved" | "undone") => Output<"conflicts.list">["conflicts"];
  readonly offline: () => void;
  readonly online: () => void;
  /** Ends the process as kill -9 does and starts another one on the same store. */
  readonly crash: (changes?: Partial<ClientOptions>) => void;
  readonly wakes: Wakes;
  /** Rows of a table of the store, for what no verb shows. */
  readonly rows: (sql: string) => readonly Readonly<Record<string, unknown>>[];
};

export type ClientOptions = {
  readonly name: string;
  readonly collections: readonly Collection[];
  readonly settings: Partial<Settings>;
  readonly types: readonly OperationType[];
  readonly subject: string;
  /** Without a way to the server nothing is sent. */
  readonly isAlone: boolean;
  readonly isStopped: boolean;
  readonly wrap: (port: SyncPort) => SyncPort;
  /** A store that is there already; a fresh one in memory without it. */
  readonly database: Database;
  readonly recovery: Json;
};

export type RecordBench = {
  readonly scheduler: Scheduler;
  readonly server: ModelServer;
  readonly client: (options?: Partial<ClientOptions>) => RecordClient;
  readonly run: (ms?: number) => Promise<void>;
  readonly pushes: () => number;
};

export const notes: Collection = { name: "notes" };

/** A way to the server on which a test may keep things back; it is given to a client as `wrap`. */
export type Line = {
  readonly wrap: ClientOptions["wrap"];
  /** Pages are asked for in vain, without an answer. */
  isDeaf: boolean;
  /** Answers of this kind have been given and do not arrive. */
  holds: "push" | "pull" | null;
  /** Lets go what is held, and holds nothing more. */
  readonly release: () => void;
};

export function newLine(): Line {
  const held: (() => void)[] = [];
  const arrive = async <T>(what: "push" | "pull", reply: Promise<T>): Promise<T> => {
    const answer = await reply;
    if (line.holds === what) await new Promise<void>((resolve) => held.push(resolve));
    return answer;
  };
  const line: Line = {
    isDeaf: false,
    holds: null,
    release: () => {
      line.holds = null;
      for (const letGo of held.splice(0)) letGo();
    },
    wrap: (port) => ({
      ...port,
      push: (request, signal) => arrive("push", port.push(request, signal)),
      pull: (request, signal) => (line.isDeaf ? new Promise(() => {}) : arrive("pull", port.pull(request, signal))),
    }),
  };
  return line;
}

/** A server that answers otherwise than ours does. */
export function rewriting(
  port: SyncPort,
  { push = (response) => response, pull = (response) => response }: Partial<Rewrites>,
): SyncPort {
  return {
    ...port,
    push: async (request, signal) => rewritten(await port.push(request, signal), push),
    pull: async (request, signal) => rewritten(await port.pull(request, signal), pull),
  };
}

type Rewrites = {
  readonly push: (response: PushResponse) => PushResponse;
  readonly pull: (response: PullResponse) => PullResponse;
};

const rewritten = <T>(reply: Reply<T>, rewrite: (response: T) => T): Reply<T> =>
  reply.kind === "failed" ? reply : { ...reply, response: rewrite(reply.response) };

export function startRecords(): RecordBench {
  const scheduler = newScheduler();
  const wall = 1_760_000_000_000;
  const server = newModelServer({
    now: () => wall + scheduler.elapsed(),
    wait: (ms) => new Promise((resolve) => void scheduler.after(ms, resolve)),
  });
  let count = 0;
  return {
    scheduler,
    server,
    client: (options = {}) => {
      count += 1;
      return startClient({ scheduler, server }, { name: `client ${count}`, ...options });
    },
    run: (ms = 1_000) => scheduler.runFor(ms),
    pushes: () => server.log.filter(({ what }) => what === "push").length,
  };
}

function startClient(
  { scheduler, server }: { readonly scheduler: Scheduler; readonly server: ModelServer },
  given: Partial<ClientOptions> & { readonly name: string },
): RecordClient {
  const wakes = newWakes(scheduler);
  const machine = newVirtualMachine({
    scheduler,
    onWake: wakes.note,
    random: seededRandom(given.name),
    hash: (text) => createHash("sha256").update(text).digest("hex"),
    probe: async () => ({ isReachable: true, reason: "it answers" }),
  });
  const database = given.database ?? openDatabase(":memory:", { largeIntegers: "rounded" });
  const events: HoldfastEvent[] = [];
  let options = given;
  let boots = 0;
  const boot = (): { readonly process: VirtualProcess; readonly engine: Engine } => {
    boots += 1;
    const process = bootProcess(machine, `${given.name} ${boots}`);
    const port = server.port({ author: given.name, subject: options.subject ?? "" });
    const engine = openEngine({
      database: mortalDatabase(database, machine, process),
      world: process.world,
      collections: options.collections ?? [notes],
      ...(options.isAlone === true ? {} : { sync: (options.wrap ?? ((each) => each))(port) }),
      ...(options.settings === undefined ? {} : { settings: options.settings }),
      ...(options.recovery === undefined ? {} : { recovery: options.recovery }),
      ...(options.types === undefined ? {} : { types: options.types }),
    });
    engine.subscribe((event) => events.push(event));
    if (options.isStopped !== true) engine.start();
    return { process, engine };
  };
  let living = boot();
  const ask: RecordClient["ask"] = (verb, input) => living.engine.handle(verb, input);
  const get = (key: string, collection = "notes") =>
    ask("records.get", { collection, key }).record as RecordView | null;
  return {
    get engine() {
      return living.engine;
    },
    machine,
    events,
    ask,
    put: (key, value, collection = "notes") => ask("records.write", { kind: "put", collection, key, value }),
    update: (key, fields, collection = "notes") => ask("records.write", { kind: "update", collection, key, fields }),
    remove: (key, collection = "notes") => ask("records.write", { kind: "remove", collection, key }),
    get,
    value: (key, collection) => (get(key, collection)?.value ?? null) as Json,
    state: (key, collection) => get(key, collection)?.state,
    conflicts: (status) => ask("conflicts.list", status === undefined ? {} : { status }).conflicts,
    offline: () => void ask("network.offline", {}),
    online: () => void ask("network.online", {}),
    crash: (changes = {}) => {
      living.process.kill();
      options = { ...options, ...changes };
      living = boot();
    },
    wakes,
    rows: (sql) => database.prepare(sql).all(),
  };
}

/** What the record of `apart` is before anybody changes it. */
export const base = { title: "base", n: 1, tags: ["a"] };

/** A client that has the record `n1` of "notes" and works offline; what the server gets meanwhile meets it when it comes back. */
export async function apart(
  collection: Partial<Collection> = {},
): Promise<RecordBench & { readonly ada: RecordClient }> {
  const bench = startRecords();
  const ada = bench.client({ collections: [{ name: "notes", ...collection }] });
  bench.server.write("notes", "n1", base);
  await bench.run();
  ada.offline();
  return { ...bench, ada };
}
