// Owns how work on a real database is led step by step in virtual time: what has come is let go on one by one, in the order of asking,
// and virtual time stands still until everything under way has come or waits for a lock that only virtual time can free.
// What the work is belongs to replicas-base.ts.

export type Pump = {
  /** Real work begins. */
  readonly begin: () => Step;
  /** It has come to its end; resolves when what follows it may go on. */
  readonly end: (step: Step) => Promise<void>;
  /** Leads one step, from its asking until what follows it may go on. */
  readonly step: <T>(work: () => Promise<T>) => Promise<T>;
  /** Work beside the steps: nothing goes on until it has ended. It must wait for no lock. */
  readonly aside: <T>(work: () => Promise<T>) => Promise<T>;
  /** Waits until nothing moves any more. */
  readonly turn: () => Promise<void>;
};

/** Real work between two moments at which it is held until it is its turn. */
export type Step = { readonly number: number; isHere: boolean; letGo: () => void };

const immediate = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** A statement that takes longer than this is asked whether it waits for a lock. */
const patienceMs = 25;

/** `countWaiting` tells how many sessions wait for a lock at the moment. */
export function newPump(countWaiting: () => Promise<number>): Pump {
  const steps = new Set<Step>();
  let numbers = 0;
  let beside = 0;
  let news = 0;
  const begin = (): Step => {
    numbers += 1;
    const step: Step = { number: numbers, isHere: false, letGo: () => {} };
    steps.add(step);
    return step;
  };
  const end = (step: Step): Promise<void> =>
    new Promise((resolve) => {
      step.isHere = true;
      news += 1;
      step.letGo = resolve;
    });
  const isUnderWay = (): boolean => beside > 0 || [...steps].some(({ isHere }) => !isHere);
  /** True when everything that is under way waits for a lock. */
  const isStuck = async (): Promise<boolean> => {
    const before = news;
    const waiting = await countWaiting();
    const open = [...steps].filter(({ isHere }) => !isHere).length;
    return beside === 0 && news === before && waiting >= open;
  };
  const settleAll = async (): Promise<void> => {
    for (let since = performance.now(); isUnderWay(); ) {
      await immediate();
      if (performance.now() - since < patienceMs) continue;
      if (await isStuck()) return;
      await pause(1);
    }
  };
  return {
    begin,
    end,
    step: async (work) => {
      const step = begin();
      try {
        return await work();
      } finally {
        await end(step);
      }
    },
    aside: async (work) => {
      beside += 1;
      try {
        return await work();
      } finally {
        beside -= 1;
      }
    },
    turn: async () => {
      for (;;) {
        await immediate();
        await settleAll();
        const next = [...steps].filter(({ isHere }) => isHere).sort((a, b) => a.number - b.number)[0];
        if (next === undefined) return;
        steps.delete(next);
        next.letGo();
      }
    },
  };
}
