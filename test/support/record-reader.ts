// Owns one client of a record bench under short names, with somebody else who writes at the server.
// The client and its model server are record-bench.ts.
import type { Fields } from "../../src/record.ts";
import type { HoldfastEvent, Input, Output, Verb } from "../../src/verbs.ts";
import type { Collection } from "../../src/world.ts";
import { startRecords as startClients } from "./record-bench.ts";

export type Reader = {
  readonly events: readonly HoldfastEvent[];
  readonly ask: <V extends Verb>(verb: V, input: Input<V>) => Output<V>;
  /** Creates or replaces a record here. */
  readonly put: (collection: string, key: string, value: Fields) => Output<"records.write">;
  readonly value: (collection: string, key: string) => Fields | null;
  /** Somebody else writes at the server; `null` removes. */
  readonly elsewhere: (collection: string, key: string, value: Fields | null) => void;
  /** What the server has of a record; `undefined`: it never had it. */
  readonly there: (collection: string, key: string) => Fields | null | undefined;
  /** How often the server was asked for single records. */
  readonly fetches: () => number;
  readonly rows: (sql: string) => readonly Readonly<Record<string, unknown>>[];
  readonly run: (ms?: number) => Promise<void>;
  readonly [Symbol.dispose]: () => void;
};

/** Starts a client; without `isSynced` it has no server and everything stays pending. */
export function startReader(collections: readonly Collection[], more: { readonly isSynced?: boolean } = {}): Reader {
  const bench = startClients();
  const client = bench.client({ collections, isAlone: more.isSynced !== true });
  return {
    events: client.events,
    ask: client.ask,
    put: (collection, key, value) => client.put(key, value, collection),
    value: (collection, key) => client.value(key, collection) as Fields | null,
    elsewhere: (collection, key, value) => void bench.server.write(collection, key, value, "ada"),
    there: (collection, key) => bench.server.get(collection, key)?.value as Fields | null | undefined,
    fetches: () => bench.server.log.filter(({ what }) => what === "fetch").length,
    rows: client.rows,
    run: bench.run,
    [Symbol.dispose]: () => client.engine.close(),
  };
}
