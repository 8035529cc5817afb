// Owns the rules of naming another sync server while the engine works: what is unsent goes there, what it lacks is kept and asked about.
// A server that was restored is pull.test.ts; the daemon that follows its configuration is test/story.
import { expect, test } from "vitest";
import { newModelServer } from "../../test/support/model-server.ts";
import { startRecords } from "../../test/support/record-bench.ts";
import type { SyncPort } from "../world.ts";

function startTwo(options: Parameters<ReturnType<typeof startRecords>["client"]>[0] = {}) {
  const bench = startRecords();
  const other = newModelServer({
    now: () => 1_760_000_000_000 + bench.scheduler.elapsed(),
    wait: (ms) => new Promise((resolve) => void bench.scheduler.after(ms, resolve)),
  });
  other.history = "h2";
  const ada = bench.client(options);
  const move = async (port: SyncPort | null): Promise<void> => {
    const moved = ada.engine.setSync(port);
    await bench.run(20_000);
    await moved;
    await bench.run(5_000);
  };
  const there = (more: Partial<SyncPort> = {}): SyncPort => ({
    ...other.port(),
    remote: "https://other.example",
    ...more,
  });
  return { ...bench, other, ada, move, there };
}

test("a store that had no server sends what waited as soon as one is named, and goes on without when it is taken away", async () => {
  const { ada, server, run, move } = startTwo({ isAlone: true });
  const { operation } = ada.put("n1", { n: 1 });
  await run(5_000);
  expect(ada.ask("queue.why", { id: operation ?? "" }).sentence).toContain("no sync server");
  await move(server.port());
  expect(server.all("notes")).toEqual({ n1: { n: 1 } });
  expect(ada.state("n1")).toBe("synced");
  server.write("notes", "n2", { n: 2 });
  await run();
  expect(ada.value("n2")).toEqual({ n: 2 });
  await move(null);
  ada.put("n1", { n: 3 });
  server.write("notes", "n2", { n: 4 });
  await run(60_000);
  expect([server.get("notes", "n1")?.value, ada.value("n2"), ada.state("n1")]).toEqual([{ n: 1 }, { n: 2 }, "pending"]);
  await move(server.port());
  expect([server.get("notes", "n1")?.value, ada.value("n2"), ada.state("n1")]).toEqual([{ n: 3 }, { n: 4 }, "synced"]);
  expect(ada.conflicts()).toEqual([]);
  expect(ada.ask("engine.check", {}).findings).toEqual([]);
});

test("a server with another history gets what is unsent; what only the old one had is kept here and asked about", async () => {
  const { ada, server, other, run, move, there } = startTwo();
  server.write("notes", "old", { n: 1 });
  server.write("notes", "both", { n: 1 });
  other.write("notes", "both", { n: 1 });
  other.write("notes", "new", { n: 1 });
  ada.put("mine", { n: 1 });
  await run(5_000);
  ada.offline();
  ada.put("unsent", { n: 1 });
  ada.update("old", { n: 2 });
  ada.online();
  server.delayMs = 60_000;
  await run(10);
  await move(there());
  expect(other.all("notes")).toEqual({ both: { n: 1 }, new: { n: 1 }, unsent: { n: 1 } });
  for (const key of ["both", "new", "unsent"]) expect(ada.get(key)).toMatchObject({ value: { n: 1 }, state: "synced" });
  const open = ada.conflicts("open");
  // What was on the wire at the exchange may be asked about twice: once as it was sent, once for what was kept.
  expect([...new Set(open.map(({ key, kind }) => `${key} ${kind}`))].sort()).toEqual([
    "mine deleted_upstream",
    "old deleted_upstream",
  ]);
  expect([ada.value("mine"), ada.value("old")]).toEqual([{ n: 1 }, { n: 2 }]);
  ada.ask("conflicts.resolve", { filter: { key: "mine" }, choose: "local" });
  ada.ask("conflicts.resolve", { filter: { key: "old" }, choose: "remote" });
  await run(5_000);
  expect(other.all("notes")).toMatchObject({ mine: { n: 1 } });
  expect(ada.value("old")).toBeNull();
  expect(ada.ask("queue.status", {}).unsent).toBe(0);
  expect(ada.ask("engine.check", {}).findings).toEqual([]);
});

test("another space of the server is read from its beginning, and what is unsent goes there", async () => {
  const { ada, server, run, move, there, other } = startTwo();
  other.history = server.history;
  for (let n = 0; n < 5; n += 1) server.write("notes", `n${n}`, { n });
  await run();
  // The other one stands for another space of the same server: fewer versions, the same history.
  other.write("notes", "elsewhere", { n: 1 });
  ada.offline();
  ada.put("unsent", { n: 1 });
  ada.online();
  server.delayMs = 60_000;
  await move(there({ space: "second" }));
  expect(ada.value("elsewhere")).toEqual({ n: 1 });
  expect(other.all("notes")).toMatchObject({ unsent: { n: 1 } });
  const pushed = other.log
    .filter(({ what }) => what === "push")
    .map(({ request }) => (request as { space: string }).space);
  expect(new Set(pushed)).toEqual(new Set(["second"]));
});

test("an exchange while nobody sends begins no sending, and a stop during one holds", async () => {
  const { ada, run, move, there, other } = startTwo({ isStopped: true, isAlone: true });
  ada.put("n1", { n: 1 });
  await move(there());
  await run(10_000);
  expect(other.log).toEqual([]);
  ada.engine.start();
  const moving = ada.engine.setSync(there());
  const stopping = ada.engine.stop(0);
  await run(10_000);
  await Promise.all([moving, stopping]);
  const asked = other.log.length;
  await run(600_000);
  expect(other.log.length).toBe(asked);
});
