/**
 * Owns what may lose unsent work: `queue clear`, `queue remove`, `sync --clear-queue`. Nobody loses it unasked: the question
 * says how much would go and offers to save it first.
 */
import { resolve } from "node:path";
import type { ExitCode } from "../errors.ts";
import { HoldfastError, isCode } from "../errors.ts";
import { isTerminal } from "../operation.ts";
import type { Context, Handler } from "./context.ts";
import { sign } from "./paint.ts";
import { answerBulk } from "./queue-change.ts";
import { exportTo, tellCaptured } from "./queue-transfer.ts";
import { declined } from "./report.ts";
import { grouped, plural, shortId } from "./text.ts";

export type ClearOptions = { readonly all?: boolean; readonly yes?: boolean; readonly export?: string };

export const runClear: Handler<[], ClearOptions> = async (context, _args, options) => {
  if (options.all === true) return clearAll(context, options);
  if (options.export !== undefined) await saveFirst(context, options.export);
  const { removed } = await (await context.session()).call("queue.clear", { scope: "completed" });
  context.confirm(
    { removed, unsent: 0 },
    () => `${context.paint.green(sign.yes)} Cleared ${plural(removed, "completed operation")}`,
  );
  return 0;
};

/** Clears everything after a question that names the number; the engine refuses when the number has changed meanwhile. */
export async function clearAll(context: Context, options: ClearOptions): Promise<ExitCode> {
  const session = await context.session();
  const { unsent } = await session.call("queue.status", {});
  const isAsked = unsent > 0 && options.yes !== true;
  if (isAsked && !context.isInteractive)
    throw needsYes(lossOf(unsent), unsent, "--export FILE saves them first; --yes clears without a question");
  const saved = options.export === undefined ? null : await saveFirst(context, options.export);
  if (isAsked && !(await mayClear(context, unsent, saved))) return declined(context, "Nothing was cleared.");
  const { removed } = await session.call("queue.clear", { scope: "all", confirm: unsent });
  const lost = unsent === 0 ? "" : `, ${grouped(unsent)} of them unsent`;
  context.confirm(
    { removed, unsent },
    () => `${context.paint.green(sign.yes)} Cleared ${plural(removed, "operation")}${lost}`,
  );
  return 0;
}

const lossOf = (unsent: number): string => `${plural(unsent, "unsent operation")} would be lost.`;

/** Asks whether to clear; what the person wants saved first is saved when this answers. */
async function mayClear(context: Context, unsent: number, saved: Saved | null): Promise<boolean> {
  const { ask } = context.host;
  if (saved !== null) return (await ask.confirm(`${goneText(unsent, saved)} Clear?`)) === true;
  const choice = await ask.select(`${lossOf(unsent)} What now?`, [
    { value: "keep", label: "Keep everything" },
    { value: "export", label: "Save them to a file first, then clear", hint: "holdfast queue import brings them back" },
    { value: "clear", label: `Clear, and lose ${plural(unsent, "unsent operation")}` },
  ]);
  if (choice !== "export") return choice === "clear";
  const name = `holdfast-${new Date(context.now()).toISOString().slice(0, 10)}.jsonl`;
  const target = (await ask.text("Which file?", name))?.trim() ?? "";
  if (target === "") return false;
  const written = await saveFirst(context, target);
  // Who asked for the file believes that nothing is lost any more.
  return written.captured === 0 || (await ask.confirm(`${goneText(unsent, written)} Clear?`)) === true;
}

function goneText(unsent: number, { path, captured }: Saved): string {
  const files = captured === 0 ? "" : `, without the captured files of ${captured}, which would be deleted`;
  return `${plural(unsent, "unsent operation")} would go; ${path} holds them${files}.`;
}

type Saved = { readonly path: string; readonly captured: number };

async function saveFirst(context: Context, path: string): Promise<Saved> {
  const whole = { filter: {}, path: resolve(context.host.cwd, path), isReplacing: false, isRedacted: false };
  const { count, captured } = await exportTo(context, whole).catch((error: unknown) => {
    // The hint of the export itself names an option that only the export has.
    throw isCode(error, "refused_by_state")
      ? new HoldfastError(error.code, error.message, "nothing was cleared; choose another file", { cause: error })
      : error;
  });
  context.tell(`${context.errorPaint.green(sign.yes)} Saved ${plural(count, "operation")} to ${path}`);
  tellCaptured(context, captured);
  return { path, captured };
}

export const runRemove: Handler<[readonly string[]], { readonly yes?: boolean }> = async (context, [ids], options) => {
  const session = await context.session();
  const isSure = options.yes === true || (await mayRemove(context, ids));
  if (!isSure) return declined(context, "Nothing was removed.");
  return answerBulk(context, await session.call("queue.remove", { ids: [...ids], confirm: true }), "Removed");
};

async function mayRemove(context: Context, ids: readonly string[]): Promise<boolean> {
  const session = await context.session();
  const found = await Promise.all(ids.map((id) => session.call("queue.get", { id }).catch(() => null)));
  const unsent = found.filter((each) => each !== null).filter(({ status }) => !isTerminal(status));
  if (unsent.length === 0) return true;
  const named = unsent.slice(0, 3).map(({ id }) => shortId(id));
  const question = `${plural(unsent.length, "unsent operation")} would be lost (${named.join(", ")}${unsent.length > 3 ? ", …" : ""}).`;
  if (!context.isInteractive)
    throw needsYes(
      question,
      unsent.length,
      "--yes removes them; `holdfast queue cancel` keeps them visible; `holdfast queue export` saves them",
    );
  return (await context.host.ask.confirm(`${question} Remove?`)) === true;
}

function needsYes(question: string, unsent: number, hint: string): HoldfastError {
  return new HoldfastError("confirmation_needed", question, hint, { details: { unsent } });
}
