// Owns what has to be true of the engine's own reports, and of everything that is left once faults have stopped:
// it moves by itself at a known time, or it says what it waits for, down to something that a person has to decide.
import type { Engine } from "../../src/engine/engine.ts";
import { isDeath } from "../../src/testing/virtual-world.ts";
import type { Output } from "../../src/verbs.ts";
import type { Violation } from "./invariants.ts";
import type { Simulation } from "./simulator.ts";

const unsettled = "SELECT id, state, reason, due FROM op WHERE state < 8 ORDER BY seq";
const overdue = "SELECT count(*) AS n FROM op WHERE state < 5";

const says = (rule: string, detail: string): Violation => ({ rule, detail });

/** Asks a living process for every report and holds it to the facts. */
export function judgeReports(sim: Simulation): Violation | null {
  const slot = sim.slots.find((each) => each?.process.isAlive() && !each.process.isFrozen());
  if (slot === null || slot === undefined) return null;
  try {
    return judgeCheck(slot.engine) ?? judgeLight(sim, slot.engine) ?? judgeWhy(sim, slot.engine);
  } catch (error) {
    if (isDeath(error)) return null;
    return says("report", `a report failed: ${error instanceof Error ? error.stack : String(error)}`);
  }
}

function judgeCheck(engine: Engine): Violation | null {
  const check = engine.handle("engine.check", {});
  return check.isSound ? null : says("I8", `engine.check found: ${check.findings.join("; ")}`);
}

function judgeLight(sim: Simulation, engine: Engine): Violation | null {
  const status = engine.handle("queue.status", {});
  const unsent = Number(sim.facts.db.prepare(overdue).get()?.n);
  if (status.light !== "green") return null;
  if (status.counts.failed > 0) return says("light", `green although ${status.counts.failed} failed`);
  const isLate = status.nextAttemptAt === null || status.nextAttemptAt < sim.facts.wallNow() - 60_000;
  return unsent > 0 && isLate && status.counts.in_progress === 0
    ? says("light", `green although ${unsent} are unsent and nothing is under way`)
    : null;
}

/** Whatever does not move has a reason, and whatever waits for a time names it. */
function judgeWhy(sim: Simulation, engine: Engine): Violation | null {
  const isDrained = sim.machine.lock.holder !== null;
  for (const row of sim.facts.db.prepare(unsettled).all()) {
    const why = engine.handle("queue.why", { id: String(row.id) });
    const state = Number(row.state);
    if (why.sentence === "") return says("why", `${why.id} has no explanation`);
    const [own, ...others] = why.blockers;
    const isClosed = others.some(({ until }) => until === undefined);
    if (state === 2 && (own?.until === undefined || (why.nextMoveAt === null) !== isClosed))
      return says("why", `${why.id} is scheduled and names ${why.nextMoveAt === null ? "no" : "a"} time`);
    const isFree = state === 0 && isDrained;
    if (why.blockers.length === 0 && !isFree && state !== 0)
      return says("why", `${why.id} is in state ${state} and names nothing that it waits for`);
  }
  return null;
}

/** Nothing may be left that neither moves nor waits, at last, for a person. */
export function judgeEnd(sim: Simulation): Violation | null {
  const engine = sim.slots[0]?.engine;
  if (engine === undefined) return says("liveness", "no process is left");
  const found = judgeReports(sim);
  if (found !== null) return found;
  for (const row of sim.facts.db.prepare(unsettled).all()) {
    const id = String(row.id);
    const stuck = rootOf(engine, id, new Set());
    if (stuck !== null)
      return says(
        "liveness",
        `${id} (state ${row.state}, ${row.reason}) is left although nothing hinders it: ${stuck}`,
      );
  }
  return null;
}

const decided = ["rejected", "conflict", "gave_up", "unsure", "corrupt", "no_server_id", "draft"];

/** Follows what an operation waits for; null when that ends at a decision of a person, else the sentence that does not. */
function rootOf(engine: Engine, id: string, seen: Set<string>): string | null {
  if (seen.has(id)) return `${id} waits for itself`;
  seen.add(id);
  const why = engine.handle("queue.why", { id });
  if (["cancelled", "expired"].includes(why.status)) return null;
  const answers = why.blockers.map((blocker) => answerOf(engine, blocker, seen));
  return answers.includes(null) ? null : `${id}: ${why.sentence} ${answers[0] ?? ""}`;
}

function answerOf(engine: Engine, blocker: Output<"queue.why">["blockers"][number], seen: Set<string>): string | null {
  if (decided.includes(blocker.kind)) return null;
  // What came from elsewhere without what it had to come after is parked, and waits for nobody else.
  if (blocker.kind === "dependency" && blocker.id === undefined) return null;
  if (blocker.id !== undefined) return rootOf(engine, blocker.id, new Set(seen));
  return blocker.detail;
}
