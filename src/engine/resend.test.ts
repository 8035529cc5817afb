// Owns the rules of sending a decided change again: how often, how far apart, and when the server has to be asked first.
// What decides two sides is conflicts.test.ts.
import { expect, test } from "vitest";
import type { RecordBench } from "../../test/support/record-bench.ts";
import { apart, base, startRecords } from "../../test/support/record-bench.ts";
import type { Collection } from "../world.ts";

type Busy = RecordBench["server"] & { isBusy: boolean; counted: number };

/** Before every push somebody else counts up, as long as the server is busy. */
async function startBusy(collection: Partial<Collection>) {
  const bench = startRecords();
  const server = Object.assign(bench.server, { isBusy: true, counted: 0 }) as Busy;
  const countUp = (): void => {
    server.counted += 1;
    server.write("notes", "n1", { ...base, n: server.counted + 1 });
  };
  const ada = bench.client({
    collections: [{ name: "notes", ...collection }],
    wrap: (port) => ({
      ...port,
      push: (request, signal) => {
        if (server.isBusy) countUp();
        return port.push(request, signal);
      },
    }),
  });
  server.write("notes", "n1", base);
  await bench.run();
  return { ...bench, server, ada };
}

test("a rule that always decides never asks a person, however busy the record is: its rounds grow apart", async () => {
  const { ada, server, run, pushes } = await startBusy({ merge: { n: { rule: "counter" } } });
  ada.update("n1", { n: 2 });
  await run(120_000);
  expect(ada.conflicts("open")).toEqual([]);
  expect(ada.conflicts("resolved").length).toBeGreaterThan(8);
  expect(pushes()).toBeLessThan(20);
  const { operation } = ada.ask("conflicts.list", { limit: 1 }).conflicts[0] ?? {};
  expect(ada.ask("queue.why", { id: operation ?? "" }).sentence).toContain("tried again by itself");
  server.isBusy = false;
  await run(120_000);
  // It counted one up, whatever everybody else did meanwhile.
  expect(server.all("notes")).toEqual({ n1: { ...base, n: server.counted + 2 } });
  expect(ada.get("n1")).toMatchObject({ state: "synced", value: { n: server.counted + 2 } });
  expect(ada.conflicts("open")).toEqual([]);
});

test("far more rounds than a person would be asked after, and still nobody is asked", async () => {
  const { ada, server, run } = await startBusy({ strategy: { version_mismatch: "local_wins" } });
  ada.update("n1", { n: -1 });
  await run(3_600_000);
  expect(ada.conflicts("resolved").length).toBeGreaterThan(25);
  expect(ada.conflicts("open")).toEqual([]);
  server.isBusy = false;
  await run(120_000);
  expect(server.all("notes")).toMatchObject({ n1: { n: -1 } });
});

test("an answer of a server that has forgotten what this client knows leads to a pull, not to the same question again and again", async () => {
  const { ada, server, run, pushes } = await apart();
  server.isPoking = false;
  const before = server.backup();
  ada.online();
  server.write("notes", "n2", base);
  ada.ask("collections.sync", {});
  await run(3_000);
  expect(ada.value("n2")).toEqual(base);
  server.restore(before, "h2");
  const sent = pushes();
  ada.update("n2", { title: "mine" });
  await run(2_000);
  expect(pushes() - sent).toBeLessThan(4);
  expect(ada.conflicts("open")).toMatchObject([{ key: "n2", kind: "deleted_upstream" }]);
  ada.ask("conflicts.resolve", { filter: {}, choose: "local" });
  await run(3_000);
  expect(server.all("notes")).toMatchObject({ n2: { ...base, title: "mine" } });
});
