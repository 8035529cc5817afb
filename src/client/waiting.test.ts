// Proves that signals are joined for one wait and let go after it. Leaves who waits for what to the files beside.
import { expect, test, vi } from "vitest";
import { delay, linkSignals, orAborted } from "./waiting.ts";

test("the first signal aborts the joined one with its reason, the time limit without being taken for a signal", async () => {
  const [first, second] = [new AbortController(), new AbortController()];
  const linked = linkSignals([first.signal, undefined, second.signal], 60_000);
  second.abort("enough");
  expect([linked.signal.aborted, linked.signal.reason, linked.isLate()]).toEqual([true, "enough", false]);
  linked.release();
  const late = linkSignals([first.signal], 1);
  await expect.poll(() => late.isLate()).toBe(true);
  expect(late.signal.aborted).toBe(true);
  expect(linkSignals([AbortSignal.abort("before")], null).signal.reason).toBe("before");
});

test("a released signal hears nothing more and holds no timer", () => {
  vi.useFakeTimers();
  const source = new AbortController();
  const linked = linkSignals([source.signal], 2 ** 40);
  expect(vi.getTimerCount()).toBe(1);
  linked.release();
  source.abort();
  expect([vi.getTimerCount(), linked.signal.aborted]).toEqual([0, false]);
  vi.useRealTimers();
});

test("waiting for a time longer than a timer can hold does not end at once", async () => {
  const linked = linkSignals([], 2 ** 40);
  await delay(20, undefined);
  expect(linked.isLate()).toBe(false);
  linked.release();
});

test("a wait leaves no listener behind, however it ends", async () => {
  const source = new AbortController();
  const add = vi.spyOn(source.signal, "addEventListener");
  const remove = vi.spyOn(source.signal, "removeEventListener");
  await orAborted(Promise.resolve(1), "a test", source.signal);
  await expect(orAborted(Promise.reject(new Error("x")), "a test", source.signal)).rejects.toThrow("x");
  await delay(1, source.signal);
  expect(remove.mock.calls.length).toBe(add.mock.calls.length);
});

test("a wait that was over before it began holds no timer", () => {
  vi.useFakeTimers();
  linkSignals([AbortSignal.abort("before")], 60_000);
  expect(vi.getTimerCount()).toBe(0);
  vi.useRealTimers();
});
