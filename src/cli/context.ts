/**
 * Owns what every command has at hand: its streams with the rules for human and JSON output, its one session, its clock.
 * What is printed is decided by the command and the renderers.
 */
import type { ExitCode } from "../errors.ts";
import type { Host, Local } from "./host.ts";
import type { Watched } from "./network-note.ts";
import { watched } from "./network-note.ts";
import type { Paint } from "./paint.ts";
import { isColoured, makePaint } from "./paint.ts";
import type { Session } from "./session.ts";
import type { Step } from "./step.ts";
import { makeStep } from "./step.ts";

/** Options of every command. */
export type GlobalOptions = {
  readonly json?: boolean;
  readonly home?: string;
  readonly color?: boolean;
  readonly quiet?: boolean;
  readonly verbose?: boolean;
};

export type Context = {
  readonly host: Host;
  readonly isJson: boolean;
  readonly isQuiet: boolean;
  readonly isVerbose: boolean;
  /** True where a person can be asked: input and output are terminals and no JSON is wanted. */
  readonly isInteractive: boolean;
  readonly width: number;
  readonly paint: Paint;
  readonly errorPaint: Paint;
  readonly now: () => number;
  /** The answer of the command, for people; nothing under `--json`. */
  readonly say: (text: string) => void;
  /** What happens on the way: stderr, so that it never mixes with the answer; nothing under `--json` or `--quiet`. */
  readonly tell: (text: string) => void;
  /** The answer as one JSON document under `--json`, otherwise as `render` words it. */
  readonly answer: (value: unknown, render: () => string) => void;
  /** The same for what was only done, so that there is nothing to tell under `--quiet`. */
  readonly confirm: (value: unknown, render: () => string) => void;
  /** One line of a stream of JSON documents. */
  readonly line: (value: unknown) => void;
  readonly session: (options?: { readonly canStart?: boolean }) => Promise<Session>;
  /** Opens a new line after the daemon went away. */
  readonly reopen: (options?: { readonly canStart?: boolean }) => Promise<Session>;
  /** The open session of a command that has not told how the network stands; `null` where it has, or has none. */
  readonly untold: () => Session | null;
  readonly local: () => Promise<Local>;
  readonly close: () => Promise<void>;
};

/** What a command's module exports: does its work and says with which code the process ends. */
export type Handler<A extends readonly unknown[], O> = (context: Context, args: A, options: O) => Promise<ExitCode>;

const openTimeoutMs = 10_000;
/** A daemon that runs answers within milliseconds, one that starts within a second: longer than that a person wonders. */
const wonderMs = 1_500;

export function makeContext(host: Host, options: GlobalOptions): Context {
  const isJson = options.json === true;
  const isQuiet = options.quiet === true;
  const isAllowed = options.color !== false;
  const paint = makePaint(!isJson && isColoured({ isTty: host.stdout.isTty, isAllowed, env: host.env }));
  const errorPaint = makePaint(!isJson && isColoured({ isTty: host.stderr.isTty, isAllowed, env: host.env }));
  const lines = makeLine(host, options.home, makeStep({ host, isJson, isQuiet }));
  // An answer of nothing, e.g. no ids under --quiet, is no line.
  const answer = (value: unknown, render: () => string): void => {
    const text = isJson ? JSON.stringify(value, null, 2) : render();
    if (text !== "") host.stdout.write(`${text}\n`);
  };
  return {
    host,
    isJson,
    isQuiet,
    isVerbose: options.verbose === true,
    isInteractive: !isJson && host.stdin.isTty && host.stdout.isTty,
    width: host.stdout.isTty ? host.stdout.columns : widthFrom(host.env.COLUMNS),
    paint,
    errorPaint,
    now: host.now,
    say: (text) => {
      if (!isJson) host.stdout.write(`${text}\n`);
    },
    tell: (text) => {
      if (!isJson && !isQuiet) host.stderr.write(`${text}\n`);
    },
    answer,
    confirm: (value, render) => answer(value, () => (isQuiet ? "" : render())),
    line: (value) => host.stdout.write(`${JSON.stringify(value)}\n`),
    ...lines,
  };
}

/** Files and pipes get whole lines, unless `COLUMNS` says how many cells they have. */
function widthFrom(columns: string | undefined): number {
  const width = Number(columns);
  return Number.isInteger(width) && width >= 20 ? width : Number.MAX_SAFE_INTEGER;
}

function makeLine(
  host: Host,
  home: string | undefined,
  step: Step,
): Pick<Context, "session" | "reopen" | "untold" | "local" | "close"> {
  let open: Promise<Session> | undefined;
  let line: Watched | undefined;
  let local: Promise<Local> | undefined;
  const connect = (canStart: boolean): Promise<Session> => {
    const waiting = setTimeout(() => step.show("Waiting for the daemon to answer…"), wonderMs);
    open = host
      .openSession({ home, canStart, timeoutMs: openTimeoutMs })
      .then((session) => {
        line = watched(session);
        return line.session;
      })
      .finally(() => {
        clearTimeout(waiting);
        step.end();
      });
    return open;
  };
  const closeOpen = async (): Promise<void> => {
    const session = await open?.catch(() => undefined);
    open = undefined;
    await session?.close();
  };
  return {
    session: ({ canStart = true } = {}) => open ?? connect(canStart),
    reopen: async ({ canStart = true } = {}) => {
      await closeOpen();
      return connect(canStart);
    },
    untold: () => (line === undefined || line.isTold() ? null : line.session),
    local: () => {
      local ??= host.local(home);
      return local;
    },
    close: closeOpen,
  };
}
