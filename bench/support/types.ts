// Owns the words of the benchmark: what a bar is, what one run of it measured, and what is kept of a run.
// Leaves measuring to the files p1 to p12 and judging to bars.ts.

/** A middle value with the extremes of its rounds. */
export type Spread = { readonly value: number; readonly low: number; readonly high: number };

/** One measured ratio. Its key names the limit that it is held to. */
export type Figure = { readonly key: string; readonly label: string; readonly ratio: Spread };

/** A plain row beside the ratios, e.g. a peer's time per operation. */
export type Row = { readonly label: string; readonly spread: Spread; readonly unit: "us" | "ms" | "MB" | "x" | "/s" };

export type Measured = {
  readonly figures: readonly Figure[];
  readonly rows: readonly Row[];
  readonly notes?: readonly string[];
};

/** What a bar is given: how thorough to be, where to put files, and whether the disk is the slow one. */
export type Scope = { readonly isQuick: boolean; readonly directory: string; readonly isSlowDisk: boolean };

export type Measure = (scope: Scope) => Promise<Measured>;
