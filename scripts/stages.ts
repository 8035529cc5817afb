// Owns the table of test stages: which files belong to which stage, in which order they run, how long one may take.
// Leaves the running of them to scripts/test.ts and the vitest projects made of them to vitest.config.ts.

/** One stage of `npm test`: test files that vitest runs, or a command whose last line is "N passed, M failed". */
export type Stage = {
  readonly name: string;
  readonly include: readonly string[];
  readonly exclude?: readonly string[];
  /** Run this instead of the vitest project of the same name. */
  readonly command?: readonly string[];
  /** Files of one stage share a machine with nothing else when false. */
  readonly parallel: boolean;
  /** False: the files of one worker share their modules, which saves most of the time of a stage that is made of rules. */
  readonly isIsolated?: boolean;
  /** Processes that share the files; default: vitest's own choice, which is one on two cores. */
  readonly workers?: number;
  readonly testTimeoutMs: number;
  readonly stageTimeoutMs: number;
};

const minuteMs = 60_000;

const folder = (name: string, rest: Partial<Stage> = {}): Stage => ({
  name,
  include: [`test/${name}/**/*.test.ts`],
  parallel: true,
  testTimeoutMs: minuteMs,
  stageTimeoutMs: 10 * minuteMs,
  ...rest,
});

/** Tests beside their code that open sockets, processes or file stores: too slow for `npm run check`, a stage of `npm test`. */
const integrationFiles: readonly string[] = [
  "src/node/**/*.test.ts",
  "src/client/http.test.ts",
  "test/matrix.test.ts",
  "test/stage-runner.test.ts",
];

/** The stages that `npm run check` runs inside its own steps, as vitest projects. */
export const checkStages: readonly Stage[] = [
  {
    name: "unit",
    include: ["src/**/*.test.ts", "test/*.test.ts"],
    exclude: ["test/docs.test.ts", "test/package.test.ts", "src/**/*.pg.test.ts", ...integrationFiles],
    parallel: true,
    isIsolated: false,
    // Some of the tests wait for real time; meanwhile the other half goes on.
    workers: 2,
    testTimeoutMs: 30_000,
    stageTimeoutMs: 3 * minuteMs,
  },
  {
    name: "docs",
    include: ["test/docs.test.ts"],
    parallel: true,
    testTimeoutMs: minuteMs,
    stageTimeoutMs: 5 * minuteMs,
  },
];

/** The stages of `npm test`, in order: the cheap ones first, so that a mistake is told early. */
export const stages: readonly Stage[] = [
  {
    name: "check",
    include: checkStages.flatMap((stage) => stage.include),
    command: ["scripts/check.ts"],
    parallel: true,
    testTimeoutMs: minuteMs,
    stageTimeoutMs: 10 * minuteMs,
  },
  {
    name: "integration",
    include: integrationFiles,
    parallel: true,
    testTimeoutMs: minuteMs,
    stageTimeoutMs: 10 * minuteMs,
  },
  folder("contract"),
  folder("cli"),
  folder("wire"),
  folder("simulation", { testTimeoutMs: 20 * minuteMs, stageTimeoutMs: 25 * minuteMs }),
  folder("replicas", { testTimeoutMs: 10 * minuteMs, stageTimeoutMs: 15 * minuteMs }),
  folder("planted", { testTimeoutMs: 10 * minuteMs, stageTimeoutMs: 20 * minuteMs }),
  folder("properties", { testTimeoutMs: 2 * minuteMs }),
  folder("pains"),
  folder("faults", { parallel: false, testTimeoutMs: 2 * minuteMs }),
  folder("crash", { parallel: false, testTimeoutMs: 5 * minuteMs }),
  folder("fuzz", { testTimeoutMs: 2 * minuteMs }),
  folder("security"),
  folder("postgres", {
    include: ["src/**/*.pg.test.ts", "test/postgres/**/*.pg.test.ts"],
    parallel: false,
    testTimeoutMs: 2 * minuteMs,
  }),
  folder("sync", { parallel: false, testTimeoutMs: 3 * minuteMs }),
  folder("soak", { parallel: false, testTimeoutMs: 10 * minuteMs }),
  folder("clock", { testTimeoutMs: 2 * minuteMs }),
  folder("transfer", { parallel: false }),
  folder("upgrade"),
  folder("story", { parallel: false, testTimeoutMs: 2 * minuteMs }),
  {
    name: "package",
    include: ["test/package.test.ts"],
    parallel: false,
    testTimeoutMs: 3 * minuteMs,
    stageTimeoutMs: 5 * minuteMs,
  },
  folder("runtimes", { parallel: false, testTimeoutMs: 5 * minuteMs }),
];
