// Owns the tests of the engine's face: transactions, shared commits, events, takeover, closing, reading only, schema versions.
// Leaves what the verbs do to the tests beside their files.
import { describe, expect, test } from "vitest";
import { startBench } from "../../test/support/virtual-engine.ts";
import { openDatabase } from "../node/sqlite.ts";
import { migrate, schemaVersion } from "./schema.ts";

const thrown = (code: string): unknown => expect.objectContaining({ code });

describe("requests", () => {
  test("requests of one tick share a commit, and the failure of one undoes only itself", async () => {
    const bench = startBench({ isStopped: true });
    const good = bench.engine.submit("queue.add", { type: "note", payload: 1, creates: "local-1" });
    const bad = bench.engine.submit("queue.add", { type: "note", payload: 2, creates: "local-1" });
    const also = bench.engine.submit("queue.add", { type: "note", payload: 3 });
    const failure = expect(bad).rejects.toEqual(thrown("duplicate_local_id"));
    await bench.run();
    await failure;
    expect([(await good).isNew, (await also).isNew]).toEqual([true, true]);
    expect(bench.ask("queue.status", {}).unsent).toBe(2);
  });

  test("a request that is malformed names the field and changes nothing", () => {
    const bench = startBench({ isStopped: true });
    expect(() => bench.add({ priority: 5_000 })).toThrow(
      expect.objectContaining({ code: "invalid_input", message: expect.stringContaining("priority") }),
    );
    expect(() => bench.ask("queue.add", { type: "note" } as never)).toThrow(thrown("invalid_input"));
  });

  test("a closed engine refuses everything", () => {
    const bench = startBench({ isStopped: true });
    bench.engine.close();
    expect(() => bench.add()).toThrow(thrown("engine_closed"));
    expect(() => bench.ask("queue.status", {})).toThrow(thrown("engine_closed"));
  });
});

describe("events", () => {
  test("every change is told once, in order, after its commit", async () => {
    const bench = startBench();
    const { id } = bench.add();
    await bench.run();
    const told = bench.events.filter((event) => event.id === id);
    expect(told.map((event) => event.kind)).toEqual(["enqueued", "started", "settled"]);
    const durable = bench.events.map((event) => event.sequence).filter((sequence) => sequence > 0);
    expect(durable).toEqual([...durable].sort((a, b) => a - b));
  });

  test("the feed can be read again from any point", async () => {
    const bench = startBench();
    bench.add();
    await bench.run();
    const all = bench.ask("events.list", {}).events;
    const [first] = all;
    expect(bench.ask("events.list", { after: first?.sequence ?? 0 }).events).toEqual(all.slice(1));
  });

  test("a listener that fails disturbs nobody", async () => {
    const bench = startBench();
    bench.engine.subscribe(() => {
      throw new Error("boom");
    });
    const { id } = bench.add();
    await bench.run();
    expect(bench.get(id).status).toBe("completed");
    expect(bench.events.length).toBeGreaterThan(0);
  });
});

describe("stopping", () => {
  test("attempts under way get their grace, then go back to the queue uncharged", async () => {
    const bench = startBench();
    bench.answers.push(() => new Promise(() => {}));
    const { id } = bench.add();
    await bench.run();
    const stopped = bench.engine.stop(1_000);
    await bench.run(10_000);
    await stopped;
    expect(bench.get(id)).toMatchObject({ status: "pending", failures: 0, mayHaveLanded: true });
    expect(bench.ask("engine.info", {}).drainer).toBeNull();
  });
});

describe("the schema", () => {
  test("a store of a newer version is refused with its version and left as it is", () => {
    const db = openDatabase(":memory:");
    migrate(db);
    db.exec(`PRAGMA user_version = ${schemaVersion + 1}`);
    expect(() => migrate(db)).toThrow(
      expect.objectContaining({ code: "database_newer", message: expect.stringContaining(String(schemaVersion + 1)) }),
    );
    db.close();
  });

  test("a database of another program is refused", () => {
    const db = openDatabase(":memory:");
    db.exec("CREATE TABLE customers (id INTEGER)");
    expect(() => migrate(db)).toThrow(thrown("database_corrupt"));
    db.close();
  });
});
