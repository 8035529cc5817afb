// Owns how results read: the table of figures against their limits, the rows beside them, the machine, and the comparison with
// the committed baseline. Leaves measuring to the bars and files to run.ts.
import { cpus, loadavg, release, totalmem } from "node:os";
import type { Bar } from "./bars.ts";
import { limitOf, reaches } from "./bars.ts";
import type { Figure, Measured, Row, Spread } from "./types.ts";

export type Run = { readonly bar: Bar; readonly isSlowDisk: boolean; readonly measured: Measured };

/** How much worse than the baseline a figure may be before it is told: the middle of a noisy run wanders by a fifth. */
export const marginShare = 0.25;

export type Baseline = { readonly [figure: string]: number };

export const nameOf = (run: Run, figure: Figure): string =>
  `${figure.key}${run.isSlowDisk ? " +5 ms" : ""} ${figure.label}`;

export function machine(): string {
  const [first] = cpus();
  const memory = Math.round(totalmem() / 2 ** 30);
  return `${first?.model.trim() ?? "unknown processor"}, ${cpus().length} cores, ${memory} GB; ${process.platform} ${release()}; Node ${process.versions.node}; load ${loadavg().map(Math.round).join(", ")} at the end`;
}

/** The figures of all runs as a Markdown table. */
export function figureTable(runs: readonly Run[]): string {
  const lines = runs.flatMap((run) =>
    run.measured.figures.map((figure) => {
      const limit = limitOf(figure.key, run.isSlowDisk);
      const sign = limit.is === "at least" ? "≥" : "≤";
      const aims = (["must", "moonshot"] as const).map(
        (aim) => `${sign} ${limit[aim]} ${reaches(limit, figure.ratio.value, aim) ? "yes" : "no"}`,
      );
      const { value, low, high } = figure.ratio;
      return `| ${nameOf(run, figure)} | **${short(value)}** | ${short(low)}–${short(high)} | ${aims.join(" | ")} |`;
    }),
  );
  return ["| bar | median | min–max | must | moonshot |", "|---|--:|--:|---|---|", ...lines].join("\n");
}

/** What was measured beside the figures, bar by bar. */
export function rowLists(runs: readonly Run[]): string {
  return runs
    .map(({ bar, isSlowDisk, measured }) => {
      const title = `${bar.name}${isSlowDisk ? " +5 ms" : ""}: ${bar.title}`;
      const notes = (measured.notes ?? []).map((note) => `- ${note}`);
      return [title, "", ...measured.rows.map((row) => `- ${row.label}: ${inUnit(row)}`), ...notes].join("\n");
    })
    .join("\n\n");
}

export function failures(runs: readonly Run[]): readonly string[] {
  return runs.flatMap((run) =>
    run.measured.figures
      .filter((figure) => !reaches(limitOf(figure.key, run.isSlowDisk), figure.ratio.value, "must"))
      .map((figure) => `${nameOf(run, figure)}: ${short(figure.ratio.value)}`),
  );
}

export function baselineOf(runs: readonly Run[]): Baseline {
  const entries = runs.flatMap((run) =>
    run.measured.figures.map((figure) => [nameOf(run, figure), Number(short(figure.ratio.value))] as const),
  );
  return Object.fromEntries(entries);
}

/** Figures that are worse than the baseline by more than the margin. */
export function slowdowns(runs: readonly Run[], baseline: Baseline): readonly string[] {
  return runs.flatMap((run) =>
    run.measured.figures.flatMap((figure) => {
      const before = baseline[nameOf(run, figure)];
      if (before === undefined) return [];
      const { value } = figure.ratio;
      const loss = limitOf(figure.key, run.isSlowDisk).is === "at least" ? before / value - 1 : value / before - 1;
      return loss <= marginShare
        ? []
        : [`${nameOf(run, figure)}: ${short(value)} against ${short(before)} in the baseline`];
    }),
  );
}

const inUnit = (row: Row): string =>
  `${short(row.spread.value)}${row.unit === "x" ? "" : ` ${row.unit}`} (${range(row.spread)})`;

const range = (spread: Spread): string => `${short(spread.low)}–${short(spread.high)}`;

/** Three digits say all that a median of a noisy machine knows. */
const short = (value: number): string => String(Number(value.toPrecision(3)));
