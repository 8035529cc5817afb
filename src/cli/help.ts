/**
 * Owns the form of the examples under every command's help. What they show is written with each command.
 */

/** Examples in the form that `holdfast help` prints and `docs/cli.md` collects. */
export function examples(...lines: readonly string[]): string {
  return `\n${lines.length === 1 ? "Example" : "Examples"}:\n${lines.map((line) => `  $ ${line}`).join("\n")}`;
}
