// Owns the tests of what an answer does: retries, parking, conflicts, credentials, keys, and what a person does then.
// Leaves the judgement of failures to failure.test.ts and order to lanes.test.ts.
import { describe, expect, test } from "vitest";
import {
  applied,
  conflicting,
  failed,
  lost,
  refused,
  remote,
  silent,
  startBench,
  unauthorized,
} from "../../test/support/virtual-engine.ts";
import type { Answer } from "../operation.ts";

const thrown = (code: string): unknown => expect.objectContaining({ code });

describe("a batch that runs into its time limit", () => {
  test("keeps the answers that have come, and knows nothing of the rest", async () => {
    const batches: number[] = [];
    const bench = startBench({
      type: {
        timeoutMs: 1_000,
        runBatch: {
          max: 10,
          run: (attempts, tell) => {
            batches.push(attempts.length);
            if (batches.length > 1) return Promise.resolve(attempts.map(() => applied));
            tell(0, applied);
            tell(1, refused);
            return new Promise(() => {});
          },
        },
      },
    });
    const ids = ["a", "b", "c"].map((payload) => bench.add({ payload }).id);
    await bench.run(60_000);
    expect(batches).toEqual([3, 1]);
    const [first, second, third] = ids.map((id) => bench.get(id));
    expect(first).toMatchObject({ status: "completed", attempts: 1 });
    expect(second).toMatchObject({ status: "failed", reason: "rejected", attempts: 1 });
    expect(third).toMatchObject({ status: "completed", attempts: 2 });
  });
});

describe("retries", () => {
  test("a failed operation waits 1 s, 2 s, 4 s and is parked when its budget is spent", async () => {
    const bench = startBench();
    bench.answers.push(failed, failed, failed, failed);
    const { id } = bench.add({ retry: { maxAttempts: 4, initialMs: 1_000, jitter: 0 } });
    await bench.run(20_000);
    const times = bench.sent.map((each) => each.at);
    expect(times.slice(1).map((time, index) => Math.round((time - (times[index] ?? 0)) / 100) / 10)).toEqual([1, 2, 4]);
    expect(bench.get(id)).toMatchObject({ status: "failed", reason: "gave_up", attempts: 4, failures: 4 });
  });

  test("a preset means what the settings make of it, for types and for single operations", async () => {
    const bench = startBench();
    bench.ask("settings.set", {
      retry: "lock",
      retryPresets: { lock: { maxAttempts: 2 }, transfer: { maxAttempts: 1 } },
    });
    const inherited = bench.add();
    const own = bench.add({ retry: "transfer" });
    expect(bench.get(inherited.id).retry).toEqual({ maxAttempts: 2, initialMs: 1_000, maxMs: 15_000, jitter: 0.2 });
    expect(bench.get(own.id).retry).toMatchObject({ maxAttempts: 1, maxMs: 30_000 });
    bench.answers.push(failed, failed, failed);
    await bench.run(20_000);
    expect(bench.get(inherited.id)).toMatchObject({ reason: "gave_up", failures: 2 });
    expect(bench.get(own.id)).toMatchObject({ reason: "gave_up", failures: 1 });
  });

  test("no answer and a refused token charge nothing, whatever their number", async () => {
    const bench = startBench();
    bench.answers.push(...Array.from({ length: 12 }, () => silent), unauthorized);
    const { id } = bench.add({ retry: { maxAttempts: 1 } });
    await bench.run(1_500_000);
    expect(bench.get(id)).toMatchObject({ status: "completed", failures: 0 });
  });

  test("what may have landed goes again under the same key", async () => {
    const bench = startBench();
    bench.answers.push(lost);
    const { id } = bench.add();
    await bench.run(1);
    expect(bench.get(id)).toMatchObject({ mayHaveLanded: true, reason: "network" });
    await bench.run(10_000);
    expect(bench.sent.map((each) => each.key)).toEqual([id, id]);
    expect(bench.get(id).mayHaveLanded).toBe(false);
  });

  test("a pause that the remote asks for is kept, for everything that goes there", async () => {
    const bench = startBench();
    bench.answers.push({
      kind: "retry",
      problem: { code: "http_429", message: "slow down", status: 429 },
      afterMs: 30_000,
      isCharged: false,
      scope: "remote",
    });
    const { id } = bench.add();
    await bench.run(100);
    const other = bench.add();
    await bench.run(29_000);
    expect(bench.sent).toHaveLength(1);
    expect(bench.get(id).mayHaveLanded).toBe(false);
    expect(bench.ask("queue.why", { id: other.id }).blockers[0]?.kind).toBe("paced");
    await bench.run(5_000);
    expect(bench.get(id)).toMatchObject({ status: "completed", failures: 0 });
    expect(bench.get(other.id).status).toBe("completed");
  });

  test.for([
    ["nothing to do: it is sent again by itself", "`holdfast queue retry` tries it again"],
    [undefined, "`holdfast queue retry` tries it again"],
    ["check the URL", "check the URL; `holdfast queue retry` tries it again"],
  ])("given up, it promises no attempt that will not come: %o", async ([hint, told]) => {
    const bench = startBench();
    bench.answers.push({ ...failed, problem: { code: "x", message: "it failed", ...(hint && { hint }) } } as Answer);
    const { id } = bench.add({ retry: { maxAttempts: 1 } });
    await bench.run();
    expect(bench.get(id).problem).toMatchObject({ message: "gave up after 1 attempt: it failed", hint: told });
  });

  test.for(["remote", "operation"] as const)("a %s that asks for no wait at all is not hammered", async (scope) => {
    const bench = startBench();
    const problem = { code: "rate_limited", message: "wait", status: 429 };
    const paced = { kind: "retry", problem, isCharged: false, scope, afterMs: 0 } as const;
    bench.answers.push(...Array.from({ length: 1_000 }, () => paced));
    const { id } = bench.add({ retry: { maxAttempts: 4, initialMs: 1_000, maxMs: 60_000, jitter: 0 } });
    await bench.run(120_000);
    expect(bench.sent.length).toBeLessThan(10);
    expect(bench.get(id)).toMatchObject({ status: "pending", reason: "paced", failures: 0 });
  });

  test("retrying a definite refusal mints a new key, retrying anything else keeps it", async () => {
    const bench = startBench();
    bench.answers.push(refused, applied, failed);
    const first = bench.add({ payload: 1 });
    await bench.run();
    bench.ask("queue.retry", { ids: [first.id] });
    await bench.run();
    const second = bench.add({ payload: 2, retry: { maxAttempts: 1 } });
    await bench.run();
    bench.ask("queue.retry", {});
    await bench.run();
    expect(bench.sent.map((each) => each.key)).toEqual([first.id, `${first.id}-1`, second.id, second.id]);
  });

  test("a refusal that proves nothing about an effect keeps the key and the doubt", async () => {
    const bench = startBench();
    const unproven = {
      kind: "rejected",
      problem: { code: "file_changed", message: "no" },
      mayHaveLanded: true,
    } as const;
    bench.answers.push(lost, unproven, applied);
    const { id } = bench.add();
    await bench.run(60_000);
    expect(bench.get(id)).toMatchObject({ reason: "rejected", mayHaveLanded: true });
    bench.ask("queue.retry", { ids: [id] });
    await bench.run(1_000);
    expect(new Set(bench.sent.map((each) => each.key))).toEqual(new Set([id]));
  });

  test("a handler that throws, answers nonsense or never ends costs an attempt or nothing, never the operation", async () => {
    const bench = startBench({ type: { timeoutMs: 1_000 } });
    bench.answers.push(
      () => {
        throw new Error("boom");
      },
      () => "nonsense" as never,
      () => ({ kind: "rejected" }) as never,
      () => new Promise(() => {}),
    );
    const { id } = bench.add({ retry: { initialMs: 10, jitter: 0 } });
    await bench.run(20_000);
    expect(bench.get(id)).toMatchObject({ status: "completed", attempts: 5, failures: 3 });
  });
});

describe("parked operations", () => {
  test("an edited operation goes again with its new payload under a new key", async () => {
    const bench = startBench();
    bench.answers.push(refused);
    const { id } = bench.add({ payload: "wrong" });
    await bench.run();
    const { revision } = bench.get(id);
    bench.ask("queue.edit", { id, payload: "right", revision });
    expect(() => bench.ask("queue.edit", { id, payload: "late", revision })).toThrow(thrown("stale_revision"));
    bench.ask("queue.retry", { ids: [id] });
    await bench.run();
    expect(bench.sent[1]).toMatchObject({ input: "right" });
    expect(bench.sent[1]?.key).not.toBe(id);
    expect(bench.get(id).status).toBe("completed");
  });

  test("a payload that may have landed is edited only by force", async () => {
    const bench = startBench();
    bench.answers.push(lost);
    const { id } = bench.add({ payload: 1 });
    await bench.run(1);
    expect(() => bench.ask("queue.edit", { id, payload: 2 })).toThrow(thrown("maybe_landed"));
    bench.ask("queue.edit", { id, payload: 2, force: true });
    await bench.run(10_000);
    expect(bench.sent.map((each) => each.key)).toEqual([id, `${id}-1`]);
  });

  test("what must never repeat asks a person after a crash, all else goes again under its key", async () => {
    const bench = startBench();
    bench.answers.push(
      () => new Promise(() => {}),
      () => new Promise(() => {}),
    );
    const asking = bench.add({ payload: "ask", onCrash: "ask" });
    const resending = bench.add({ payload: "resend" });
    await bench.run();
    bench.crash();
    await bench.run();
    expect(bench.get(asking.id)).toMatchObject({ status: "failed", reason: "unsure", mayHaveLanded: true });
    expect(bench.get(resending.id).status).toBe("completed");
    expect(bench.sent.filter((each) => each.id === resending.id).map((each) => each.key)).toEqual([
      resending.id,
      resending.id,
    ]);
  });

  test("one refused id of a bulk request leaves the others done and itself untouched", async () => {
    const bench = startBench();
    bench.answers.push(refused);
    const { id } = bench.add();
    const done = bench.add();
    await bench.run();
    const answer = bench.ask("queue.retry", { ids: [done.id, id, "ffff0000"] });
    expect(answer.done).toEqual([id]);
    expect(answer.refused.map((each) => each.code)).toEqual(["refused_by_state", "not_found"]);
  });
});

describe("credentials", () => {
  test("a refused token holds that subject at that remote and nobody else, until it signs in again", async () => {
    const bench = startBench();
    bench.answers.push(unauthorized);
    const anna = bench.add({ payload: "anna 1", subject: "anna" });
    await bench.run();
    bench.add({ payload: "anna 2", subject: "anna" });
    bench.add({ payload: "ben", subject: "ben" });
    await bench.run(30_000);
    expect(bench.order()).toEqual(["anna 1", "ben"]);
    expect(bench.ask("queue.why", { id: anna.id }).blockers[0]?.kind).toBe("auth");
    bench.ask("subject.signIn", { subject: "anna" });
    await bench.run();
    expect(bench.order()).toEqual(["anna 1", "ben", "anna 1", "anna 2"]);
    expect(bench.get(anna.id).failures).toBe(0);
  });

  test("a refusal after a silence waits for credentials like any other, and the operation keeps its doubt and its key", async () => {
    const refused = { code: "unauthorized", message: "the token has expired", status: 401 };
    for (const problem of [refused, { code: "credential_missing", message: "there is none yet" }]) {
      const bench = startBench();
      bench.answers.push({ kind: "auth", problem, mayHaveLanded: true });
      const { id } = bench.add({ subject: "anna" });
      await bench.run(100);
      expect(bench.get(id)).toMatchObject({ reason: "auth", failures: 0, mayHaveLanded: true });
      bench.answers.push({ kind: "auth", problem });
      bench.ask("subject.signIn", { subject: "anna" });
      await bench.run(100);
      expect(bench.get(id)).toMatchObject({ reason: "auth", mayHaveLanded: true, idempotencyKey: id });
      bench.ask("subject.signIn", { subject: "anna" });
      await bench.run();
      expect(bench.get(id)).toMatchObject({ status: "completed", failures: 0 });
    }
  });

  test("a refused token is not shown again at once because the clock was put back", async () => {
    const bench = startBench();
    bench.answers.push(...Array.from({ length: 40 }, () => unauthorized));
    bench.add();
    await bench.run();
    bench.machine.wallClock.jump(-30 * 86_400_000);
    bench.add();
    await bench.run(30_000);
    expect(bench.sent.length).toBeLessThanOrEqual(4);
  });

  test("a signed-out subject's operations stay and are sent by nobody", async () => {
    const bench = startBench();
    bench.ask("subject.signOut", { subject: "anna" });
    const { id } = bench.add({ subject: "anna" });
    bench.add({ payload: "ben", subject: "ben" });
    await bench.run(10_000_000);
    expect(bench.order()).toEqual(["ben"]);
    expect(bench.get(id).status).toBe("pending");
    expect(bench.ask("queue.status", {}).signedOut).toMatchObject([{ subject: "anna", pending: 1 }]);
  });

  test("a missing credential holds only the operation that names it", async () => {
    const bench = startBench();
    bench.answers.push({
      kind: "auth",
      problem: { code: "credential_missing", message: 'there is no credential "api" yet' },
    });
    const { id } = bench.add({ payload: 1 });
    bench.add({ payload: 2 });
    await bench.run();
    expect(bench.order()).toEqual([1, 2]);
    expect(bench.get(id)).toMatchObject({ status: "pending", reason: "auth", failures: 0 });
    bench.ask("subject.signIn", { subject: "" });
    await bench.run();
    expect(bench.get(id).status).toBe("completed");
  });

  const missing = { kind: "auth", problem: { code: "credential_missing", message: "there is none yet" } } as const;

  test("fresh credentials end a missing one and a refused one alike", async () => {
    const bench = startBench();
    bench.answers.push(missing, unauthorized);
    const ids = [bench.add({ payload: 1 }).id, bench.add({ payload: 2 }).id];
    await bench.run();
    bench.ask("subject.signIn", { subject: "" });
    await bench.run();
    expect(ids.map((id) => bench.get(id).status)).toEqual(["completed", "completed"]);
  });

  test("who asks for a sync need not wait until a missing credential is looked for again", async () => {
    const bench = startBench();
    bench.answers.push(missing);
    const { id } = bench.add({ payload: 1 });
    await bench.run();
    bench.ask("sync.run", {});
    await bench.run();
    expect(bench.get(id).status).toBe("completed");
  });
});

describe("conflicts", () => {
  test("by default a conflict is parked with both sides, and each side can be chosen", async () => {
    for (const choose of ["local", "remote"] as const) {
      const bench = startBench();
      bench.answers.push(conflicting);
      const { id } = bench.add({ payload: { title: "ours" } });
      await bench.run();
      expect(bench.get(id)).toMatchObject({ status: "failed", reason: "conflict", remoteVersion: { title: "theirs" } });
      expect(bench.ask("queue.status", {}).conflicts).toBe(1);
      bench.ask("queue.resolve", { ids: [id], choose });
      await bench.run();
      const end =
        choose === "local"
          ? { status: "completed", outcome: "applied" }
          : { outcome: "superseded", result: { title: "theirs" } };
      expect(bench.get(id)).toMatchObject(end);
      expect(bench.sent).toHaveLength(choose === "local" ? 2 : 1);
    }
  });

  test("a merge by hand is sent under a new key", async () => {
    const bench = startBench();
    bench.answers.push(conflicting);
    const { id } = bench.add({ payload: { title: "ours" } });
    await bench.run();
    bench.ask("queue.resolve", { ids: [id], choose: "merge", payload: { title: "both" } });
    await bench.run();
    expect(bench.sent[1]).toMatchObject({ input: { title: "both" }, key: `${id}-1` });
  });

  test("the strategy of the operation goes before that of its type, and that before the one for all", async () => {
    const bench = startBench({
      type: { merge: (_local, theirs) => ({ merged: theirs }), resend: (local) => ({ again: local }) },
      settings: { conflict: "remote_wins", conflictByType: { note: "merge" } },
    });
    bench.answers.push(conflicting, conflicting);
    bench.add({ payload: "by type" });
    bench.add({ payload: "by operation", conflict: "local_wins" });
    await bench.run();
    expect(bench.order().slice(2)).toEqual([{ merged: { etag: "2", title: "theirs" } }, { again: "by operation" }]);
    bench.ask("settings.set", { conflictByType: {} });
    bench.answers.push(conflicting);
    const last = bench.add({ payload: "for all" });
    await bench.run();
    expect(bench.get(last.id).outcome).toBe("superseded");
  });

  test("a strategy set at run time for a type goes before the one that the type declares, also for what waits already", async () => {
    const bench = startBench({ type: { conflict: "manual" } });
    bench.answers.push(conflicting);
    const { id } = bench.add();
    bench.ask("settings.set", { conflictByType: { note: "remote_wins" } });
    await bench.run();
    expect(bench.get(id)).toMatchObject({ conflict: null, outcome: "superseded" });
  });

  test("a conflict that no rule settles ends with a person, not in a loop", async () => {
    const bench = startBench({ settings: { conflict: "local_wins" } });
    bench.answers.push(...Array.from({ length: 20 }, () => conflicting));
    const { id } = bench.add();
    await bench.run(10_000);
    expect(bench.sent).toHaveLength(4);
    expect(bench.get(id)).toMatchObject({ status: "failed", reason: "conflict" });
  });

  test("what depends on a conflict waits for its resolution and then goes", async () => {
    const bench = startBench();
    bench.answers.push(conflicting);
    const { id } = bench.add({ payload: 1 });
    const child = bench.add({ payload: 2, after: [id] });
    await bench.run();
    bench.ask("queue.resolve", { ids: [id], choose: "remote" });
    await bench.run();
    expect(bench.get(child.id).status).toBe("completed");
  });
});

test("every attempt is in the history with its answer and reason", async () => {
  const bench = startBench();
  bench.answers.push(failed, silent);
  const { id } = bench.add({ retry: { initialMs: 10, jitter: 0 } });
  await bench.run(10_000);
  const entries = bench.ask("queue.history", { id }).entries;
  expect(entries.map((entry) => entry.kind)).toEqual(["attempt", "attempt", "settled"]);
  expect(entries[0]?.detail).toMatchObject({ attempt: 1, answer: "retry", problem: { code: "http_500" } });
  expect(entries[1]?.detail).toMatchObject({ attempt: 2, answer: "unknown" });
  expect(bench.get(id).remote).toBe(remote);
});
