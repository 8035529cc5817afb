// Owns opening the real engine on the real disk for a daemon under test.
// Leaves quarantine and built-in types to src/node/.
import { join } from "node:path";
import type { Engine } from "../../src/engine/engine.ts";
import { openEngine } from "../../src/engine/engine.ts";
import type { EngineRequest } from "../../src/node/daemon.ts";
import { openDatabase } from "../../src/node/sqlite.ts";
import { nodeWorld } from "../../src/node/world.ts";

/** Closing the engine closes its world as well. */
export function openRealEngine({ directory, types, settings, log }: EngineRequest): Engine {
  const database = openDatabase(join(directory, "holdfast.db"));
  const world = nodeWorld({ directory, log, reserveBytes: 0 });
  const engine = openEngine({ database, world, types, settings, version: "0.0.0" });
  const close = (): void => {
    engine.close();
    world.close();
  };
  return { ...engine, close };
}
