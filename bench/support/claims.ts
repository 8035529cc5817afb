// Owns claiming without sending: the real claim in the real transaction on a store of its own, and putting back what it took.
// Leaves the depths to depths.ts and the comparison to the bars.
import { join } from "node:path";
import { claimNext } from "../../src/engine/claim.ts";
import { newStore } from "../../src/engine/engine.ts";
import { takeOver } from "../../src/engine/recovery.ts";
import { transact } from "../../src/engine/store.ts";
import { openDatabase } from "../../src/node/sqlite.ts";
import { nodeWorld } from "../../src/node/world.ts";
import type { OperationType } from "../../src/world.ts";
import { roomy } from "./stores.ts";

export type Claims = { readonly claim: () => void; readonly putBack: () => void; readonly close: () => void };

const claimable: OperationType = { type: "note", run: () => new Promise(() => {}) };

export function openClaims(directory: string, size: number): Claims {
  const database = openDatabase(join(directory, "holdfast.db"));
  const world = nodeWorld({ directory, log: () => {} });
  const store = newStore({ database, world, types: [claimable], settings: roomy }, () => {});
  const begin = (): void => {
    store.memory.epoch = transact(store, () => takeOver(store));
  };
  begin();
  return {
    claim: () => {
      const claimed = transact(store, () => claimNext(store, { slots: size, bulkSlots: size, inFlight: () => 0 }));
      if (claimed.length !== size) throw new Error(`claimed ${claimed.length} operations instead of ${size}`);
    },
    // A new epoch brings back whatever was in flight, as after a crash.
    putBack: begin,
    close: () => {
      database.close();
      world.close();
    },
  };
}
