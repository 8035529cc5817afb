// Owns the table of bars: what each figure must reach to land and what it aims at, and where its measurement is.
// Leaves the measuring to the files p1 to p12.

export type Limit = { readonly must: number; readonly moonshot: number; readonly is: "at least" | "at most" };

export type Bar = {
  readonly name: string;
  readonly title: string;
  readonly file: string;
  /** Durability is measured with a slow disk as well. */
  readonly isDurable: boolean;
};

export const bars: readonly Bar[] = [
  { name: "P1", title: "durable enqueue, one caller / raw insert", file: "p1-enqueue.ts", isDurable: true },
  { name: "P2", title: "100 concurrent callers / one caller", file: "p2-concurrent.ts", isDurable: true },
  { name: "P3", title: "100 operations in one request / raw batch of 100", file: "p3-batch.ts", isDurable: true },
  { name: "P4", title: "claim of 50 at a million / at a thousand", file: "p4-claim.ts", isDurable: false },
  { name: "P5", title: "enqueue at a million / at a hundred", file: "p5-depth.ts", isDurable: false },
  { name: "P6", title: "restart after kill -9 to first claim", file: "p6-restart.ts", isDurable: false },
  { name: "P7", title: "push in batches of 100 / plain fetch", file: "p7-push-batch.ts", isDurable: true },
  { name: "P8", title: "push one by one, 8 in flight / undici", file: "p8-push-single.ts", isDurable: true },
  { name: "P9", title: "pull of 100,000 rows / lines into SQLite", file: "p9-pull.ts", isDurable: true },
  { name: "P10", title: "records: put, get, live / by hand", file: "p10-records.ts", isDurable: true },
  { name: "P12", title: "enqueue through the daemon / in process", file: "p12-daemon.ts", isDurable: true },
  { name: "S1", title: "push through several server processes / one", file: "push-processes.ts", isDurable: false },
  { name: "S2", title: "poke to 1,000 streams / to one", file: "fan-out.ts", isDurable: false },
  { name: "S3", title: "server by spaces, records and writers", file: "server-cost.ts", isDurable: false },
  { name: "S4", title: "pushes to one space by its clients", file: "one-space.ts", isDurable: false },
];

const atLeast = (must: number, moonshot: number): Limit => ({ must, moonshot, is: "at least" });
const atMost = (must: number, moonshot: number): Limit => ({ must, moonshot, is: "at most" });

/** By the key of a figure; a key with "+5ms" is the limit for the slow disk where it differs. */
export const limits: Readonly<Record<string, Limit>> = {
  P1: atLeast(0.6, 0.75),
  P2: atLeast(8, 12),
  "P2+5ms": atLeast(40, 75),
  P3: atLeast(0.3, 0.5),
  P4: atMost(3, 2),
  "P4-seed": atLeast(100, 250),
  P5: atMost(1.5, 1.2),
  P6: atMost(2, 1.2),
  "P6-memory": atMost(1.2, 1.05),
  P7: atLeast(0.5, 0.8),
  P8: atLeast(0.4, 0.8),
  P9: atLeast(0.4, 0.55),
  "P9-memory": atMost(1.3, 1.1),
  // Decision 0022: what a disk that syncs at once leaves to be measured is the work beside it, and that is held where it stands.
  "P10-put": atMost(3, 1.5),
  "P10-put+5ms": atMost(1.5, 1.2),
  "P10-get": atMost(3, 1.5),
  "P10-live": atMost(4, 1.5),
  "P10-live+5ms": atMost(1.5, 1),
  P12: atLeast(0.15, 0.3),
  // Everything shares the cores of one machine here: more processes must not cost, and can win only what one leaves idle.
  S1: atLeast(0.7, 1.3),
  S2: atMost(20, 5),
  "S3-pull": atMost(2, 1.3),
  "S3-push": atLeast(0.5, 0.8),
  S4: atLeast(1.5, 3),
};

export function limitOf(key: string, isSlowDisk: boolean): Limit {
  const limit = (isSlowDisk ? limits[`${key}+5ms`] : undefined) ?? limits[key];
  if (limit === undefined) throw new TypeError(`no bar has the figure ${key}`);
  return limit;
}

export function reaches(limit: Limit, value: number, aim: "must" | "moonshot"): boolean {
  return limit.is === "at least" ? value >= limit[aim] : value <= limit[aim];
}
