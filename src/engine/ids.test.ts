// Owns the tests of local ids: inferred dependencies, rewriting in the settling transaction, aliases, creations without an id.
// Leaves what counts as a mention to id.test.ts.
import { describe, expect, test } from "vitest";
import type { Bench } from "../../test/support/virtual-engine.ts";
import { applied, lost, refused, startBench } from "../../test/support/virtual-engine.ts";
import type { Json } from "../operation.ts";

const thrown = (code: string): unknown => expect.objectContaining({ code });
const created = { kind: "applied", serverId: "srv-7" } as const;

const pathOf = (payload: Json): readonly string[] =>
  typeof payload === "object" && payload !== null && "url" in payload ? String(payload.url).split("/") : [];

function startWithUrls(): Bench {
  return startBench({
    type: {
      mentions: pathOf,
      rewrite: (payload, serverIdOf) =>
        typeof payload === "object" && payload !== null && "url" in payload
          ? {
              ...payload,
              url: pathOf(payload)
                .map((part) => serverIdOf(part) ?? part)
                .join("/"),
            }
          : payload,
    },
  });
}

describe("local ids", () => {
  test("what mentions a local id waits for its creation and is sent with the server's id, wherever it is mentioned", async () => {
    const bench = startWithUrls();
    bench.answers.push(lost, created);
    const creation = bench.add({ payload: "create", creates: "local-1" });
    const child = bench.add({
      payload: { parent: "local-1", list: [{ deep: "local-1" }], text: "about local-1", url: "/notes/local-1/tags" },
      priority: 100,
    });
    expect(bench.get(child.id)).toMatchObject({ status: "pending", reason: "dependency" });
    await bench.run(10_000);
    expect(bench.sent.at(-1)?.input).toEqual({
      parent: "srv-7",
      list: [{ deep: "srv-7" }],
      text: "about local-1",
      url: "/notes/srv-7/tags",
    });
    expect(bench.get(creation.id).serverId).toBe("srv-7");
  });

  test("the old id stays an alias: a late mention is rewritten at its enqueue, also after a crash", async () => {
    const bench = startBench();
    bench.answers.push(created);
    bench.add({ creates: "local-1" });
    await bench.run();
    bench.crash();
    bench.add({ payload: { parent: "local-1" } });
    await bench.run();
    expect(bench.sent.at(-1)?.input).toEqual({ parent: "srv-7" });
    expect(bench.ask("ids.get", { localId: "local-1" })).toMatchObject({ serverId: "srv-7" });
    expect(() => bench.add({ creates: "local-1" })).toThrow(thrown("duplicate_local_id"));
  });

  test("a refused creation holds what mentions it; retried, both land", async () => {
    const bench = startBench();
    bench.answers.push(refused);
    const creation = bench.add({ payload: "create", creates: "local-1" });
    bench.add({ payload: { parent: "local-1" } });
    await bench.run();
    expect(bench.sent).toHaveLength(1);
    bench.answers.push(created);
    bench.ask("queue.retry", { ids: [creation.id] });
    await bench.run();
    expect(bench.sent.at(-1)?.input).toEqual({ parent: "srv-7" });
  });

  test("a creation that names no id parks what mentions it until a person names it", async () => {
    const bench = startBench();
    bench.answers.push(applied);
    bench.add({ payload: "create", creates: "local-1" });
    const child = bench.add({ payload: { parent: "local-1" } });
    await bench.run();
    expect(bench.get(child.id)).toMatchObject({ status: "failed", reason: "no_server_id" });
    expect(bench.ask("ids.assign", { localId: "local-1", serverId: "srv-9" }).rewritten).toBe(1);
    await bench.run();
    expect(bench.sent.at(-1)?.input).toEqual({ parent: "srv-9" });
    expect(() => bench.ask("ids.assign", { localId: "local-1", serverId: "other" })).toThrow(
      thrown("refused_by_state"),
    );
  });

  test("what is queued after a creation that named no id is parked as well, and goes once a person names it", async () => {
    const bench = startBench();
    bench.answers.push(applied);
    bench.add({ payload: "create", creates: "local-1" });
    await bench.run();
    const late = bench.add({ payload: { parent: "local-1" } });
    await bench.run();
    expect(bench.get(late.id)).toMatchObject({ status: "failed", reason: "no_server_id" });
    bench.ask("ids.assign", { localId: "local-1", serverId: "srv-9" });
    await bench.run();
    expect(bench.sent.at(-1)?.input).toEqual({ parent: "srv-9" });
  });

  test("an id named for a creation that was given up lets go what waited for the id, and not what was to come after it", async () => {
    const bench = startBench({ isStopped: true });
    const creation = bench.add({ payload: "create", creates: "local-1" });
    const child = bench.add({ payload: { parent: "local-1" } });
    const told = bench.add({ payload: { told: "local-1" }, after: [creation.id] });
    bench.ask("queue.cancel", { ids: [creation.id] });
    expect(bench.ask("queue.why", { id: child.id }).sentence).toMatch(/will never land: detach it or cancel it too\.$/);
    bench.ask("ids.assign", { localId: "local-1", serverId: "srv-9" });
    bench.engine.start();
    await bench.run();
    expect(bench.order()).toEqual([{ parent: "srv-9" }]);
    expect(bench.get(told.id)).toMatchObject({ status: "pending", reason: "dependency" });
    expect(bench.ask("engine.check", {}).findings).toEqual([]);
  });

  test("a local id never goes out: detached from its creation, the operation is parked with the reason", async () => {
    const bench = startBench();
    bench.answers.push(refused);
    bench.add({ payload: "create", creates: "local-1" });
    const child = bench.add({ payload: { parent: "local-1" } });
    await bench.run();
    bench.ask("queue.detach", { id: child.id });
    await bench.run();
    expect(bench.sent).toHaveLength(1);
    expect(bench.get(child.id).reason).toBe("no_server_id");
  });

  test("a cancelled creation frees its local id for another one", async () => {
    const bench = startBench({ isStopped: true });
    const first = bench.add({ creates: "local-1" });
    bench.ask("queue.cancel", { ids: [first.id] });
    expect(bench.add({ creates: "local-1" }).isNew).toBe(true);
  });

  test("created anew, a local id is waited for at its new creation; of a removed one the operation says so", async () => {
    const bench = startBench({ isStopped: true });
    const first = bench.add({ payload: "create", creates: "local-1" });
    const child = bench.add({ payload: { parent: "local-1" } });
    bench.ask("queue.cancel", { ids: [first.id] });
    bench.add({ payload: "create again", creates: "local-1" });
    const gone = bench.add({ payload: "gone", creates: "local-2" });
    bench.ask("queue.remove", { ids: [gone.id], confirm: true });
    const orphan = bench.add({ payload: { parent: "local-2" } });
    bench.answers.push(created);
    bench.engine.start();
    await bench.run();
    expect(bench.order()).toEqual(["create again", { parent: "srv-7" }]);
    expect(bench.get(child.id).status).toBe("completed");
    expect(bench.get(orphan.id)).toMatchObject({ status: "failed", reason: "no_server_id" });
    expect(bench.ask("engine.check", {}).findings).toEqual([]);
  });

  test("an edit that brings in a local id makes the operation wait for it", async () => {
    const bench = startBench({ isStopped: true });
    const child = bench.add({ payload: { parent: null } });
    bench.add({ payload: "create", creates: "local-1" });
    bench.ask("queue.edit", { id: child.id, payload: { parent: "local-1" } });
    bench.answers.push(created);
    bench.engine.start();
    await bench.run();
    expect(bench.order()).toEqual(["create", { parent: "srv-7" }]);
  });
});
