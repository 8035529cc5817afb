// Owns what goes wrong by itself in the simulation: processes that die or freeze, networks, remotes, clocks, disks, tokens.
// What people and programs do is commands.ts.
import type { Random } from "../../src/testing/random.ts";
import { ask, hastened, subjects } from "./commands.ts";
import { adoptAll, adoptGates } from "./model.ts";
import { fairWeather } from "./model-server.ts";
import type { Way } from "./network.ts";
import { goodConditions } from "./network.ts";
import type { Simulation } from "./simulator.ts";
import { boot, bury, noteEndOf } from "./simulator.ts";

type Fault = (sim: Simulation, random: Random) => void;

const table: readonly (readonly [number, Fault])[] = [
  [12, killOne],
  [6, killSoon],
  [8, killAtCommit],
  [20, bootOne],
  [4, stopOne],
  [8, freezeOne],
  [5, thawOne],
  [14, changeConditions],
  [14, changeWay],
  [10, changeWeather],
  [6, expireToken],
  [5, jumpClock],
  [3, driftClock],
  [3, fillDisk],
  [6, freeDisk],
  [2, learnLater],
];
const weights = table.reduce((sum, [weight]) => sum + weight, 0);
const dayMs = 86_400_000;

export function runFault(sim: Simulation, random: Random): void {
  let draw = random.below(weights);
  for (const [weight, fault] of table) {
    draw -= weight;
    if (draw >= 0) continue;
    sim.trace.note(`fault ${fault.name}`);
    fault(sim, random);
    return;
  }
}

/** Ends every fault for good and allows everything again. */
export function calm(sim: Simulation): void {
  sim.machine.disk.free();
  sim.machine.wallClock.drift(1);
  sim.network.setConditions(goodConditions);
  for (const remote of ["receipts", "plain"]) sim.network.setWay(remote, "open");
  sim.server.setWeather(fairWeather);
  sim.isLaterKnown = true;
  // Everybody ends, and one process that knows every type takes over.
  for (const slot of sim.slots) slot?.process.kill();
  bury(sim);
  boot(sim, 0);
  const engine = sim.slots[0]?.engine;
  if (engine === undefined) return;
  adoptGates(sim.facts.model, sim.facts.db);
  for (const pause of sim.facts.model.pauses) {
    const [kind = "", name = ""] = pause.split(":");
    ask(sim.commands, engine, "queue.resume", {
      scope: kind === "all" ? { kind } : { kind: kind as "lane", name },
    });
  }
  hastened(sim.commands);
  ask(sim.commands, engine, "network.online", {});
  for (const subject of subjects) {
    sim.commands.renewToken(subject);
    ask(sim.commands, engine, "subject.signIn", { subject });
  }
  ask(sim.commands, engine, "settings.set", {
    ...{ syncMode: "eager", concurrency: sim.isHalting ? 2 : 8, concurrencyPerRemote: sim.isHalting ? 1 : 8 },
  });
  adoptGates(sim.facts.model, sim.facts.db);
}

function anyLiving(sim: Simulation, random: Random) {
  const living = sim.slots.filter((slot) => slot !== null);
  return living[random.below(Math.max(1, living.length))] ?? null;
}

function killOne(sim: Simulation, random: Random): void {
  anyLiving(sim, random)?.process.kill();
  bury(sim);
  // Whatever it had asked for and not heard of may have happened or not.
  adoptAll(sim.facts.model, sim.facts.db);
}

/** Dies somewhere in what it does next: between two statements, inside a transaction, right after a commit. */
function killSoon(sim: Simulation, random: Random): void {
  anyLiving(sim, random)?.process.killAfter(1 + random.below(300));
}

function bootOne(sim: Simulation): void {
  const slot = sim.slots.indexOf(null);
  if (slot >= 0) boot(sim, slot);
}

function stopOne(sim: Simulation, random: Random): void {
  const slot = anyLiving(sim, random);
  if (slot === null || slot.process.isFrozen()) return;
  slot.engine.stop(random.below(3_000)).catch(() => {});
}

/**
 * The drainer sleeps, loses its lock and wakes up not knowing it: its leases are lost. It often wakes while the next drainer
 * has the same operations on the wire.
 */
function freezeOne(sim: Simulation, random: Random): void {
  const slot = sim.slots.find((each) => each?.process.name === sim.machine.lock.holder) ?? anyLiving(sim, random);
  if (slot === null) return;
  slot.process.freeze();
  noteEndOf(sim, slot.process.name);
  if (random.chance(0.7)) sim.scheduler.after(500 + random.below(3_000), slot.process.thaw);
}

function thawOne(sim: Simulation): void {
  for (const slot of sim.slots) slot?.process.thaw();
}

function changeConditions(sim: Simulation, random: Random): void {
  const isGood = random.chance(0.4);
  const upTo = (most: number): number => (random.chance(0.5) ? 0 : random.next() * most);
  sim.network.setConditions(
    isGood
      ? goodConditions
      : {
          dropRequest: upTo(0.4),
          dropAnswer: upTo(0.5),
          double: upTo(0.3),
          late: upTo(0.3),
          delayMs: random.pick([20, 200, 2_000]),
        },
  );
}

function changeWay(sim: Simulation, random: Random): void {
  const ways: readonly [Way, ...Way[]] = ["open", "open", "open", "cut", "nameless", "portal"];
  sim.network.setWay(random.pick(["receipts", "plain"]), random.pick(ways));
}

function changeWeather(sim: Simulation, random: Random): void {
  const upTo = (most: number): number => (random.chance(0.5) ? 0 : random.next() * most);
  sim.server.setWeather(random.chance(0.4) ? fairWeather : { before: upTo(0.6), after: upTo(0.4), busy: upTo(0.5) });
}

/** Dies at the one moment that decides whether something is durable. */
function killAtCommit(sim: Simulation, random: Random): void {
  anyLiving(sim, random)?.process.killAtCommit(random.pick(["before", "after"]));
}

/** The remotes forget a token; this machine still holds it. */
function expireToken(sim: Simulation, random: Random): void {
  sim.server.tokens.delete(random.pick(subjects));
}

function jumpClock(sim: Simulation, random: Random): void {
  const spans = [1_000, 60_000, 3_600_000, dayMs, 3 * dayMs] as const;
  sim.machine.wallClock.jump((random.chance(0.5) ? 1 : -1) * random.below(random.pick(spans)));
}

function driftClock(sim: Simulation, random: Random): void {
  sim.machine.wallClock.drift(random.pick([1, 1, 0.5, 0.99, 1.01, 2]));
}

function fillDisk(sim: Simulation): void {
  sim.machine.disk.fill();
  for (const op of sim.facts.model.operations.values()) op.charged = [0, op.charged[1]];
}

function freeDisk(sim: Simulation): void {
  sim.machine.disk.free();
}

/** From now on new processes know the type `later`. */
function learnLater(sim: Simulation): void {
  sim.isLaterKnown = true;
}
