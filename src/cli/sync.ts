/**
 * Owns `holdfast sync`: a run now, followed to its end when asked to; its state; failed operations again; the queue discarded.
 */
import type { ExitCode } from "../errors.ts";
import { HoldfastError, isCode } from "../errors.ts";
import type { HoldfastEvent, Output } from "../verbs.ts";
import type { Context, Handler } from "./context.ts";
import { sign } from "./paint.ts";
import { parseDuration, usage } from "./parse.ts";
import type { ClearOptions } from "./queue-clear.ts";
import { clearAll } from "./queue-clear.ts";
import { formatDuration, formatRelative } from "./relative-time.ts";
import { pokesLine, renderLight, renderRun } from "./render-status.ts";
import type { Session } from "./session.ts";
import { forceSync } from "./sync-all.ts";
import { refusalOf } from "./sync-trouble.ts";
import { plain, plural } from "./text.ts";
import { landedLine, makeInterruption } from "./wait.ts";

type SyncOptions = ClearOptions & {
  readonly wait?: boolean;
  readonly timeout?: string;
  readonly status?: boolean;
  readonly retryFailed?: boolean;
  readonly clearQueue?: boolean;
  readonly all?: boolean;
  readonly resolve?: string;
};

export const runSync: Handler<[], SyncOptions> = async (context, _args, options) => {
  const isRun = options.wait === true || options.retryFailed === true || options.all === true;
  const chosen = [options.status, options.clearQueue, isRun].filter((each) => each === true);
  if (chosen.length > 1) throw usage("sync: one thing at a time", "--status and --clear-queue stand alone");
  refuseIdle(options);
  if (options.clearQueue === true) return clearAll(context, options);
  if (options.all === true) return forceAll(context, options);
  if (options.status === true) return tellSync(context);
  return syncNow(context, options);
};

/** An option that would do nothing is a mistake: who gave --export believes that everything is saved. */
function refuseIdle({ wait, all, clearQueue, timeout, resolve, export: file, yes }: SyncOptions): void {
  if (resolve !== undefined && all !== true)
    throw usage("sync: --resolve goes with --all", "write sync --all --resolve merge");
  if (timeout !== undefined && wait !== true && all !== true)
    throw usage("sync: --timeout goes with --wait", "write sync --wait --timeout 30s");
  if (file !== undefined && clearQueue !== true)
    throw usage("sync: --export goes with --clear-queue", "holdfast queue export -o FILE saves the queue");
  if (yes === true && clearQueue !== true && resolve === undefined)
    throw usage("sync: --yes goes with --clear-queue or --resolve", "leave it out: nothing is asked here");
}

async function tellSync(context: Context): Promise<ExitCode> {
  const session = await context.session();
  const sync = await session.call("sync.status", {});
  const status = await session.call("queue.status", {});
  const { pokes } = await session.call("network.status", {});
  context.answer({ ...sync, unsent: status.unsent, light: status.light, sentence: status.sentence, pokes }, () => {
    const mode = sync.mode === "eager" ? "" : context.paint.dim(`\nSync mode: ${sync.mode}`);
    const run = sync.run === null ? context.paint.dim("No sync run yet.") : renderRun(context, sync.run);
    const heard = pokes.map((each) => `\n${pokesLine(context, each)}`).join("");
    return `${renderLight(context.paint, status)}${mode}${heard}\n\n${run}`;
  });
  return 0;
}

async function forceAll(context: Context, options: SyncOptions): Promise<ExitCode> {
  const session = await context.session();
  const timeoutMs = options.timeout === undefined ? undefined : parseDuration(options.timeout, "--timeout");
  const landed = makeLanded(context, session);
  const until = { timeoutMs, landed, startedAt: context.host.now() };
  const { resolve, yes, retryFailed } = options;
  const wish = { resolve, isYes: yes === true, retryFailed: retryFailed === true };
  try {
    return await forceSync(context, session, { ...wish, untilEnded: () => untilEnded(context, session, until) });
  } finally {
    landed.stop();
  }
}

/** Somebody who waits goes on waiting when the daemon dies: what is queued is not lost, and a new daemon sends it. */
async function syncNow(context: Context, options: SyncOptions): Promise<ExitCode> {
  for (let left = reopenTries; ; left -= 1) {
    const isFirst = left === reopenTries;
    try {
      const session = await (isFirst ? context.session() : context.reopen());
      return await syncOnce(context, session, isFirst ? options : { ...options, retryFailed: false });
    } catch (error) {
      if (options.wait !== true || !isCode(error, "daemon_unreachable") || left === 0) throw error;
      context.tell("The daemon has ended; going on with a new one…");
    }
  }
}

async function syncOnce(context: Context, session: Session, options: SyncOptions): Promise<ExitCode> {
  const timeoutMs = options.timeout === undefined ? undefined : parseDuration(options.timeout, "--timeout");
  const landed = makeLanded(context, session);
  try {
    const started = await session.call("sync.run", options.retryFailed === true ? { retryFailed: true } : {});
    if (options.wait !== true) {
      context.answer(started, () => startedText(context, started));
      return 0;
    }
    if (started.pending > 0 && !started.isOffline)
      context.tell(`[Syncing ${plural(started.pending, "pending operation")}…]`);
    return await followRun(context, session, { timeoutMs, landed, started });
  } finally {
    landed.stop();
  }
}

type Started = Output<"sync.run">;

function startedText({ paint }: Context, { pending, isOffline, sentence }: Started): string {
  // Only working offline ends here; a remote that is away is looked at again by the run itself.
  if (isOffline)
    return `${paint.yellow(sign.warn)} ${plain(sentence)}\n${paint.dim(`${sign.hint} holdfast network online   to send again`)}`;
  if (pending === 0) return `${paint.green(sign.yes)} ${plain(sentence)}`;
  return `${paint.green(sign.yes)} ${plain(sentence)}\n${paint.dim(`${sign.hint} holdfast sync --wait     to follow it`)}`;
}

type Following = { readonly timeoutMs: number | undefined; readonly landed: Landed; readonly started: Started };
const lookMs = 150;
/** A daemon that ends again and again is not started for ever. */
const reopenTries = 3;

async function followRun(context: Context, session: Session, following: Following): Promise<ExitCode> {
  const { timeoutMs, landed, started } = following;
  const sync = await untilEnded(context, session, { timeoutMs, landed, startedAt: context.host.now() });
  return sync === null ? 1 : tellRunEnd(context, session, { sync, started });
}

type Waiting = { readonly timeoutMs: number | undefined; readonly landed: Landed; readonly startedAt: number };

/** Looks until the run has ended; `null`: the person did not want to wait for that. */
async function untilEnded(
  context: Context,
  session: Session,
  { timeoutMs, landed, startedAt }: Waiting,
): Promise<Output<"sync.status"> | null> {
  const { host } = context;
  const interruption = makeInterruption(context);
  try {
    for (;;) {
      const sync = await interruption.orNull(session.call("sync.status", {}));
      if (sync === null) {
        context.tell("\nStopped waiting; what is queued stays queued and is sent by itself.");
        context.answer({ isWaiting: false }, () => "");
        return null;
      }
      await landed.flush();
      if (!sync.isSyncing) return sync;
      if (timeoutMs !== undefined && host.now() - startedAt >= timeoutMs) {
        const why = await firstWait(session);
        throw new HoldfastError(
          "timed_out",
          `the sync has not ended within ${formatDuration(timeoutMs)}; it goes on by itself`,
          why === null ? "see `holdfast sync --status`" : why,
        );
      }
      await host.sleep(lookMs);
    }
  } finally {
    interruption.stop();
  }
}

async function tellRunEnd(
  context: Context,
  session: Session,
  end: { readonly sync: Output<"sync.status">; readonly started: Started },
): Promise<ExitCode> {
  const { paint } = context;
  const status = await session.call("queue.status", {});
  const { run } = end.sync;
  const failed = (run?.failed ?? 0) + (run?.conflicts ?? 0);
  const unsent = (status.counts.pending ?? 0) + (status.counts.in_progress ?? 0);
  const out = unsent === 0 ? undefined : status.signedOut.find(({ pending }) => pending > 0);
  const refusal = out === undefined ? null : await refusalOf(context, out);
  const why = unsent === 0 || refusal !== null ? null : await firstWait(session);
  context.answer({ ...end.sync, unsent: status.unsent }, () => {
    // What landed before anybody looked is told below in a sentence; a table of noughts would deny it.
    const hasRun = run !== null && run.total + failed + run.pushed + run.pulled + run.merged > 0;
    const parts = hasRun ? [renderRun(context, run)] : [];
    if (end.started.isOffline) parts.push(startedText(context, end.started));
    else if (failed > 0) parts.push(`${paint.yellow(sign.warn)} Some operations failed; they remain queued`);
    else if (refusal !== null)
      parts.push(`${paint.red(sign.no)} ${refusal.message}\n${paint.dim(`${sign.hint} ${refusal.hint}`)}`);
    else if (unsent > 0)
      parts.push(
        `${paint.yellow(sign.warn)} ${plural(unsent, "operation")} still ${unsent === 1 ? "waits" : "wait"}${why === null ? `: ${plain(status.sentence)}` : `. ${unsent === 1 ? "" : "The first: "}${plain(why)}`}`,
      );
    else parts.push(restText(context, status, (run?.succeeded ?? 0) > 0));
    return parts.join("\n\n");
  });
  // What only somebody's deed ends is a state that refuses; the rest may end by itself, or was tried and failed.
  const isStopped = unsent > 0 && status.paused.some(({ kind }) => kind === "all");
  if (refusal !== null || end.started.isOffline || isStopped) return 5;
  const hasFailed = failed > 0 || (status.counts.failed ?? 0) > 0;
  return hasFailed || unsent > 0 ? 1 : 0;
}

/** Why the first of what is left waits; null when it has gone meanwhile. */
async function firstWait(session: Session): Promise<string | null> {
  try {
    const { operations } = await session.call("queue.list", { status: ["pending"], limit: 1 });
    const [first] = operations;
    return first === undefined ? null : (await session.call("queue.why", { id: first.id })).sentence;
  } catch {
    return null;
  }
}

/** Nothing is left to wait for. What landed by itself before anybody looked has landed all the same, and what failed earlier has not. */
function restText({ paint, now }: Context, status: Output<"queue.status">, hasSent: boolean): string {
  const { lastLandedAt } = status;
  const { failed = 0, draft = 0 } = status.counts;
  const left = [
    ...(failed === 0 ? [] : [`${plural(failed, "failed operation")} ${failed === 1 ? "remains" : "remain"} queued`]),
    ...(draft === 0 ? [] : [`${plural(draft, "draft")} ${draft === 1 ? "waits" : "wait"} for release`]),
  ];
  const landed = lastLandedAt === null ? null : formatRelative(lastLandedAt, now());
  const said = hasSent
    ? "All operations synced"
    : landed === null || left.length > 0
      ? "Nothing was pending"
      : `Everything has landed; the last one ${landed === "now" ? "just now" : landed}`;
  const mark = failed > 0 ? paint.yellow(sign.warn) : paint.green(sign.yes);
  return `${mark} ${[said, ...left].join("; ")}`;
}

type Landed = { readonly flush: () => Promise<void>; readonly stop: () => void };

/** One line for each operation that lands or fails while somebody looks. */
function makeLanded(context: Context, session: Session): Landed {
  const heard = new Set<string>();
  const stop = session.subscribe(({ id, kind }: HoldfastEvent) => {
    if (id !== null && (kind === "settled" || kind === "parked")) heard.add(id);
  });
  return {
    stop,
    flush: async () => {
      const ids = [...heard];
      heard.clear();
      if (context.isJson || context.isQuiet) return;
      for (const id of ids) {
        const operation = await session.call("queue.get", { id }).catch(() => null);
        if (operation !== null) context.tell(landedLine(context, operation));
      }
    },
  };
}
