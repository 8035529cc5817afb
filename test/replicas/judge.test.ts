// Owns the proof that the judge of a simulated run misses nothing that the server has done. What it then judges is judge.ts and history.ts.
import { afterEach, expect, test } from "vitest";
import { seededRandom } from "../../src/testing/random.ts";
import { newScheduler } from "../../src/testing/scheduler.ts";
import type { HistoryEvent } from "./history.ts";
import { judgeServer, newWitnesses } from "./judge.ts";
import type { Promises } from "./moves.ts";
import { openReplica } from "./replica.ts";
import { openEmbeddedBase } from "./server-base.ts";
import { openServerHost } from "./server-host.ts";

const ends: (() => void)[] = [];
afterEach(() => {
  for (const end of ends.splice(0)) end();
});

test("each landing is told once, also of a receipt that has taken the row of one that was forgotten", async () => {
  const [scheduler, random, base] = [newScheduler(), seededRandom("judge"), openEmbeddedBase()];
  const server = await openServerHost({ scheduler, random: random.fork("server"), processes: 1, base });
  const replica = openReplica({
    name: "c1",
    scheduler,
    random: random.fork("c1"),
    server,
    processes: 1,
    log: () => {},
  });
  ends.push(() => replica.kill(0, "now"));
  const counts = { writes: 0, kills: 0, decisions: 0, restores: 0, rollbacks: 0 };
  const promises: Promises = { kept: new Map(), meters: new Map(), localKeys: new Set(), ...counts };
  const events: HistoryEvent[] = [];
  const witnesses = newWitnesses();
  const look = async (): Promise<void> => expect(await judgeServer({ server, events, promises }, witnesses)).toBeNull();
  const landings = (): readonly string[] => events.flatMap((event) => (event.kind === "land" ? [event.operation] : []));
  const write = async (key: string): Promise<string> => {
    const made = replica.ask("records.write", { kind: "create", collection: "notes", key, value: { a: key } });
    if (made.kind !== "ok" || made.output.operation === null) throw new Error(JSON.stringify(made));
    await scheduler.runFor(60_000);
    return made.output.operation;
  };

  const first = await write("k1");
  await look();
  expect(landings()).toEqual([first]);
  await base.change("DELETE FROM hf_receipt");
  const second = await write("k2");
  await look();
  expect(landings()).toEqual([first, second]);
  await look();
  expect(landings()).toEqual([first, second]);
  // A server that is set back tells of what it still has under its new era.
  await base.copy();
  await server.restore("same history");
  await look();
  expect(landings()).toEqual([first, second, second]);
});
