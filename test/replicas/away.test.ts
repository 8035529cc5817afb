// Owns T10 in small: a client that was away for thirty days comes back with ten thousand unsent writes, five hundred of them disputed,
// to a server whose schema has moved on and whose account is suspended half-way. Leaves random schedules to replicas.test.ts.
import { afterEach, expect, test } from "vitest";
import { seededRandom } from "../../src/testing/random.ts";
import { newScheduler } from "../../src/testing/scheduler.ts";
import type { Input, Output, Verb } from "../../src/verbs.ts";
import { liveBytes } from "../support/live-memory.ts";
import type { Replica } from "./replica.ts";
import { openReplica } from "./replica.ts";
import { openEmbeddedBase } from "./server-base.ts";
import { openServerHost, space } from "./server-host.ts";

const [writes, disputed] = [10_000, 500];
const dayMs = 86_400_000;
/** What is in use after ten thousand writes; the engine holds pages and waves of them, never all. */
const mostGrownBytes = 32 * 1_048_576;

const ends: (() => void)[] = [];
afterEach(() => {
  for (const end of ends.splice(0)) end();
});

const ask = <V extends Verb>(replica: Replica, verb: V, input: Input<V>): Output<V> => {
  const answered = replica.ask(verb, input);
  if (answered.kind !== "ok") throw new Error(`${replica.name} ${verb}: ${JSON.stringify(answered)}`);
  return answered.output;
};

/** Operations in the bundle that can be taken to another machine. */
function exported(replica: Replica): number {
  const ids = new Set<string>();
  for (let cursor: string | null | undefined; cursor !== null; ) {
    const more: { readonly cursor?: string } = cursor === undefined ? {} : { cursor };
    const page = ask(replica, "queue.export", { status: ["pending", "in_progress", "failed"], ...more });
    for (const line of page.lines) ids.add((JSON.parse(line) as { operation: { id: string } }).operation.id);
    cursor = page.next;
  }
  return ids.size;
}

test("thirty days offline: ten thousand writes land, five hundred disputes are asked, a suspension loses nothing, an export holds the rest", async () => {
  const scheduler = newScheduler();
  const random = seededRandom("away");
  const server = await openServerHost({
    scheduler,
    random: random.fork("server"),
    processes: 1,
    base: openEmbeddedBase(),
  });
  const make = (name: string): Replica => {
    const replica = openReplica({ name, scheduler, random: random.fork(name), server, processes: 1, log: () => {} });
    ends.push(() => replica.kill(0, "now"));
    return replica;
  };
  const [away, home] = [make("away"), make("home")];
  const create = (replica: Replica, key: string, a: string): unknown =>
    ask(replica, "records.write", { kind: "create", collection: "notes", key, value: { a } });
  for (let n = 0; n < disputed; n += 1) create(home, `n${n}`, "first");
  await scheduler.runFor(600_000);
  expect(ask(away, "records.count", { collection: "notes" }).count).toBe(disputed);

  away.weather.isCut = true;
  const liveBefore = liveBytes();
  for (let n = 0; n < writes; n += 1) {
    const a = `away ${n}`;
    if (n < disputed) ask(away, "records.write", { kind: "update", collection: "notes", key: `n${n}`, fields: { a } });
    else create(away, `n${n}`, a);
  }
  for (let n = 0; n < disputed; n += 1)
    ask(home, "records.write", { kind: "update", collection: "notes", key: `n${n}`, fields: { a: `home ${n}` } });
  expect(ask(away, "queue.status", {}).unsent).toBe(writes);
  await scheduler.runFor(600_000);
  for (const machine of [away.machine, home.machine]) machine.wallClock.jump(30 * dayMs);
  server.jumpClock(30 * dayMs);
  server.upgrade();
  server.kill("now");
  await server.boot();

  away.weather.isCut = false;
  const isHalfSent = (): boolean => ask(away, "queue.status", {}).unsent < writes / 2;
  expect(await scheduler.runUntil(isHalfSent, dayMs)).toBe(true);
  away.credentials.pass = "suspended";
  await scheduler.runFor(3_600_000);
  const left = ask(away, "queue.status", {}).unsent;
  expect(left).toBeGreaterThan(disputed);
  // Everything stays readable, and what is unsent can be carried away.
  expect(ask(away, "records.get", { collection: "notes", key: `n${writes - 1}` }).record?.value).toMatchObject({
    a: `away ${writes - 1}`,
  });
  expect(exported(away)).toBe(left);

  away.credentials.pass = "valid";
  ask(away, "subject.signIn", { subject: "" });
  const isDone = (): boolean => ask(away, "queue.status", {}).unsent === disputed;
  expect(await scheduler.runUntil(isDone, dayMs)).toBe(true);
  expect(ask(away, "conflicts.groups", {}).groups.map(({ count }) => count)).toEqual([disputed]);
  const grown = liveBytes() - liveBefore;
  console.log(`${writes} unsent writes and their landing left ${Math.round(grown / 1_048_576)} MB more in use`);
  expect(grown).toBeLessThan(mostGrownBytes);

  const decided = ask(away, "conflicts.resolve", { filter: { collection: "notes" }, choose: "local" });
  expect(decided.done.length).toBe(disputed);
  expect(await scheduler.runUntil(() => ask(away, "queue.status", {}).unsent === 0, dayMs)).toBe(true);
  const rows = await server.base.look((all) => all("SELECT key, value FROM hf_record WHERE space = ?", space));
  expect(rows.length).toBe(writes);
  for (const { key, value } of rows) expect(JSON.parse(String(value)).a).toBe(`away ${String(key).slice(1)}`);
});
