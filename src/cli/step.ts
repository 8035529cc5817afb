/**
 * Owns the line that is drawn over while something long is under way; only for people at a terminal.
 */
import type { Context } from "./context.ts";
import { truncateLine } from "./text.ts";

export type Step = { readonly show: (text: string) => void; readonly end: () => void };

/** A line on stderr that each `show` replaces and `end` takes away. */
export function makeStep({ host, isJson, isQuiet }: Pick<Context, "host" | "isJson" | "isQuiet">): Step {
  const isOn = host.stderr.isTty && !isJson && !isQuiet;
  let isShown = false;
  return {
    show: (text) => {
      if (!isOn) return;
      // A line that wraps could not be taken away again: only its last row would be.
      host.stderr.write(`\r\u001b[2K${truncateLine(text, host.stderr.columns - 1)}`);
      isShown = true;
    },
    end: () => {
      if (isShown) host.stderr.write("\r\u001b[2K");
      isShown = false;
    },
  };
}
