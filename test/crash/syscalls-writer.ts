/**
 * Owns the runs in which one file call fails: a store is opened, filled, drained and closed while the shim makes the n-th call fail,
 * then opened again in peace. What was acknowledged, refused or broken is sent to the test, which judges it.
 */
import { closeSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { HoldfastError } from "../../src/errors.ts";
import type { OpenEngineOptions } from "../../src/node/engine.ts";
import { openEngine } from "../../src/node/engine.ts";

export type Point = {
  readonly at: number;
  readonly errno: number;
  readonly isForEver: boolean;
  readonly isFresh: boolean;
};
export type Finding = {
  readonly point: Point;
  readonly calls: number;
  readonly failed: number;
  readonly acknowledged: number;
  readonly refusals: readonly string[];
  readonly wrongs: readonly string[];
  readonly tookMs: number;
};

const [root = "", encoded = "[]"] = process.argv.slice(2);
const controlFile = openSync(join(root, "shim.control"), "w+");
const landed = new Map<string, number>();
const strays: string[] = [];
process.on("uncaughtException", (error) => strays.push(`uncaught: ${String(error.stack)}`));
process.on("unhandledRejection", (error) => strays.push(`unhandled: ${String(error)}`));

const points = JSON.parse(encoded) as readonly Point[];
for (const [index, point] of points.entries()) process.send?.(await run(join(root, `p${index}`), point));
closeSync(controlFile);
process.disconnect();

async function run(directory: string, point: Point): Promise<Finding> {
  const options: OpenEngineOptions = {
    directory,
    log: () => {},
    types: [
      {
        type: "demo",
        run: async ({ operation }) => {
          landed.set(operation.id, (landed.get(operation.id) ?? 0) + 1);
          return { kind: "applied" };
        },
      },
    ],
  };
  const startedAt = performance.now();
  landed.clear();
  strays.length = 0;
  const acknowledged: string[] = [];
  const refusals: string[] = [];
  if (!point.isFresh) {
    const engine = await openEngine(options);
    for (let n = 0; n < 3; n += 1) acknowledged.push(engine.handle("queue.add", { type: "other", payload: n }).id);
    engine.close();
  }
  control(`${point.at} ${point.errno} ${point.isForEver ? 1 : 0}`);
  await work(options, acknowledged, refusals);
  const [calls = 0, failed = 0] = readControl();
  control("0 0 0");
  const wrongs = [
    ...(await judge(options, acknowledged)),
    ...strays,
    ...refusals.filter((each) => each.startsWith("raw")),
  ];
  rmSync(directory, { recursive: true, force: true });
  return {
    point,
    calls,
    failed,
    acknowledged: acknowledged.length,
    refusals,
    wrongs,
    tookMs: performance.now() - startedAt,
  };
}

/** The life of a store in short; whatever is refused is told, nothing may be thrown that is no HoldfastError. */
async function work(options: OpenEngineOptions, acknowledged: string[], refusals: string[]): Promise<void> {
  try {
    const engine = await openEngine(options);
    try {
      for (let n = 0; n < 3; n += 1) {
        attempt(refusals, () => acknowledged.push(engine.handle("queue.add", { type: "demo", payload: `p${n}` }).id));
      }
      const asked = [0, 1].map((n) => engine.submit("queue.add", { type: "demo", payload: `s${n}`, lane: "l" }));
      for (const answer of await Promise.allSettled(asked)) {
        if (answer.status === "fulfilled") acknowledged.push(answer.value.id);
        else note(refusals, answer.reason);
      }
      attempt(refusals, () => engine.start());
      for (let waited = 0; waited < 30 && landed.size < 5; waited += 1) await pause(3);
      await engine.stop(10);
      attempt(refusals, () => engine.handle("queue.status", {}));
    } finally {
      attempt(refusals, () => engine.close());
    }
  } catch (error) {
    note(refusals, error);
  }
}

async function judge(options: OpenEngineOptions, acknowledged: readonly string[]): Promise<readonly string[]> {
  const wrongs: string[] = [];
  try {
    const engine = await openEngine(options);
    for (const id of acknowledged) attempt(wrongs, () => engine.handle("queue.get", { id }));
    const { isSound, findings } = engine.handle("engine.check", {});
    if (!isSound) wrongs.push(`not sound: ${findings.join("; ")}`);
    const recovery = engine.handle("engine.info", {}).recovery as { kind?: string } | null;
    if (recovery?.kind === "salvaged") wrongs.push(`salvaged: ${JSON.stringify(recovery)}`);
    engine.start();
    const wanted = acknowledged.filter((id) => engine.handle("queue.get", { id }).type === "demo").length;
    for (let waited = 0; waited < 300 && completed(engine, acknowledged) < wanted; waited += 1) await pause(3);
    if (completed(engine, acknowledged) < wanted) wrongs.push("it does not drain any more");
    await engine.stop(10);
    engine.close();
  } catch (error) {
    wrongs.push(`it does not open again: ${String(error)}`);
  }
  return wrongs;
}

function completed(engine: Awaited<ReturnType<typeof openEngine>>, ids: readonly string[]): number {
  return ids.filter((id) => engine.handle("queue.get", { id }).status === "completed").length;
}

function attempt(noted: string[], task: () => void): void {
  try {
    task();
  } catch (error) {
    note(noted, error);
  }
}

function note(noted: string[], error: unknown): void {
  noted.push(
    error instanceof HoldfastError ? error.code : `raw ${error instanceof Error ? error.stack : String(error)}`,
  );
}

function control(text: string): void {
  writeSync(controlFile, text);
}

function readControl(): readonly number[] {
  const answer = Buffer.alloc(64);
  const size = readSync(controlFile, answer);
  return answer.toString("utf8", 0, size).trim().split(" ").map(Number);
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
