/**
 * Owns `holdfast sync --all`: everything is sent, everything is read again, and what is in conflict is decided for one side where that is
 * asked for; then what was decided is sent. Waiting for a run is `sync.ts`.
 */
import type { ExitCode } from "../errors.ts";
import type { Output } from "../verbs.ts";
import { countOpen } from "./conflicts.ts";
import { isAgreed } from "./conflicts-decide.ts";
import type { Context } from "./context.ts";
import { sign } from "./paint.ts";
import { parseChoice } from "./parse.ts";
import { renderRun } from "./render-status.ts";
import { reportRefusals } from "./report.ts";
import type { Session } from "./session.ts";
import { plain, plural } from "./text.ts";

const sides = ["local", "remote", "merge"] as const;

/** What was decided may meet the next change of somebody else; after so many rounds the rest is told. */
const roundLimit = 3;

type Wish = {
  readonly resolve: string | undefined;
  readonly isYes: boolean;
  readonly retryFailed: boolean;
  /** Waits for the run under way; `null`: the person did not want to wait. */
  readonly untilEnded: () => Promise<Output<"sync.status"> | null>;
};

export async function forceSync(context: Context, session: Session, wish: Wish): Promise<ExitCode> {
  const choose = wish.resolve === undefined ? null : parseChoice(wish.resolve, "--resolve", sides);
  const known = await session.call("collections.list", {});
  const asked = known.collections.some(({ state }) => state !== "local")
    ? await session.call("collections.sync", { full: true })
    : null;
  const begun = await session.call("sync.run", wish.retryFailed ? { retryFailed: true } : {});
  if (begun.isOffline || asked?.isOffline === true) {
    context.answer({ ...begun, decided: [], refused: [] }, () => offlineText(context, begun.sentence));
    return 5;
  }
  const decided: string[] = [];
  const refused = new Map<string, Output<"conflicts.resolve">["refused"][number]>();
  let sync = await wish.untilEnded();
  for (let round = 0; sync !== null && choose !== null && round < roundLimit; round += 1) {
    const count = await countOpen(session);
    if (count <= refused.size) break;
    if (round === 0 && !(await isAgreed(context, { count, choose, isYes: wish.isYes }))) break;
    const answer = await session.call("conflicts.resolve", { filter: { status: "open" }, choose });
    decided.push(...answer.done);
    for (const each of answer.refused) refused.set(each.id, each);
    if (answer.done.length === 0) break;
    await session.call("sync.run", {});
    sync = await wish.untilEnded();
  }
  return sync === null ? 1 : tellEnd(context, session, { sync, decided, refused: [...refused.values()] });
}

function offlineText({ paint }: Context, sentence: string): string {
  return `${paint.yellow(sign.warn)} ${plain(sentence)}`;
}

type End = {
  readonly sync: Output<"sync.status">;
  readonly decided: readonly string[];
  readonly refused: Output<"conflicts.resolve">["refused"];
};

async function tellEnd(context: Context, session: Session, { sync, decided, refused }: End): Promise<ExitCode> {
  const { paint } = context;
  const { counts, unsent, sentence } = await session.call("queue.status", {});
  const { collections } = await session.call("collections.list", {});
  const open = await countOpen(session);
  const startedAt = sync.run?.startedAt ?? 0;
  const missing = collections.filter(
    ({ state, asOf }) => state !== "local" && (state !== "idle" || (asOf ?? 0) < startedAt),
  );
  const failed = (counts.failed ?? 0) - open;
  const left = [
    ...(open === 0
      ? []
      : [`${plural(open, "conflict")} ${open === 1 ? "needs" : "need"} a decision: holdfast conflicts list`]),
    ...(failed <= 0 ? [] : [`${plural(failed, "operation")} failed and ${failed === 1 ? "remains" : "remain"} queued`]),
    ...missing.map(
      ({ spec, problem }) =>
        `${plain(spec.name)} is not all here: ${plain(problem?.message ?? "the server did not answer")}`,
    ),
    ...(unsent > 0 && open === 0 && failed <= 0
      ? [`${plural(unsent, "operation")} still ${unsent === 1 ? "waits" : "wait"}: ${plain(sentence)}`]
      : []),
  ];
  context.answer({ ...sync, unsent, open, decided, refused, missing: missing.map(({ spec }) => spec.name) }, () => {
    const run = sync.run === null ? [] : [renderRun(context, sync.run)];
    const choice =
      decided.length === 0 ? [] : [`${paint.green(sign.yes)} Decided ${plural(decided.length, "conflict")}`];
    const end =
      left.length === 0
        ? [`${paint.green(sign.yes)} Everything is sent, everything is here, nothing is in conflict`]
        : left.map((line) => `${paint.yellow(sign.warn)} ${line}`);
    return [...run, [...choice, ...end].join("\n")].join("\n\n");
  });
  reportRefusals(context, refused);
  return left.length === 0 ? 0 : 1;
}
