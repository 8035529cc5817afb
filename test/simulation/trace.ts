// Owns the record of one simulated run: every line goes into one hash, and the last ones are kept to be read.
// What is recorded is decided by the parts of the simulation.

export type Trace = {
  readonly note: (line: string) => void;
  /** Hash over all lines so far; equal for equal runs. */
  readonly hash: () => string;
  readonly lines: () => readonly string[];
};

/** Lines kept when the whole trace is not asked for. */
const keptLines = 60;

export function newTrace(isWhole: boolean): Trace {
  const lines: string[] = [];
  // Two FNV-1a streams with different starts: 64 bits are plenty to tell two runs apart, and cheap enough for every step.
  let [high, low] = [0x811c9dc5, 0x1000193];
  return {
    note: (line) => {
      for (let index = 0; index < line.length; index += 1) {
        const code = line.charCodeAt(index);
        high = Math.imul(high ^ code, 0x01000193);
        low = Math.imul(low ^ code, 0x01000197);
      }
      lines.push(line);
      if (!isWhole && lines.length > 4 * keptLines) lines.splice(0, lines.length - keptLines);
    },
    hash: () => (high >>> 0).toString(16).padStart(8, "0") + (low >>> 0).toString(16).padStart(8, "0"),
    lines: () => (isWhole ? lines : lines.slice(-keptLines)),
  };
}
