/**
 * Owns the proof of what a dead virtual process may still do: nothing, also where another one was started under its name.
 * What engines make of such deaths is tested in test/simulation/.
 */
import { expect, it } from "vitest";
import { seededRandom } from "./random.ts";
import { newScheduler } from "./scheduler.ts";
import { newVirtualMachine } from "./virtual-machine.ts";
import { bootProcess, isDeath } from "./virtual-world.ts";

it("a process that is dead takes nothing from the one that was started anew under its name", () => {
  const machine = newVirtualMachine({ scheduler: newScheduler(), random: seededRandom("names"), hash: (text) => text });
  const first = bootProcess(machine, "daemon");
  expect(first.world.drainer.tryLock()).toBe(true);
  first.kill();
  const second = bootProcess(machine, "daemon");
  expect(second.world.drainer.tryLock()).toBe(true);
  second.world.watch(() => {});
  first.world.drainer.unlock();
  first.kill();
  expect([machine.lock.holder, machine.watchers.has("daemon")]).toEqual(["daemon", true]);
  let death: unknown = null;
  try {
    first.world.now();
  } catch (error) {
    death = error;
  }
  expect(isDeath(death)).toBe(true);
});
