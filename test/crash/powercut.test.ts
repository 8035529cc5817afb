/**
 * Owns the proof that no kill and no power cut loses what was acknowledged (T2): a recorded run is played into every state that
 * a disk can be left in, and each state is opened and checked. HOLDFAST_POWERCUT_STATES and HOLDFAST_SEED make it longer.
 */
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { openEngine } from "../../src/node/engine.ts";
import { buildShim, exitOf, forkShimmed } from "./shim.ts";
import type { State } from "./trace.ts";
import { newPlayer, readTrace, seeded } from "./trace.ts";

const wantedStates = Number(process.env.HOLDFAST_POWERCUT_STATES ?? 2_000);
const seed = Number(process.env.HOLDFAST_SEED ?? 1);
const scratch = mkdtempSync(join(tmpdir(), "holdfast-powercut-"));
const shim = buildShim(scratch);
/** States are written and read thousands of times; memory spares the disk of the machine. */
const memory = readdirSync("/dev").includes("shm")
  ? mkdtempSync("/dev/shm/holdfast-powercut-")
  : join(scratch, "states");
afterAll(() => {
  rmSync(scratch, { recursive: true, force: true });
  rmSync(memory, { recursive: true, force: true });
});

if ("reason" in shim) {
  test.skip(`power cuts: ${shim.reason}`, () => {});
  console.log(`skipped: power cuts: ${shim.reason}`);
} else {
  test(`nothing acknowledged is lost in ${wantedStates} states of kill and power cut (seed ${seed})`, async () => {
    const calls = await record(shim.path, "FULL");
    const outcome = await playAll(calls, { wanted: wantedStates, stopAtLoss: false });
    console.log(`power cut: ${outcome.states} states of ${calls.length} calls, ${outcome.told} promises checked`);
    expect(outcome.losses).toEqual([]);
    expect(outcome.states).toBeGreaterThanOrEqual(wantedStates);
    expect(outcome.told).toBeGreaterThan(outcome.states);
  });

  test("with synchronous=NORMAL the same states show losses: the test can fail", async () => {
    const calls = await record(shim.path, "NORMAL");
    const outcome = await playAll(calls, { wanted: wantedStates, stopAtLoss: true });
    expect(outcome.losses[0]).toMatch(/is gone|is lost/);
  });
}

async function record(shimPath: string, synchronous: string) {
  const directory = mkdtempSync(join(scratch, "run-"));
  const trace = join(scratch, `trace-${synchronous}`);
  const child = forkShimmed("./powercut-writer.ts", {
    shim: shimPath,
    directory,
    trace,
    arguments: [directory, synchronous],
  });
  expect(await exitOf(child)).toBe(0);
  const calls = readTrace(trace);
  // A shim that saw nothing would prove nothing.
  expect(calls.filter((call) => call.kind === "write").length).toBeGreaterThan(100);
  expect(calls.filter((call) => call.kind === "sync").length).toBeGreaterThan(synchronous === "FULL" ? 40 : 3);
  return calls;
}

type Outcome = { readonly states: number; readonly told: number; readonly losses: readonly string[] };

async function playAll(
  calls: ReturnType<typeof readTrace>,
  options: { readonly wanted: number; readonly stopAtLoss: boolean },
): Promise<Outcome> {
  const player = newPlayer();
  const random = seeded(seed);
  const perCall = Math.max(1, Math.ceil(options.wanted / calls.length) - 1);
  let states = 0;
  let told = 0;
  const losses: string[] = [];
  for (const [index, call] of calls.entries()) {
    player.step(call);
    const promises = promisesOf(player.killState());
    const situations = [player.killState(), ...Array.from({ length: perCall }, () => player.powerState(random))];
    for (const [which, state] of situations.entries()) {
      states += 1;
      told += promises.length;
      for (const loss of await check(state, promises)) losses.push(`after call ${index}, state ${which}: ${loss}`);
      if (losses.length > 20 || (options.stopAtLoss && losses.length > 0)) return { states, told, losses };
    }
  }
  return { states, told, losses };
}

/** What the callers had been told at this moment; the file that says so stands for the world outside the machine. */
function promisesOf(state: State): readonly string[] {
  const lines = (state.get("told")?.toString("utf8") ?? "").split("\n");
  return lines.slice(0, -1);
}

/** Opens the state as the next start would, and compares it with what was promised. */
async function check(state: State, promises: readonly string[]): Promise<readonly string[]> {
  rmSync(memory, { recursive: true, force: true });
  mkdirSync(memory, { recursive: true });
  for (const [path, content] of state) {
    if (path === "told") continue;
    mkdirSync(dirname(join(memory, path)), { recursive: true });
    writeFileSync(join(memory, path), content);
  }
  const losses: string[] = [];
  const engine = await openEngine({ directory: memory, log: () => {} });
  try {
    const { isSound, findings } = engine.handle("engine.check", {});
    if (!isSound) losses.push(`the store is not sound: ${findings.join("; ")}`);
    const recovery = engine.handle("engine.info", {}).recovery as { kind?: string; lostSequences?: unknown[] } | null;
    if (recovery?.kind === "salvaged" || (recovery?.lostSequences?.length ?? 0) > 0) {
      losses.push(`something is lost: ${JSON.stringify(recovery)}`);
    }
    const all = new Map(
      engine.handle("queue.list", { limit: 1_000 }).operations.map((operation) => [operation.id, operation]),
    );
    for (const promise of promises) {
      const [kind, ...rest] = promise.split(" ");
      const ids = kind === "together" ? rest : rest.slice(0, 1);
      for (const id of ids) if (!all.has(id)) losses.push(`${kind} ${id} is gone`);
      const operation = all.get(ids[0] ?? "");
      if (kind === "done" && operation !== undefined && operation.status !== "completed")
        losses.push(`${id(ids)} is undone`);
      if (kind === "added" && operation !== undefined && operation.payload !== JSON.parse(rest.slice(1).join(" "))) {
        losses.push(`${id(ids)} has another payload`);
      }
    }
    const batches = [0, 1].map(
      (round) => [...all.values()].filter((each) => String(each.payload).startsWith(`batch ${round}/`)).length,
    );
    for (const count of batches) if (count !== 0 && count !== 5) losses.push(`a batch is there by ${count} of 5`);
  } catch (error) {
    losses.push(`it does not open: ${String(error)}`);
  } finally {
    engine.close();
  }
  return losses;
}

const id = (ids: readonly string[]): string => ids[0] ?? "";
