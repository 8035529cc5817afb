/**
 * Owns `holdfast queue watch`: a live table in a terminal, one event per line elsewhere (JSON Lines under `--json`).
 */
import { isCode } from "../errors.ts";
import type { HoldfastEvent } from "../verbs.ts";
import type { Context, Handler } from "./context.ts";
import { sign } from "./paint.ts";
import { parseInteger, usage } from "./parse.ts";
import type { Filter, FilterOptions } from "./queue-read.ts";
import { parseFilter } from "./queue-read.ts";
import { renderEvent, renderOperations, titleOf } from "./render-operation.ts";
import { renderLight } from "./render-status.ts";
import type { Session } from "./session.ts";
import { truncateLine } from "./text.ts";

type WatchOptions = FilterOptions & { readonly after?: string };

const frameMs = 200;
const idleMs = 1_000;
const screen = {
  enter: "\u001b[?1049h\u001b[?25l",
  leave: "\u001b[?25h\u001b[?1049l",
  home: "\u001b[H",
  clearLine: "\u001b[K",
  clearBelow: "\u001b[J",
};

export const runWatch: Handler<[], WatchOptions> = async (context, _args, options) => {
  const filter = parseFilter(options);
  const after = options.after === undefined ? undefined : parseInteger(options.after, "--after");
  if (after !== undefined && after < 0)
    throw usage("--after: a sequence is not negative", "write --after 0 for every event that is still kept");
  const end = new AbortController();
  const stop = context.host.onInterrupt(() => end.abort());
  try {
    if (context.isJson || !context.host.stdout.isTty) await printEvents(context, { filter, after, end: end.signal });
    else await drawTable(context, filter, end.signal);
  } finally {
    stop();
  }
  return 0;
};

type Printing = { readonly filter: Filter; readonly after: number | undefined; readonly end: AbortSignal };

/** Prints events until the end; after a break it goes on behind the last one printed. */
async function printEvents(context: Context, { filter, after, end }: Printing): Promise<void> {
  const state = { last: after, chain: Promise.resolve() };
  let session = await context.session();
  let isGone = false;
  const hear = (event: HoldfastEvent): void => {
    if (event.sequence > 0) state.last = event.sequence;
    state.chain = state.chain.then(() => printEvent(context, event, filter));
  };
  const listen = (): (() => void) => session.subscribe(hear, state.last === undefined ? {} : { after: state.last });
  let stop = listen();
  while (!end.aborted) {
    await context.host.sleep(idleMs, end);
    if (end.aborted || (!isGone && (await isAlive(session)))) continue;
    if (!isGone) context.tell(goneText);
    isGone = true;
    stop();
    const next = await reopened(context);
    if (next === null) continue;
    isGone = false;
    session = next;
    stop = listen();
  }
  stop();
  await state.chain;
}

const goneText = "The daemon has stopped; it is waited for.";

/** The line to a daemon that somebody else has started; who only looks must not start what a person has stopped. */
async function reopened(context: Context): Promise<Session | null> {
  try {
    return await context.reopen({ canStart: false });
  } catch (error) {
    if (isCode(error, "daemon_unreachable")) return null;
    throw error;
  }
}

async function isAlive(session: Session): Promise<boolean> {
  return session.call("sync.status", {}).then(
    () => true,
    (error) => !isCode(error, "daemon_unreachable"),
  );
}

async function printEvent(context: Context, event: HoldfastEvent, filter: Filter): Promise<void> {
  const isFiltered = Object.keys(filter).length > 0;
  const operation =
    event.id === null || (context.isJson && !isFiltered)
      ? null
      : await (await context.session()).call("queue.get", { id: event.id }).catch(() => null);
  if (isFiltered) {
    if (operation === null) return;
    const { status, ...rest } = filter;
    if (status !== undefined && !status.includes(operation.status)) return;
    if (Object.entries(rest).some(([key, value]) => operation[key as keyof typeof rest] !== value)) return;
  }
  if (context.isJson) context.line(event);
  else context.say(renderEvent(context, event, operation === null ? "" : titleOf(operation)));
}

async function drawTable(context: Context, filter: Filter, end: AbortSignal): Promise<void> {
  const { host } = context;
  const bell = { wake: new AbortController() };
  const ring = (): void => bell.wake.abort();
  let session: Session | null = await context.session();
  let stop = session.subscribe(ring);
  end.addEventListener("abort", ring);
  host.stdout.write(screen.enter);
  try {
    while (!end.aborted) {
      const frame: string | null = session === null ? null : await frameOrNull(context, session, filter);
      draw(context, frame ?? `${context.paint.red(sign.light)} ${goneText}`);
      if (frame === null) {
        stop();
        await host.sleep(idleMs, end);
        session = await reopened(context);
        stop = session?.subscribe(ring) ?? (() => {});
        continue;
      }
      // Events come in swarms: a frame at most every 200 ms, and one each second for the relative times.
      await host.sleep(frameMs, end);
      await host.sleep(idleMs - frameMs, bell.wake.signal);
      bell.wake = new AbortController();
    }
  } finally {
    stop();
    host.stdout.write(screen.leave);
  }
}

/** `null`: there is no daemon to ask. */
async function frameOrNull(context: Context, session: Session, filter: Filter): Promise<string | null> {
  return makeFrame(context, session, filter).catch((error: unknown) => {
    if (!isCode(error, "daemon_unreachable")) throw error;
    return null;
  });
}

async function makeFrame(context: Context, session: Session, filter: Filter): Promise<string> {
  const { stdout } = context.host;
  const status = await session.call("queue.status", {});
  const limit = Math.max(1, stdout.rows - 5);
  const { operations } = await session.call("queue.list", {
    status: ["in_progress", "pending", "failed"],
    order: "run",
    ...filter,
    limit,
  });
  const { pending = 0, in_progress: sending = 0, failed = 0, completed = 0 } = status.counts;
  const look = { paint: context.paint, now: context.now, width: stdout.columns };
  const counts = context.paint.dim(`${pending} pending, ${sending} sending, ${failed} failed, ${completed} completed`);
  const rows =
    operations.length === 0
      ? context.paint.dim("Nothing waits.")
      : renderOperations(look, operations, status.signedOut);
  return [
    renderLight(context.paint, status),
    counts,
    "",
    rows,
    "",
    context.paint.dim("Ctrl-C ends the view; the queue goes on"),
  ].join("\n");
}

function draw(context: Context, frame: string): void {
  const { stdout } = context.host;
  const lines = frame.split("\n").slice(0, stdout.rows - 1);
  const fitted = lines.map((line) => truncateLine(line, stdout.columns) + screen.clearLine);
  stdout.write(`${screen.home}${fitted.join("\n")}\n${screen.clearBelow}`);
}
