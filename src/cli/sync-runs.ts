/**
 * Owns `holdfast sync runs` and `holdfast sync rollback`. How runs look is in `render-records.ts`.
 */
import { HoldfastError } from "../errors.ts";
import type { Output } from "../verbs.ts";
import type { Context, Handler } from "./context.ts";
import { sign } from "./paint.ts";
import { parseInteger } from "./parse.ts";
import { renderRuns } from "./render-records.ts";
import { showByServer } from "./shown-time.ts";
import { plain, plural } from "./text.ts";

export const runSyncRuns: Handler<[], { readonly limit: string }> = async (context, _args, options) => {
  const limit = parseInteger(options.limit, "--limit");
  const answer = await (await context.session()).call("sync.runs", { limit });
  const { look, shift, note } = await showByServer(context);
  context.answer(answer, () => {
    if (answer.runs.length === 0) return "No sync run yet.";
    const more = answer.next === null ? "" : `\n${context.paint.dim(`… and older ones (--limit ${limit * 2})`)}`;
    return `${renderRuns(look, answer.runs.map(shift))}${more}${note}`;
  });
  return 0;
};

export const runSyncRollback: Handler<[string], { readonly yes?: boolean }> = async (context, [typed], options) => {
  const run = parseInteger(typed, "run");
  const session = await context.session();
  if (options.yes !== true) {
    const question = `What run ${run} changed on this device is written back, and travels to the server where it must.`;
    if (!context.isInteractive)
      throw new HoldfastError("confirmation_needed", question, "--yes does it without a question");
    if ((await context.host.ask.confirm(`${question} Go on?`)) !== true) {
      context.say("Nothing was changed.");
      return 0;
    }
  }
  const answer = await session.call("sync.rollback", { run });
  context.answer(answer, () => renderRollback(context, answer));
  return 0;
};

function renderRollback({ paint }: Context, { run, restored, skipped }: Output<"sync.rollback">): string {
  const head = `${paint.green(sign.yes)} Rolled run ${run} back: ${plural(restored, "record")} restored`;
  if (skipped.length === 0) return head;
  const lines = skipped.map(
    ({ collection, key, reason }) =>
      `  ${paint.yellow(sign.warn)} ${plain(collection)} ${plain(key)}: ${plain(reason)}`,
  );
  return [head, `${plural(skipped.length, "record")} left alone:`, ...lines].join("\n");
}
