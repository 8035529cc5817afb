/**
 * Owns `holdfast sync runs` and `holdfast sync rollback`. How runs look is in `render-records.ts`.
 */
import { HoldfastError } from "../errors.ts";
import type { Output } from "../verbs.ts";
import type { Context, Handler } from "./context.ts";
import { readPages } from "./pages.ts";
import { sign } from "./paint.ts";
import { parseInteger, parseLimit, usage } from "./parse.ts";
import { renderRuns } from "./render-records.ts";
import { declined } from "./report.ts";
import type { Session } from "./session.ts";
import { showByServer } from "./shown-time.ts";
import { plain, plural } from "./text.ts";

export const runSyncRuns: Handler<[], { readonly limit: string }> = async (context, _args, options) => {
  const wanted = parseLimit(options.limit);
  const session = await context.session();
  const { items: runs, next } = await readPages(wanted, async ({ limit, cursor }) => {
    const page = await session.call("sync.runs", cursor === undefined ? { limit } : { limit, before: Number(cursor) });
    return { items: page.runs, next: page.next === null ? null : String(page.next) };
  });
  const { look, shift, note } = await showByServer(context);
  context.answer({ runs, next: next === null ? null : Number(next) }, () => {
    if (runs.length === 0) return "No sync run yet.";
    const more =
      next === null
        ? ""
        : `\n${context.paint.dim(`… and older ones (--limit ${runs.length * 2}, or --limit 0 for all)`)}`;
    return `${renderRuns(look, runs.map(shift))}${more}${note}`;
  });
  return 0;
};

export const runSyncRollback: Handler<[string], { readonly yes?: boolean }> = async (context, [typed], options) => {
  const run = parseInteger(typed, "run");
  if (run < 0) throw usage(`run: ${run} is no run`, "see `holdfast sync runs`");
  const session = await context.session();
  // Nobody is asked about a run that is not there: the engine says so.
  if (options.yes !== true && (await isThere(session, run))) {
    const question = `What run ${run} changed on this device is written back, and travels to the server where it must.`;
    if (!context.isInteractive)
      throw new HoldfastError("confirmation_needed", question, "--yes does it without a question");
    if ((await context.host.ask.confirm(`${question} Go on?`)) !== true)
      return declined(context, "Nothing was changed.");
  }
  const answer = await session.call("sync.rollback", { run });
  context.answer(answer, () => renderRollback(context, answer));
  // Whoever writes `sync rollback 12 && …` must not go on as if all of it was taken back.
  return answer.skipped.length === 0 ? 0 : 1;
};

async function isThere(session: Session, run: number): Promise<boolean> {
  const { runs } = await session.call("sync.runs", { limit: 1, before: run + 1 });
  return runs[0]?.id === run;
}

function renderRollback({ paint }: Context, { run, restored, skipped }: Output<"sync.rollback">): string {
  const mark = restored > 0 || skipped.length === 0 ? paint.green(sign.yes) : paint.yellow(sign.warn);
  const head = `${mark} Rolled run ${run} back: ${plural(restored, "record")} restored`;
  if (skipped.length === 0) return head;
  const lines = skipped.map(
    ({ collection, key, reason }) =>
      `  ${paint.yellow(sign.warn)} ${plain(collection)} ${plain(key)}: ${plain(reason)}`,
  );
  return [head, `${plural(skipped.length, "record")} left alone:`, ...lines].join("\n");
}
