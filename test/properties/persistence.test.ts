// Owns the property that what a queue says is the same before and after a restart from its file, after any commands.
// kill -9 of real processes is test/crash; power cuts are tested on recorded writes.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import fc from "fast-check";
import { afterAll, expect, test } from "vitest";
import type { Engine } from "../../src/engine/engine.ts";
import { openEngine } from "../../src/engine/engine.ts";
import { HoldfastError } from "../../src/errors.ts";
import { openDatabase } from "../../src/node/sqlite.ts";
import { seededRandom } from "../../src/testing/random.ts";
import { newScheduler } from "../../src/testing/scheduler.ts";
import { newVirtualMachine } from "../../src/testing/virtual-machine.ts";
import { bootProcess } from "../../src/testing/virtual-world.ts";
import { sha256 } from "../support/virtual.ts";

const folder = mkdtempSync(path.join(tmpdir(), "holdfast-persistence-"));
afterAll(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));

/** One command on the operation of that place, if there is one. */
type Step = { readonly what: (typeof kinds)[number]; readonly place: number; readonly value: number };
const kinds = [
  "add",
  "add",
  "add",
  "edit",
  "move",
  "cancel",
  "remove",
  "pause",
  "resume",
  "offline",
  "signOut",
  "settings",
] as const;
const steps: fc.Arbitrary<readonly Step[]> = fc.array(
  fc.record({ what: fc.constantFrom(...kinds), place: fc.nat(9), value: fc.nat(5) }),
  { minLength: 1, maxLength: 25 },
);

function apply(engine: Engine, ids: string[], { what, place, value }: Step): void {
  const id = ids[place % Math.max(1, ids.length)] ?? "none-at-all";
  const lane = value > 2 ? "lane" : null;
  switch (what) {
    case "add": {
      const after = ids.length > 0 && value === 1 ? { after: [id] } : {};
      const more = { priority: value, isDraft: value === 4, ...(value === 5 ? { notBefore: 99_999_999_999_999 } : {}) };
      ids.push(engine.handle("queue.add", { type: "unknown", payload: { value }, lane, ...after, ...more }).id);
      return;
    }
    case "edit":
      return void engine.handle("queue.edit", { id, payload: { edited: value }, priority: value });
    case "move":
      return void engine.handle("queue.move", { id, lane: "lane", to: value > 2 ? "first" : "last" });
    case "cancel":
      return void engine.handle("queue.cancel", { ids: [id], dependents: value > 2 ? "cancel" : "hold" });
    case "remove":
      return void engine.handle("queue.remove", { ids: [id], confirm: true });
    case "pause":
      return void engine.handle("queue.pause", { scope: { kind: "lane", name: "lane" }, reason: "because" });
    case "resume":
      return void engine.handle("queue.resume", { scope: { kind: "lane", name: "lane" } });
    case "offline":
      return void engine.handle("network.offline", {});
    case "signOut":
      return void engine.handle("subject.signOut", { subject: "ann" });
    case "settings":
      return void engine.handle("settings.set", { concurrency: value + 1 });
  }
}

/** Everything that the queue says of itself, but for what names the process. */
function everything(engine: Engine): unknown {
  const { operations } = engine.handle("queue.list", { order: "run", limit: 1_000 });
  const { events } = engine.handle("events.list", { limit: 1_000 });
  const why = operations.map(({ id }) => engine.handle("queue.why", { id }));
  const status = engine.handle("queue.status", {});
  return { operations, events, why, status, settings: engine.handle("settings.get", {}) };
}

test("after any commands a restart changes nothing that the queue says", async () => {
  let file = 0;
  await fc.assert(
    fc.asyncProperty(steps, async (commands) => {
      file += 1;
      const name = path.join(folder, `${file}.db`);
      const machine = newVirtualMachine({
        scheduler: newScheduler(),
        random: seededRandom("persistence"),
        hash: sha256,
      });
      const open = (process: string): Engine =>
        openEngine({ database: openDatabase(name), world: bootProcess(machine, process).world });
      const first = open("first");
      const ids: string[] = [];
      for (const command of commands) {
        try {
          apply(first, ids, command);
        } catch (error) {
          if (!(error instanceof HoldfastError) || error.code === "internal") throw error;
        }
      }
      const before = everything(first);
      first.close();
      const second = open("second");
      expect(everything(second)).toEqual(before);
      expect(second.handle("engine.check", {})).toMatchObject({ isSound: true, findings: [] });
      second.close();
    }),
    { numRuns: 100 },
  );
});
