/**
 * Owns the run that is recorded for the power cut test: enqueues one by one and in batches, drains, checkpoints, closes, opens again.
 * After each acknowledgement it says in the file `told` what it was told; what that promises is checked by the test.
 */
import { closeSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { openEngine } from "../../src/engine/engine.ts";
import { openStore } from "../../src/node/salvage.ts";
import { nodeWorld } from "../../src/node/world.ts";
import type { OperationType } from "../../src/world.ts";

const [directory = "", synchronous = "FULL"] = process.argv.slice(2);
const told = openSync(join(directory, "told"), "a");
const tell = (line: string): void => {
  writeSync(told, `${line}\n`);
};

const type: OperationType = {
  type: "demo",
  run: async ({ operation }) =>
    operation.payload === "refuse me"
      ? { kind: "rejected", problem: { code: "no", message: "refused" } }
      : { kind: "applied", result: { landed: operation.id } },
};

async function runOnce(round: number): Promise<void> {
  const world = nodeWorld({ directory, reserveBytes: 0, log: () => {} });
  const { database } = openStore(directory, { synchronous: synchronous as "FULL" });
  const engine = openEngine({ database, world, types: [type] });
  const settled = new Set<string>();
  engine.subscribe((event) => {
    if (event.id === null || event.status !== "completed" || settled.has(event.id)) return;
    settled.add(event.id);
    tell(`done ${event.id}`);
  });
  const ids: string[] = [];
  const add = (payload: string, lane: string | null): void => {
    const { id } = engine.handle("queue.add", { type: "demo", payload, lane });
    ids.push(id);
    tell(`added ${id} ${JSON.stringify(payload)}`);
  };
  for (let n = 0; n < 6; n += 1) add(`one by one ${round}/${n} ${"x".repeat(n * 300)}`, n % 2 === 0 ? "lane" : null);
  add("refuse me", null);
  const items = Array.from({ length: 5 }, (_, n) => ({ type: "demo", payload: `batch ${round}/${n}` }));
  const { receipts } = engine.handle("queue.addMany", { operations: items });
  tell(`together ${receipts.map(({ id }) => id).join(" ")}`);
  const gathered = await Promise.all(
    [0, 1, 2].map((n) => engine.submit("queue.add", { type: "demo", payload: `gathered ${round}/${n}` })),
  );
  for (const [n, { id }] of gathered.entries()) tell(`added ${id} ${JSON.stringify(`gathered ${round}/${n}`)}`);
  database.checkpoint(round === 0 ? "passive" : "truncate");
  engine.start();
  const wanted = 6 + items.length + gathered.length;
  while (settled.size < wanted) await new Promise((resolve) => setTimeout(resolve, 5));
  database.checkpoint("passive");
  add(`left behind ${round}`, "lane");
  await engine.stop();
  engine.close();
  world.close();
}

for (let round = 0; round < 2; round += 1) await runOnce(round);
closeSync(told);
