/**
 * Owns following one operation live until it lands, fails or the person stops looking: attempt messages, progress, outcome.
 * It trusts facts over messages: an event only makes it look again, and it looks again by itself now and then.
 */
import type { ExitCode } from "../errors.ts";
import { HoldfastError, isCode } from "../errors.ts";
import { isTerminal } from "../operation.ts";
import type { HoldfastEvent } from "../verbs.ts";
import type { Context } from "./context.ts";
import { sign } from "./paint.ts";
import { formatDuration } from "./relative-time.ts";
import { problemText, progressBar, titleOf } from "./render-operation.ts";
import type { Operation, Session } from "./session.ts";
import { makeStep } from "./step.ts";
import { plainLines, plural, shortId } from "./text.ts";

export type WaitOptions = {
  readonly id: string;
  /** When the person began to wait, for the figure in the last line. */
  readonly startedAt: number;
  readonly timeoutMs?: number;
  /** Also tell about other operations that land meanwhile, as the auto-sync banner promised. */
  readonly isTellingOthers: boolean;
};

const lookAgainMs = 1_000;
const reopenTries = 5;

type End = { readonly kind: "settled"; readonly operation: Operation } | { readonly kind: "interrupted" | "timed_out" };

/** Follows an operation to its end and prints it; returns the exit code. */
export async function waitFor(context: Context, options: WaitOptions): Promise<ExitCode> {
  const live = makeLive(context);
  const end = await follow(context, options, live);
  live.clear();
  const short = shortId(options.id);
  switch (end.kind) {
    case "settled":
      return tellEnd(context, end.operation, options);
    case "interrupted":
      context.tell(
        `\nStopped waiting: ${short} stays queued and is sent by itself.\n${sign.hint} holdfast queue why ${short}`,
      );
      context.answer({ id: options.id, isWaiting: false }, () => options.id);
      // Whoever writes `--wait && rm file` must not get the file removed by Ctrl-C.
      return 1;
    case "timed_out":
      throw new HoldfastError(
        "timed_out",
        `${short} has not landed within ${formatDuration(options.timeoutMs ?? 0)}; it stays queued and is sent by itself`,
        `see what it waits for with \`holdfast queue why ${short}\``,
        { details: { id: options.id } },
      );
  }
}

async function follow(context: Context, options: WaitOptions, live: Live): Promise<End> {
  const { host } = context;
  const wake = makeWake();
  const interruption = makeInterruption(context, wake.ring);
  const deadline = options.timeoutMs === undefined ? Number.POSITIVE_INFINITY : options.startedAt + options.timeoutMs;
  const others = makeOthers(context, options, live);
  const ear = await listen(context, (event) => {
    others.hear(event);
    wake.ring();
  });
  let told = 0;
  try {
    for (;;) {
      const found = await interruption.orNull(lookUp(context, options.id, ear));
      if (found === null) return { kind: "interrupted" };
      await others.flush();
      told = tellAttempts(context, found, told, live);
      if (isTerminal(found.status) || found.status === "failed") return { kind: "settled", operation: found };
      live.show(found);
      if (host.now() >= deadline) return { kind: "timed_out" };
      await wake.within(host, Math.min(lookAgainMs, deadline - host.now()));
    }
  } finally {
    ear.stop();
    interruption.stop();
  }
}

export type Interruption = {
  /** What was asked, or `null` once the person wants to go: a daemon that is silent must not keep anybody. */
  readonly orNull: <T>(asked: Promise<T>) => Promise<T | null>;
  readonly stop: () => void;
};

/** Ctrl-C while something is followed. */
export function makeInterruption({ host }: Pick<Context, "host">, onCome: () => void = () => {}): Interruption {
  let come = (): void => {};
  let isCome = false;
  const comes = new Promise<null>((resolve) => {
    come = () => resolve(null);
  });
  const stop = host.onInterrupt(() => {
    isCome = true;
    come();
    onCome();
  });
  return {
    orNull: async (asked) => {
      // Nobody may be left to hear of a failure that comes after the interruption.
      asked.catch(() => {});
      return isCome ? null : Promise.race([asked, comes]);
    },
    stop,
  };
}

/** A subscription that can be moved to a new line. */
type Ear = { readonly stop: () => void; readonly move: (session: Session) => void };

async function listen(context: Context, listener: (event: HoldfastEvent) => void): Promise<Ear> {
  let stop = (await context.session()).subscribe(listener);
  return {
    stop: () => stop(),
    move: (session) => {
      stop();
      stop = session.subscribe(listener);
    },
  };
}

/** The operation as it is now; a daemon that went away is started again, because the operation is safe in the store. */
async function lookUp(context: Context, id: string, ear: Ear): Promise<Operation> {
  for (let tries = 1; ; tries++) {
    try {
      return await (await context.session()).call("queue.get", { id });
    } catch (error) {
      if (!isCode(error, "daemon_unreachable") || tries > reopenTries) throw error;
      if (tries === 1)
        context.tell(
          `${context.errorPaint.yellow(sign.warn)} The daemon went away; starting it again. ${shortId(id)} is safe.`,
        );
      ear.move(await context.reopen());
    }
  }
}

/** Says each failed attempt once; returns how many have been told. */
function tellAttempts(context: Context, operation: Operation, told: number, live: Live): number {
  const { attempts, problem, reason, status } = operation;
  const isBetween = status === "pending" && problem !== null;
  if (attempts <= told || !isBetween) return told;
  live.clear();
  const paint = context.errorPaint;
  context.tell(`${paint.yellow(sign.warn)} Attempt ${attempts} failed: ${problemText(problem)}`);
  context.tell(paint.dim(`  ${retryText(context, operation, reason)}`));
  return attempts;
}

function retryText(context: Context, operation: Operation, reason: Operation["reason"]): string {
  const { nextAttemptAt, failures, retry } = operation;
  const left = `(${retry.maxAttempts - failures} of ${retry.maxAttempts} left)`;
  if (reason === "network") return `Waiting for the network; this costs no attempt ${left}`;
  if (nextAttemptAt === null) return `Waiting until it can be tried again ${left}`;
  return `Retrying in ${formatDuration(nextAttemptAt - context.now())} ${left}`;
}

function tellEnd(context: Context, operation: Operation, options: WaitOptions): ExitCode {
  const { paint } = context;
  const took = formatDuration(context.now() - options.startedAt);
  if (operation.status === "completed") {
    const tries = operation.attempts > 1 ? ` after ${plural(operation.attempts, "attempt")}` : "";
    const how = operation.outcome === "superseded" ? "Settled with the remote's version" : "Succeeded";
    context.answer(operation, () =>
      context.isQuiet
        ? operation.id
        : `${paint.green(sign.yes)} ${how}${tries} in ${took}: ${titleOf(operation)} ${paint.dim(`(${shortId(operation.id)})`)}`,
    );
    return 0;
  }
  if (context.isJson) context.answer(operation, () => "");
  else tellFailure(context, operation);
  return 1;
}

function tellFailure({ host, errorPaint: paint }: Context, operation: Operation): void {
  const short = shortId(operation.id);
  const { problem, status, attempts } = operation;
  const words =
    status === "failed" ? `Failed after ${plural(attempts, "attempt")}: ${problemText(problem)}` : `It was ${status}`;
  const hint = problem?.hint === undefined ? "" : `${paint.dim(`${sign.hint} ${plainLines(problem.hint)}`)}\n`;
  const next =
    operation.reason === "conflict"
      ? `holdfast queue resolve ${short} --choose local|remote`
      : `holdfast queue retry ${short}`;
  const rest =
    status === "failed"
      ? `${paint.dim(`${sign.hint} ${short} is kept: holdfast queue show ${short}, then ${next}`)}\n`
      : "";
  host.stderr.write(`${paint.red(sign.no)} ${words}\n${hint}${rest}`);
}

type Others = { readonly hear: (event: HoldfastEvent) => void; readonly flush: () => Promise<void> };

/** Other operations that landed or failed meanwhile, one line each. */
function makeOthers(context: Context, options: WaitOptions, live: Live): Others {
  const heard = new Set<string>();
  return {
    hear: ({ id, kind }) => {
      if (options.isTellingOthers && id !== null && id !== options.id && (kind === "settled" || kind === "parked"))
        heard.add(id);
    },
    flush: async () => {
      const ids = [...heard];
      heard.clear();
      for (const id of ids) {
        const other = await (await context.session()).call("queue.get", { id }).catch(() => null);
        if (other === null) continue;
        live.clear();
        context.tell(landedLine(context, other));
      }
    },
  };
}

/** "✓ Completed: title" or "✗ title: reason". */
export function landedLine({ errorPaint: paint }: Context, operation: Operation): string {
  if (operation.status === "completed") return `${paint.green(sign.yes)} Completed: ${titleOf(operation)}`;
  return `${paint.red(sign.no)} ${shortId(operation.id)} ${titleOf(operation)}: ${problemText(operation.problem)} (it stays queued)`;
}

type Live = { readonly show: (operation: Operation) => void; readonly clear: () => void };

const leaveHint = "Ctrl-C leaves it queued";

/** One line that is drawn over: only on a terminal, only for people. */
function makeLive(context: Context): Live {
  const step = makeStep(context);
  return {
    clear: step.end,
    show: (operation) => {
      const room = context.host.stderr.columns - leaveHint.length - 2;
      const what =
        operation.progress === null
          ? `${operation.status === "in_progress" ? "Sending" : "Waiting"} ${shortId(operation.id)}…`
          : progressBar(operation, room);
      step.show(context.errorPaint.dim(`${what} ${leaveHint}`));
    },
  };
}

/** A bell that is not missed when it rings while nobody waits. */
function makeWake(): {
  readonly ring: () => void;
  readonly within: (host: Context["host"], ms: number) => Promise<void>;
} {
  let isRung = false;
  let stop = new AbortController();
  return {
    ring: () => {
      isRung = true;
      stop.abort();
    },
    within: async (host, ms) => {
      if (!isRung) await host.sleep(ms, stop.signal);
      isRung = false;
      stop = new AbortController();
    },
  };
}
