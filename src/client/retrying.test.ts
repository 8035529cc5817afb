// Proves retries in the foreground: schedule, caps, words and what ends them. Leaves the schedule's numbers to retry.test.ts.
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { HoldfastError } from "../errors.ts";
import { rejected, retryLater } from "../reply.ts";
import type { AttemptReport } from "./retrying.ts";
import { retrying } from "./retrying.ts";

beforeEach(() => vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] }));
afterEach(() => vi.useRealTimers());

const exact = { maxAttempts: 5, initialMs: 1_000, maxMs: 15_000, jitter: 0 };

/** A task that fails `times` times with `error`. */
function failing(times: number, error: unknown = new Error("busy")) {
  let calls = 0;
  return async () => {
    calls += 1;
    if (calls <= times) throw error;
    return calls;
  };
}

async function play<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {});
  await vi.runAllTimersAsync();
  return promise;
}

test("a failed attempt waits 1 s, 2 s, 4 s, and says so, as does the success", async () => {
  const messages: string[] = [];
  const task = retrying(exact, failing(3), { onAttempt: ({ message }) => messages.push(message) });
  expect(await play(task)).toBe(4);
  expect(messages).toEqual([
    "Attempt 1 failed: busy. Retrying in 1.0 s (4/5 remaining)",
    "Attempt 2 failed: busy. Retrying in 2.0 s (3/5 remaining)",
    "Attempt 3 failed: busy. Retrying in 4.0 s (2/5 remaining)",
    "Succeeded after 4 attempts in 7.0 s",
  ]);
});

test("a first success says nothing", async () => {
  const reports: AttemptReport[] = [];
  expect(await play(retrying("lock", () => 7, { onAttempt: (report) => reports.push(report) }))).toBe(7);
  expect(reports).toEqual([]);
});

test("the last attempt's own error is thrown when the budget is spent", async () => {
  const error = new Error("busy");
  const reports: AttemptReport[] = [];
  await expect(play(retrying(exact, failing(9, error), { onAttempt: (report) => reports.push(report) }))).rejects.toBe(
    error,
  );
  expect(reports.map(({ outcome }) => outcome)).toEqual(["retrying", "retrying", "retrying", "retrying", "gave_up"]);
});

const permanent = [
  new HoldfastError("not_found", "gone", ""),
  Object.assign(new Error("forbidden"), { status: 403 }),
  rejected("no"),
];
test.each(permanent)("what no retry can help is not retried: %s", async (error) => {
  const task = vi.fn(failing(1, error));
  await expect(play(retrying(exact, task))).rejects.toBe(error);
  expect(task).toHaveBeenCalledTimes(1);
});

test.each([408, 425, 429, 500, 503])("status %d may pass and is retried", async (status) => {
  expect(await play(retrying(exact, failing(1, Object.assign(new Error("later"), { status }))))).toBe(2);
});

test("a wish of the remote is waited for when it is longer than the schedule", async () => {
  const waits: (number | null)[] = [];
  const task = retrying(exact, failing(1, retryLater("slow down", 7_000)), {
    onAttempt: ({ delayMs }) => waits.push(delayMs),
  });
  expect(await play(task)).toBe(2);
  expect(waits[0]).toBe(7_000);
});

test("the cap ends a task that hangs, and gives it the signal", async () => {
  let isTold = false;
  const hanging = retrying(
    exact,
    ({ signal }) =>
      new Promise(() => {
        signal.addEventListener("abort", () => {
          isTold = true;
        });
      }),
    { totalMs: 30_000 },
  );
  await expect(play(hanging)).rejects.toMatchObject({ code: "timed_out" });
  expect(isTold).toBe(true);
  expect(vi.getTimerCount()).toBe(0);
});

test("no wait is begun that the cap would cut: one is told at once", async () => {
  const began = performance.now();
  const error = new Error("busy");
  const task = retrying({ ...exact, initialMs: 10_000 }, failing(9, error), { totalMs: 25_000 });
  await expect(play(task)).rejects.toMatchObject({
    code: "timed_out",
    cause: error,
    message: expect.stringContaining("gave up after 2 attempts"),
  });
  expect(performance.now() - began).toBe(10_000);
});

test("an abort ends the wait at once", async () => {
  const abort = new AbortController();
  const task = retrying(exact, failing(9), { signal: abort.signal });
  task.catch(() => {});
  await vi.advanceTimersByTimeAsync(500);
  abort.abort();
  await expect(task).rejects.toMatchObject({ code: "aborted" });
  expect(vi.getTimerCount()).toBe(0);
});

test("a signal that has aborted before lets nothing run", async () => {
  const task = vi.fn();
  await expect(retrying(exact, task, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "aborted" });
  expect(task).not.toHaveBeenCalled();
});

test("a wrong preset or option is a TypeError", async () => {
  await expect(retrying("locks" as never, () => 1)).rejects.toThrow('no preset is called "locks"');
  await expect(retrying("lock", () => 1, { total: 1 } as never)).rejects.toThrow('did you mean "totalMs"?');
});

test("a listener that throws does not make a task that succeeded run again", async () => {
  let runs = 0;
  const task = (): string => {
    runs += 1;
    if (runs === 1) throw new Error("not yet");
    return "done";
  };
  const onAttempt = ({ outcome }: { readonly outcome: string }): void => {
    if (outcome === "succeeded") throw new Error("no console");
  };
  await expect(play(retrying(exact, task, { onAttempt }))).rejects.toThrow("no console");
  expect(runs).toBe(2);
});
