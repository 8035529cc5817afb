/**
 * Owns taking turns: what belongs to one lane runs one after the other in this process, in the order in which it was asked for.
 * Order among queued operations is the engine's.
 */

export type TakeTurn = <T>(lane: string | null, signal: AbortSignal, task: () => Promise<T>) => Promise<T>;

/** Makes turns that are taken per lane; without a lane, a task runs at once. */
export function laneTurns(): TakeTurn {
  const last = new Map<string, Promise<void>>();
  return async (lane, signal, task) => {
    if (lane === null) return task();
    const before = last.get(lane);
    let pass = (): void => {};
    const mine = new Promise<void>((resolve) => {
      pass = resolve;
    });
    // Who gives up still holds the place until those before are through, so that those behind do not jump ahead.
    const through = Promise.all([before, mine]).then(() => {
      if (last.get(lane) === through) last.delete(lane);
    });
    last.set(lane, through);
    try {
      await untilTurn(before, signal);
      return await task();
    } finally {
      pass();
    }
  };
}

function untilTurn(before: Promise<void> | undefined, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  if (before === undefined) return Promise.resolve();
  return new Promise((resolve, reject) => {
    const stop = (): void => reject(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
    before.then(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    });
  });
}
