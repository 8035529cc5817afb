/**
 * Owns `holdfast daemon`: what a person sees of starting, stopping and looking. Running it is `src/node/daemon.ts`.
 */
import type { Context, Handler } from "./context.ts";
import type { DaemonOptions } from "./host.ts";
import type { DaemonState } from "./local.ts";
import { sign } from "./paint.ts";
import { parseInteger, usage } from "./parse.ts";
import { formatInstant, formatRelative } from "./relative-time.ts";
import { facts, padEnd, plain } from "./text.ts";

type Options = { readonly port?: string; readonly host?: string };

function parseOptions({ port, host }: Options): DaemonOptions {
  const parsed = port === undefined ? undefined : parseInteger(port, "--port");
  if (parsed !== undefined && (parsed < 0 || parsed > 65_535))
    throw usage(`--port: ${parsed} is no port`, "choose 1024 to 65535, or 0 for any free one");
  return { ...(parsed === undefined ? {} : { port: parsed }), ...(host === undefined ? {} : { host }) };
}

export const runRun: Handler<[], Options> = async (context, _args, options) => {
  await (await context.local()).daemon.run(parseOptions(options));
  return 0;
};

export const runStart: Handler<[], Options> = async (context, _args, options) => {
  const local = await context.local();
  const before = await local.daemon.status();
  const wanted = parseOptions(options);
  const state = before.isRunning ? before : await local.daemon.start(wanted);
  if (before.isRunning && wanted.port !== undefined && wanted.port !== 0 && wanted.port !== before.port)
    context.tell(
      `${context.errorPaint.yellow(sign.warn)} it listens on another port than ${wanted.port}: holdfast daemon stop, then start it again`,
    );
  context.confirm(
    { ...state, isNew: !before.isRunning },
    () =>
      `${context.paint.green(sign.yes)} ${before.isRunning ? "The daemon runs already" : "The daemon runs"}\n${stateText(state, context.now(), context.paint.dim)}`,
  );
  return 0;
};

export const runStop: Handler<[], { readonly force?: boolean }> = async (context, _args, options) => {
  const local = await context.local();
  const before = await local.daemon.status();
  if (!before.isRunning && !before.isSilent && options.force !== true) {
    context.confirm({ ...before, wasRunning: false }, () => "The daemon does not run.");
    return 0;
  }
  const state = await local.daemon.stop(options.force === true);
  context.confirm(
    { ...state, wasRunning: true },
    () => `${context.paint.green(sign.yes)} The daemon has stopped; what is queued stays on the disk`,
  );
  return 0;
};

/** Exit 3 when it does not run, so that scripts can ask. */
export const runStatus: Handler<[], object> = async (context) => {
  const state = await (await context.local()).daemon.status();
  context.answer(state, () => {
    const { paint } = context;
    if (state.isRunning)
      return `${paint.green(sign.light)} The daemon runs\n${stateText(state, context.now(), paint.dim)}`;
    if (state.isSilent)
      return `${paint.red(sign.light)} A daemon holds the data directory and does not answer: it is starting, stopping or stuck\n${stateText(state, context.now(), paint.dim)}\n${paint.dim(`${sign.hint} wait a moment; if it stays: holdfast daemon logs, then holdfast daemon stop --force`)}`;
    return `${paint.red(sign.light)} The daemon does not run\n${stateText(state, context.now(), paint.dim)}\n${paint.dim(`${sign.hint} holdfast daemon start; other commands start it when they need it`)}`;
  });
  return state.isRunning ? 0 : 3;
};

export const runLogs: Handler<[], { readonly follow?: boolean; readonly lines: string }> = async (
  context,
  _args,
  options,
) => {
  const lines = parseInteger(options.lines, "--lines");
  if (lines < 0) throw usage("--lines: a count is not negative", "write --lines 100");
  const followed = new AbortController();
  const stop = context.host.onInterrupt(() => followed.abort());
  try {
    const local = await context.local();
    const log = local.daemon.log({ lines, isFollowing: options.follow === true, signal: followed.signal });
    let isEmpty = true;
    for await (const line of log) {
      isEmpty = false;
      // The log is JSON Lines already: programs read it as it is.
      context.host.stdout.write(`${context.isJson ? line : renderLogLine(context, line)}\n`);
    }
    if (isEmpty && lines > 0) context.tell("There is no log yet.");
  } finally {
    stop();
  }
  return 0;
};

/** One line of the log for a person; what is no entry, such as the last words of a process that crashed, stays as it came. */
function renderLogLine({ paint }: Context, line: string): string {
  const entry = parsedEntry(line);
  if (entry === null) return plain(line);
  const { level, time, msg, pid: _everyLineHasIt, ...rest } = entry;
  const at = typeof time === "string" ? Date.parse(time) : Number.NaN;
  const when = Number.isNaN(at) ? [] : [paint.dim(formatInstant(at))];
  const colour = level === "error" ? paint.red : level === "warn" ? paint.yellow : paint.dim;
  const fields = Object.entries(rest).map(([name, value]) => paint.dim(plain(`${name}=${fieldText(value)}`)));
  return [...when, colour(padEnd(plain(String(level ?? "")), 5)), plain(String(msg ?? "")), ...fields].join("  ");
}

function parsedEntry(line: string): Readonly<Record<string, unknown>> | null {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null ? (value as Readonly<Record<string, unknown>>) : null;
  } catch {
    return null;
  }
}

const fieldText = (value: unknown): string =>
  typeof value === "string" && /^\S+$/.test(value) ? value : JSON.stringify(value);

function addressOf({ host, port }: DaemonState): string | null {
  if (host === null || port === null) return null;
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

function stateText(state: DaemonState, now: number, paint: (text: string) => string): string {
  return facts(
    [
      ["Process", state.pid === null ? null : String(state.pid)],
      ["Since", state.startedAt === null ? null : formatRelative(state.startedAt, now)],
      ["Version", state.version],
      ["Port", addressOf(state)],
      ["Socket", state.socket],
      ["Data", state.home],
    ],
    paint,
  );
}
