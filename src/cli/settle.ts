/**
 * Owns what follows an enqueue: the receipt in words, the message when the network is offline, the auto-sync banner and the wait.
 * How the operation came to be is in `enqueue.ts` and `upload.ts`; following it live is `wait.ts`.
 */
import type { ExitCode } from "../errors.ts";
import type { AddInput, Input, Receipt, Why } from "../verbs.ts";
import type { Context } from "./context.ts";
import { sign } from "./paint.ts";
import { parseDuration, usage } from "./parse.ts";
import { formatRelative } from "./relative-time.ts";
import { facts, plain, plural, shortId } from "./text.ts";
import { waitFor } from "./wait.ts";

export type WaitChoice = { readonly wait?: boolean; readonly timeout?: string };

const offlineKinds: ReadonlySet<Why["blockers"][number]["kind"]> = new Set(["network", "offline", "work_offline"]);

/** What is queued, and how the person called it. */
export type Enqueue = { readonly input: AddInput; readonly label: string };

/** Queues one operation, tells how it stands, and follows it when asked to. */
export async function enqueue(context: Context, { input, label }: Enqueue, choice: WaitChoice): Promise<ExitCode> {
  const timeoutMs = choice.timeout === undefined ? undefined : parseDuration(choice.timeout, "--timeout");
  if (timeoutMs !== undefined && choice.wait !== true)
    throw usage("--timeout goes with --wait", "--attempt-timeout limits one attempt, --expires gives it up for good");
  const startedAt = context.now();
  const isBanner = choice.wait === true && (await tellBanner(context));
  const session = await context.session();
  const receipt = await session.call("queue.add", input);
  const why = receipt.status === "pending" ? await session.call("queue.why", { id: receipt.id }) : null;
  // Under its own id the same operation may just have been queued twice.
  const isReplaced = !receipt.isNew && input.dedupe?.mode === "replace-pending" && receipt.id !== input.id;
  const told = { receipt, why, label, isReplaced };
  if (receipt.warning !== null) context.tell(`${context.errorPaint.yellow(sign.warn)} ${plain(receipt.warning)}`);
  if (choice.wait !== true) {
    context.answer(receipt, () => (context.isQuiet ? receipt.id : receiptText(context, told)));
    return 0;
  }
  context.tell(receiptText({ ...context, paint: context.errorPaint }, told));
  const wait = { id: receipt.id, startedAt, isTellingOthers: isBanner };
  return waitFor(context, timeoutMs === undefined ? wait : { ...wait, timeoutMs });
}

/** More than this many that wait for their next attempt are not counted apart. */
const waitingLimit = 100;

/** Where the remote is back and something waits, what waits goes out too: say so before it does. */
async function tellBanner(context: Context): Promise<boolean> {
  const session = await context.session();
  const status = await session.call("queue.status", {});
  const open = (status.counts.pending ?? 0) + (status.counts.in_progress ?? 0);
  const isReachable = status.remotes.some((remote) => remote.pending > 0 && remote.status !== "offline");
  if (open === 0 || !isReachable || status.isWorkingOffline) return false;
  const { mode } = await session.call("sync.status", {});
  // By itself everything goes but what waits for its next attempt. A run would try that too, and charge it: whoever sends something
  // else must not use up attempts that are meant for the next hour.
  const waiting: Input<"queue.list"> = { status: ["pending"], reason: "retry", limit: waitingLimit };
  const kept = mode === "eager" ? (await session.call("queue.list", waiting)).operations.length : 0;
  if (open <= kept) return false;
  context.tell(`[Auto-syncing ${plural(open - kept, "pending operation")}…]`);
  if (mode !== "eager") await session.call("sync.run", {});
  return true;
}

type Told = {
  readonly receipt: Receipt;
  readonly why: Why | null;
  readonly label: string;
  /** It took the place of what had been queued under its key, and that one's id. */
  readonly isReplaced: boolean;
};

function receiptText(context: Context, { receipt, why, label, isReplaced }: Told): string {
  const { paint } = context;
  const short = shortId(receipt.id);
  if (isReplaced)
    return `${paint.green(sign.yes)} Replaced ${paint.bold(short)} (${receipt.status}), which had the same key; this is sent instead`;
  if (!receipt.isNew)
    return `${paint.green(sign.yes)} Already queued as ${paint.bold(short)} (${receipt.status}); nothing was added`;
  if (receipt.status === "draft")
    return `${paint.green(sign.yes)} Kept as draft ${paint.bold(short)}\n${paint.dim(`${sign.hint} holdfast queue release ${short}   to submit it`)}`;
  const offline = why?.blockers.find(({ kind }) => offlineKinds.has(kind));
  if (offline !== undefined && why !== null)
    return offlineText(context, { receipt, why, label, isReplaced }, offline.kind === "work_offline");
  const isWaiting = why?.blockers.some(({ kind }) => kind !== "in_flight") === true;
  const sentence = isWaiting ? `\n  ${plain(why?.sentence ?? "")}` : "";
  return `${paint.green(sign.yes)} Queued ${paint.bold(short)}; it is safe on this device${sentence}`;
}

/** The network is away: what was queued, what will happen, how to try again. */
function offlineText(
  context: Context,
  { receipt, why, label }: Told & { readonly why: Why },
  isByChoice: boolean,
): string {
  const { paint } = context;
  const short = shortId(receipt.id);
  const next = why.nextMoveAt === null ? "" : ` Next try ${formatRelative(why.nextMoveAt, context.now())}.`;
  const promise = isByChoice ? [] : [`It is sent by itself as soon as the remote answers.${next}`, ""];
  const rows = facts(
    [
      ["Queued", plain(label)],
      ["Entry ID", short],
      // Who works offline knows why; anybody else wants to hear it.
      ["Waits", isByChoice && why.blockers.length === 1 ? null : plain(why.sentence)],
    ],
    paint.dim,
  );
  const steps = facts(
    [
      isByChoice ? ["holdfast network online", "to send it"] : ["holdfast sync", "to try now"],
      [`holdfast queue why ${short}`, "to see what it waits for"],
    ],
    (text) => text,
  );
  return [
    `${paint.yellow(sign.warn)} ${isByChoice ? "Working offline" : "Network is offline"}: queued, safe on this device`,
    "",
    rows.replace(/^/gm, "  "),
    "",
    ...promise,
    paint.dim(steps.replace(/^/gm, `${sign.hint} `)),
  ].join("\n");
}
