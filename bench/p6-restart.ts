// Owns bar P6: how long a process that was killed in the middle of its work takes from opening its store to its first claim,
// how much memory it takes for that, and both with the peers. Leaves the processes to support/restart.ts and restart-peer.ts.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { storeOf } from "./support/depths.ts";
import { spreadOf } from "./support/measure.ts";
import { plainjobName, plainjobOf } from "./support/plainjob.ts";
import { deepOutbox, tanstackName, tanstackOf } from "./support/tanstack.ts";
import type { Measure, Row, Spread } from "./support/types.ts";

type Restart = { readonly ms: number; readonly megabytes: number };

/** A queue at two depths, and its lives there. */
type Lives = {
  readonly name: string;
  readonly depth: number;
  readonly rounds: number;
  readonly script: readonly string[];
  readonly small: string;
  readonly big: string;
  readonly low: Restart[];
  readonly high: Restart[];
};

const few = 1_000;

export const measure: Measure = async ({ directory, isQuick }) => {
  const many = isQuick ? 100_000 : 1_000_000;
  const rounds = isQuick ? 5 : 15;
  const ours: Lives = {
    ...{ name: "holdfast", depth: many, rounds, script: ["restart.ts"], low: [], high: [] },
    ...{ small: storeOf(directory, "spread", few), big: storeOf(directory, "spread", many) },
  };
  const plainjob: Lives = {
    ...{ name: plainjobName, depth: many, rounds: 5, script: ["restart-peer.ts", "plainjob"], low: [], high: [] },
    ...{ small: await plainjobOf(directory, few), big: await plainjobOf(directory, many) },
  };
  const tanstack: Lives = {
    ...{ name: tanstackName, depth: deepOutbox, rounds: 2, script: ["restart-peer.ts", "tanstack"], low: [], high: [] },
    ...{ small: await tanstackOf(directory, few), big: await tanstackOf(directory, deepOutbox) },
  };
  for (let round = -1; round < rounds; round += 1) {
    for (const lives of [ours, plainjob, tanstack]) {
      if (round >= lives.rounds) continue;
      const pair = [restart(lives, lives.small), restart(lives, lives.big)] as const;
      // The first one finds a store that was closed; all later ones find one whose process was killed.
      if (round < 0) continue;
      lives.low.push(pair[0]);
      lives.high.push(pair[1]);
    }
  }
  return {
    figures: [
      { key: "P6", label: "open to first claim: many / few", ratio: ratioOf(ours, ({ ms }) => ms) },
      {
        key: "P6-memory",
        label: "resident memory then: many / few",
        ratio: ratioOf(ours, ({ megabytes }) => megabytes),
      },
    ],
    rows: [...rowsOf(ours), ...[plainjob, tanstack].flatMap(peerRowsOf)],
    notes: [
      "plainjob does not look for what was running at a start: it comes back when its timeout of 30 minutes is over",
    ],
  };
};

function ratioOf({ low, high }: Lives, of: (each: Restart) => number): Spread {
  return spreadOf(high.map((each, round) => of(each) / of(low[round] ?? each)));
}

function rowsOf({ depth, low, high }: Lives): readonly Row[] {
  return [
    { label: `at ${few} queued`, spread: spreadOf(low.map(({ ms }) => ms)), unit: "ms" },
    { label: `at ${depth} queued`, spread: spreadOf(high.map(({ ms }) => ms)), unit: "ms" },
    { label: `memory at ${depth}`, spread: spreadOf(high.map(({ megabytes }) => megabytes)), unit: "MB" },
  ];
}

const peerRowsOf = (lives: Lives): readonly Row[] => [
  ...rowsOf(lives).map((row) => ({ ...row, label: `${lives.name}, ${row.label}` })),
  { label: `${lives.name}: at ${lives.depth} / at ${few}`, spread: ratioOf(lives, ({ ms }) => ms), unit: "x" },
];

function restart({ name, script: [file = "", ...rest] }: Lives, directory: string): Restart {
  const options = ["--disable-warning=ExperimentalWarning", join(import.meta.dirname, "support", file), ...rest];
  const task = { encoding: "utf8", timeout: 120_000 } as const;
  const { stdout, stderr, signal } = spawnSync(process.execPath, [...options, directory], task);
  if (signal !== "SIGKILL" || stdout === "") throw new Error(`${name}: the restarted process did not claim: ${stderr}`);
  return JSON.parse(stdout) as Restart;
}
