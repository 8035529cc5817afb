// Owns a real engine for one test: SQLite in a directory of its own, the world of Node, nothing probed, everything removed.
// Leaves what the engine does to src/engine/.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { Engine } from "../../src/engine/engine.ts";
import { openEngine } from "../../src/engine/engine.ts";
import { openDatabase } from "../../src/node/sqlite.ts";
import { nodeWorld } from "../../src/node/world.ts";
import { contractTypes } from "../../src/testing/transport-contract.ts";
import type { OperationType } from "../../src/world.ts";

export type TestEngine = Omit<Engine, "close"> & { readonly close: () => Promise<void> };

/** Opens and starts an engine that knows the contract's types and `types`. */
export function openTestEngine(types: readonly OperationType[] = []): TestEngine {
  const directory = mkdtempSync(path.join(tmpdir(), "hf-engine-"));
  const probe = async () => ({ isReachable: true, reason: "a test" });
  const world = nodeWorld({ directory, reserveBytes: 0, probe, log: () => {} });
  const database = openDatabase(path.join(directory, "holdfast.db"));
  const engine = openEngine({ database, world, types: [...contractTypes, ...types] });
  engine.start();
  let isClosed = false;
  const close = async (): Promise<void> => {
    if (isClosed) return;
    isClosed = true;
    await engine.stop(0);
    engine.close();
    world.close();
    rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
  };
  return { ...engine, close };
}
