/**
 * Owns the colours and signs of the command's output, and whether there are colours at all.
 * What is coloured how is decided by the renderers.
 */
import pc from "picocolors";

export type Paint = {
  readonly bold: (text: string) => string;
  readonly dim: (text: string) => string;
  readonly green: (text: string) => string;
  readonly yellow: (text: string) => string;
  readonly red: (text: string) => string;
  readonly cyan: (text: string) => string;
};

export function makePaint(isColoured: boolean): Paint {
  const colours = pc.createColors(isColoured);
  return {
    bold: colours.bold,
    dim: colours.dim,
    green: colours.green,
    yellow: colours.yellow,
    red: colours.red,
    cyan: colours.cyan,
  };
}

export type ColourQuestion = {
  readonly isTty: boolean;
  /** False for `--no-color`. */
  readonly isAllowed: boolean;
  readonly env: Readonly<Record<string, string | undefined>>;
};

/** Colours only on a terminal; `NO_COLOR` and `--no-color` switch them off, `FORCE_COLOR` on (no-color.org, force-color.org). */
export function isColoured({ isTty, isAllowed, env }: ColourQuestion): boolean {
  if (!isAllowed) return false;
  if (env.NO_COLOR !== undefined && env.NO_COLOR !== "") return false;
  if (env.FORCE_COLOR !== undefined && env.FORCE_COLOR !== "" && env.FORCE_COLOR !== "0") return true;
  return isTty && env.TERM !== "dumb";
}

export const sign = { yes: "✓", no: "✗", warn: "!", hint: "→", light: "●", info: "i" } as const;
