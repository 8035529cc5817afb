/**
 * Owns deciding conflicts from the command line: one, or many after a question that says how many, and taking decisions back.
 */
import { choices } from "../conflict.ts";
import type { ExitCode } from "../errors.ts";
import { HoldfastError } from "../errors.ts";
import type { Fields } from "../record.ts";
import type { Input, Output } from "../verbs.ts";
import type { ConflictFilterOptions } from "./conflicts.ts";
import { parseConflictFilter, readConflicts } from "./conflicts.ts";
import type { Context, Handler } from "./context.ts";
import { readJson } from "./data.ts";
import { sign } from "./paint.ts";
import { parseChoice, parseInteger, usage } from "./parse.ts";
import { declined, reportRefusals } from "./report.ts";
import { plain, plural, shortId } from "./text.ts";

type ResolveOptions = ConflictFilterOptions & {
  readonly choose: string;
  readonly data?: string;
  readonly fields?: readonly string[];
  readonly all?: boolean;
  readonly yes?: boolean;
};
type Choose = Input<"conflicts.resolve">["choose"];

export const runConflictResolve: Handler<[readonly string[]], ResolveOptions> = async (context, [ids], options) => {
  const choose = parseChoice(options.choose, "--choose", choices);
  const wish = { ...wishOf(choose, options.fields), ...(await readValue(context, choose, options.data)) };
  const filter = parseConflictFilter(options);
  if (ids.length > 0 && (options.all === true || Object.keys(filter).length > 0))
    throw usage("conflicts resolve: ids and filters exclude each other", "name ids, or give --all with filters");
  if (ids.length === 0 && options.all !== true)
    throw usage(
      "conflicts resolve: which conflicts?",
      "name ids, or give --all with filters such as --collection notes",
    );
  const session = await context.session();
  if (ids.length === 0) {
    const wanted = { ...filter, status: "open" as const };
    const count = (await readConflicts(session, wanted, Number.POSITIVE_INFINITY)).conflicts.length;
    if (count === 0) {
      context.answer({ done: [], refused: [] }, () => "Nothing to decide.");
      return 0;
    }
    if (!(await isAgreed(context, { count, choose, isYes: options.yes === true })))
      return declined(context, "Nothing was decided.");
    return answerDecided(context, await session.call("conflicts.resolve", { filter: wanted, ...wish }), wish);
  }
  return answerDecided(context, await session.call("conflicts.resolve", { ids: [...ids], ...wish }), wish);
};

type Wish = Pick<Input<"conflicts.resolve">, "choose" | "fields">;

/** Only some fields from one side means the rest of what is in dispute from the other. */
function wishOf(choose: Choose, names: readonly string[] | undefined): Wish {
  if (names === undefined) return { choose };
  if (choose !== "local" && choose !== "remote")
    throw usage("--fields goes with --choose local or --choose remote", "write --choose remote --fields title,stars");
  const fields = Object.fromEntries(names.map((name) => [name, choose]));
  return { choose: choose === "local" ? "remote" : "local", fields };
}

type Question = { readonly count: number; readonly choose: Choose; readonly isYes: boolean };

const sides: Readonly<Record<Choose, string>> = {
  local: "what was written here",
  remote: "what the server has",
  merge: "both sides, merged by the declared rules",
  value: "the given value",
};

export async function isAgreed(context: Context, { count, choose, isYes }: Question): Promise<boolean> {
  if (isYes) return true;
  const question = `${plural(count, "conflict")} would become ${sides[choose]}.`;
  if (!context.isInteractive)
    throw new HoldfastError(
      "confirmation_needed",
      question,
      "--yes decides them without a question; what loses stays in the history of each record",
      {
        details: { count },
      },
    );
  return (await context.host.ask.confirm(`${question} Decide?`)) === true;
}

async function readValue(
  context: Context,
  choose: Choose,
  data: string | undefined,
): Promise<{ readonly value?: Fields | null }> {
  if (choose !== "value") {
    if (data !== undefined) throw usage("--data goes with --choose value", "write --choose value --data '{…}'");
    return {};
  }
  if (data === undefined)
    throw usage("--choose value needs the value", "write --data '{…}', or --data null to remove it");
  const value = await readJson(context.host, data, "--data");
  if (value !== null && (typeof value !== "object" || Array.isArray(value)))
    throw usage("--data: a record is a JSON object", "write --data '{…}', or --data null to remove it");
  return { value: value as Fields | null };
}

function answerDecided(context: Context, answer: Output<"conflicts.resolve">, { choose, fields }: Wish): ExitCode {
  context.answer(answer, () =>
    doneText(
      context,
      answer,
      `Decided ${plural(answer.done.length, "conflict")} for ${fields === undefined ? sides[choose] : "the named fields of one side and the rest of the other"}`,
    ),
  );
  return reportRefusals(context, answer.refused);
}

function doneText(context: Context, { done, refused }: Output<"conflicts.resolve">, words: string): string {
  const { paint } = context;
  if (context.isQuiet) return done.join("\n");
  if (done.length === 0) return refused.length === 0 ? "Nothing to do." : paint.dim("Nothing was changed.");
  const ids = done.length <= 10 ? `: ${done.map((id) => paint.bold(shortId(id))).join(" ")}` : "";
  return `${paint.green(sign.yes)} ${words}${ids}`;
}

const preferable = ["local", "remote", "merge"] as const;

type PreferOptions = { readonly choose: string; readonly seen: string };

export const runConflictPrefer: Handler<[string, string], PreferOptions> = async (
  context,
  [collection, key],
  options,
) => {
  const choose = parseChoice(options.choose, "--choose", preferable);
  const version = parseInteger(options.seen, "--seen");
  const answer = await (await context.session()).call("conflicts.prefer", { collection, key, choose, version });
  context.answer(answer, () => {
    const { paint } = context;
    const what = `"${plain(answer.key)}" of "${plain(answer.collection)}" becomes ${sides[choose]}`;
    return `${paint.green(sign.yes)} ${what} if the server has version ${version} by then; else you are asked`;
  });
  return 0;
};

export const runConflictUndo: Handler<[readonly string[]], object> = async (context, [ids]) => {
  const answer = await (await context.session()).call("conflicts.undo", { ids: [...ids] });
  context.answer(answer, () => doneText(context, answer, `Took back ${plural(answer.done.length, "decision")}`));
  return reportRefusals(context, answer.refused);
};
