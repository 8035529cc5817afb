/**
 * Owns virtual time: a queue of tasks that run one after the other, each followed by everything that its promises set off.
 * What the tasks do is left to the virtual world and to the test; no real clock takes part, so a day passes in microseconds.
 */

export type Scheduler = {
  /** Virtual milliseconds since the beginning; only grows. */
  readonly elapsed: () => number;
  /** Runs `task` after `delayMs`; tasks of one instant run in the order in which they were asked for. Returns its cancellation. */
  readonly after: (delayMs: number, task: () => void) => () => void;
  /** Moves time to the next task, runs it and lets its promises settle; false when there is none. */
  readonly runNext: () => Promise<boolean>;
  /** Runs everything that is due within `spanMs`, then stands exactly `spanMs` later. */
  readonly runFor: (spanMs: number) => Promise<void>;
  /** Runs until `isDone` answers true or `spanMs` have passed; tells whether it did. */
  readonly runUntil: (isDone: () => boolean, spanMs: number) => Promise<boolean>;
  /** Milliseconds until the next task; null when there is none. */
  readonly nextIn: () => number | null;
  /** Lets promises settle without moving time. */
  readonly settle: () => Promise<void>;
};

type Task = { readonly at: number; readonly order: number; run: (() => void) | null };

/**
 * Makes a timeline of its own. `turn` waits until no promise can move any more; the default is one turn of the event loop.
 * @example
 * const time = newScheduler();
 * time.after(1000, () => console.log("one second"));
 * await time.runFor(1000);
 */
export function newScheduler(turn: () => Promise<void> = eventLoopTurn): Scheduler {
  const heap: Task[] = [];
  let elapsed = 0;
  let order = 0;

  const peek = (): Task | undefined => {
    while (heap[0] !== undefined && heap[0].run === null) popTask(heap);
    return heap[0];
  };
  const runNext = async (): Promise<boolean> => {
    const task = peek();
    if (task === undefined) return false;
    popTask(heap);
    elapsed = Math.max(elapsed, task.at);
    task.run?.();
    await turn();
    return true;
  };
  const runUntil = async (isDone: () => boolean, spanMs: number): Promise<boolean> => {
    const end = elapsed + spanMs;
    while (!isDone()) {
      const task = peek();
      if (task === undefined || task.at > end) return false;
      await runNext();
    }
    return true;
  };
  return {
    elapsed: () => elapsed,
    after: (delayMs, run) => {
      const task: Task = { at: elapsed + Math.max(0, delayMs), order, run };
      order += 1;
      pushTask(heap, task);
      return () => {
        task.run = null;
      };
    },
    runNext,
    runFor: async (spanMs) => {
      const end = elapsed + spanMs;
      await turn();
      await runUntil(() => false, spanMs);
      elapsed = end;
    },
    runUntil,
    nextIn: () => {
      const task = peek();
      return task === undefined ? null : Math.max(0, task.at - elapsed);
    },
    settle: turn,
  };
}

const immediate = (globalThis as { setImmediate?: (run: () => void) => unknown }).setImmediate;

/**
 * All promise reactions run before the event loop's next turn, however long their chain: one turn is a complete drain.
 * Browsers have no immediates; a timer is the same, only slower.
 */
function eventLoopTurn(): Promise<void> {
  return new Promise((resolve) => {
    if (immediate === undefined) setTimeout(resolve, 0);
    else immediate(resolve);
  });
}

const isBefore = (a: Task, b: Task): boolean => a.at < b.at || (a.at === b.at && a.order < b.order);

function pushTask(heap: Task[], task: Task): void {
  let index = heap.length;
  heap.push(task);
  while (index > 0) {
    const parent = (index - 1) >> 1;
    const above = heap[parent] as Task;
    if (!isBefore(task, above)) break;
    heap[index] = above;
    index = parent;
  }
  heap[index] = task;
}

function popTask(heap: Task[]): void {
  const last = heap.pop();
  if (last === undefined || heap.length === 0) return;
  let index = 0;
  for (;;) {
    const left = 2 * index + 1;
    if (left >= heap.length) break;
    const right = left + 1;
    const child = right < heap.length && isBefore(heap[right] as Task, heap[left] as Task) ? right : left;
    if (!isBefore(heap[child] as Task, last)) break;
    heap[index] = heap[child] as Task;
    index = child;
  }
  heap[index] = last;
}
