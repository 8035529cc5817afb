/**
 * Owns showing instants of this device by the server's clock, where the two are known to differ: what is stored and what `--json` tells
 * stays as it is. How an instant is said is `relative-time.ts`; the offset is measured with every pull.
 */
import type { Context } from "./context.ts";
import { formatDuration } from "./relative-time.ts";

/** Below it the difference is the way of an answer rather than a wrong clock. */
const worthTellingMs = 1_000;

export type ShownTime = {
  /** The same look, with the server's idea of now. */
  readonly look: Context;
  /** The value with its instants by the server's clock. */
  readonly shift: <T extends object>(value: T) => T;
  /** One line that says so; empty where nothing is corrected. */
  readonly note: string;
};

export async function showByServer(context: Context): Promise<ShownTime> {
  const offset = context.isJson ? 0 : await measured(context);
  if (Math.abs(offset) < worthTellingMs) return { look: context, shift: (value) => value, note: "" };
  const said = `${formatDuration(Math.abs(offset))} ${offset > 0 ? "behind" : "ahead of"} it`;
  return {
    look: { ...context, now: () => context.now() + offset },
    shift: (value) => shiftInstants(value, offset),
    note: `\n\n${context.paint.dim(`Times are by the server's clock; this machine's is ${said}.`)}`,
  };
}

/** What is shown is worth showing without it. */
async function measured(context: Context): Promise<number> {
  const list = await (await context.session()).call("collections.list", {}).catch(() => null);
  return list?.clockOffsetMs ?? 0;
}

/** Instants end in "At" wherever the verbs tell them, apart from two that are words of their own. */
function shiftInstants<T extends object>(value: T, offset: number): T {
  const isInstant = (name: string): boolean => name === "at" || name === "asOf" || name.endsWith("At");
  const entries = Object.entries(value).map(([name, each]) => [
    name,
    typeof each === "number" && isInstant(name) ? each + offset : each,
  ]);
  return Object.fromEntries(entries) as T;
}
