/**
 * Owns `holdfast config`: the configuration file from outside. Its keys and its text are `src/node/config.ts`.
 */
import type { Handler } from "./context.ts";
import type { ConfigEntry } from "./local.ts";
import { sign } from "./paint.ts";
import type { Cell } from "./text.ts";
import { plain, table } from "./text.ts";

/** Where a running daemon listens was told to others already; the rest is taken up while it runs. */
const atStart = ["daemon.host", "daemon.port", "daemon.allow_remote"];

export const runGet: Handler<[string], object> = async (context, [key]) => {
  const entry = await (await context.local()).config.get(key);
  context.answer(entry, () =>
    context.isQuiet
      ? show(entry)
      : `${show(entry)}${entry.source === "file" ? "" : context.paint.dim(`  (${entry.source})`)}`,
  );
  return 0;
};

export const runSet: Handler<[string, string], object> = async (context, [key, text]) => {
  const local = await context.local();
  const entry = await local.config.set(key, text);
  context.confirm(entry, () => `${context.paint.green(sign.yes)} ${key} is ${show(entry)}`);
  const daemon = await local.daemon.status();
  if (daemon.isRunning && atStart.includes(key)) {
    context.tell(
      context.errorPaint.dim(
        `${sign.hint} the running daemon takes ${key} when it starts again: holdfast daemon stop && holdfast daemon start`,
      ),
    );
  }
  return 0;
};

export const runList: Handler<[], object> = async (context) => {
  const local = await context.local();
  const entries = await local.config.list();
  context.answer({ path: await local.config.path(), entries }, () => {
    const rows = entries.map((entry): readonly Cell[] => [
      { text: entry.key, paint: entry.source === "default" ? context.paint.dim : context.paint.bold },
      { text: show(entry), paint: entry.source === "default" ? context.paint.dim : (text) => text },
      { text: entry.source, paint: context.paint.dim },
    ]);
    return table([{ title: "KEY", isWhole: true }, { title: "VALUE", isFlexible: true }, { title: "FROM" }], rows, {
      width: context.width,
      head: context.paint.dim,
    });
  });
  return 0;
};

export const runPath: Handler<[], object> = async (context) => {
  const path = await (await context.local()).config.path();
  context.answer({ path }, () => path);
  return 0;
};

function show({ value }: ConfigEntry): string {
  return plain(typeof value === "string" ? value : JSON.stringify(value ?? null));
}
