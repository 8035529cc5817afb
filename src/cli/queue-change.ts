/**
 * Owns the changing half of `holdfast queue`: retry, move, cancel, detach, release, resolve, pause, resume.
 * What may lose unsent work is in `queue-clear.ts`; editing is in `queue-edit.ts`.
 */
import type { ExitCode } from "../errors.ts";
import { limits } from "../shapes.ts";
import type { Input, Output } from "../verbs.ts";
import type { Context, Handler } from "./context.ts";
import { readJson } from "./data.ts";
import { sign } from "./paint.ts";
import { parseChoice, usage } from "./parse.ts";
import type { FilterOptions } from "./queue-read.ts";
import { parseFilter } from "./queue-read.ts";
import { renderOperations, titleOf } from "./render-operation.ts";
import { pauseText } from "./render-status.ts";
import { reportRefusals } from "./report.ts";
import type { Session } from "./session.ts";
import { plain, plural, shortId } from "./text.ts";

type Bulk = Output<"queue.retry">;

/** What was done and what was refused. */
export async function answerBulk(context: Context, answer: Bulk, done: string): Promise<ExitCode> {
  const { paint } = context;
  const { length } = answer.done;
  context.answer(answer, () => {
    if (context.isQuiet) return answer.done.join("\n");
    if (length === 0) return answer.refused.length === 0 ? "Nothing to do." : paint.dim("Nothing was changed.");
    const ids = length <= 10 ? `: ${answer.done.map((id) => paint.bold(shortId(id))).join(" ")}` : "";
    return `${paint.green(sign.yes)} ${done} ${plural(length, "operation")}${ids}`;
  });
  return reportRefusals(context, answer.refused);
}

type RetryOptions = FilterOptions & { readonly all?: boolean };

export const runRetry: Handler<[readonly string[]], RetryOptions> = async (context, [ids], options) => {
  const filter = parseFilter(options);
  const isFiltered = Object.keys(filter).length > 0;
  if (ids.length > 0 && (isFiltered || options.all === true))
    throw usage("queue retry: ids and filters exclude each other", "name ids, or give filters such as --lane notes");
  if (ids.length === 0 && !isFiltered && options.all !== true) {
    throw usage(
      "queue retry: which operations?",
      "name ids, a filter such as --lane notes, or --all for everything that failed",
    );
  }
  const input: Input<"queue.retry"> =
    ids.length > 0
      ? { ids: [...ids] }
      : { filter: options.all === true && filter.status === undefined ? { ...filter, status: ["failed"] } : filter };
  const answer = await retryAll(await context.session(), input);
  return answerBulk(context, answer, "Trying again:");
};

/** As often as it takes, and no oftener: what has failed once more meanwhile must not be tried for ever. */
async function retryAll(session: Session, input: Input<"queue.retry">): Promise<Bulk> {
  const done = new Set<string>();
  const refused = new Map<string, Bulk["refused"][number]>();
  for (;;) {
    const answer = await session.call("queue.retry", input);
    const before = done.size + refused.size;
    for (const id of answer.done) done.add(id);
    for (const each of answer.refused) refused.set(each.id, each);
    const isAll = input.filter === undefined || answer.done.length + answer.refused.length < limits.matched;
    if (isAll || done.size + refused.size === before) break;
  }
  return { done: [...done], refused: [...refused.values()] };
}

type MoveOptions = {
  readonly first?: boolean;
  readonly last?: boolean;
  readonly before?: string;
  readonly after?: string;
  readonly lane?: string;
};

export const runMove: Handler<[string], MoveOptions> = async (context, [id], options) => {
  const places = [options.first, options.last, options.before, options.after].filter((each) => each !== undefined);
  if (places.length > 1 || (places.length === 0 && options.lane === undefined)) {
    throw usage("queue move: where to?", "give one of --first, --last, --before ID, --after ID, or --lane LANE");
  }
  const lane = options.lane === undefined ? {} : { lane: options.lane === "" ? null : options.lane };
  const place = options.first
    ? { to: "first" as const }
    : options.last
      ? { to: "last" as const }
      : options.before !== undefined
        ? { before: options.before }
        : options.after !== undefined
          ? { after: options.after }
          : {};
  const session = await context.session();
  const moved = await session.call("queue.move", { id, ...place, ...lane });
  const inLane =
    moved.lane === null
      ? []
      : (await session.call("queue.list", { lane: moved.lane, order: "run", limit: 10 })).operations;
  context.confirm(moved, () => {
    const words = `${context.paint.green(sign.yes)} Moved ${context.paint.bold(shortId(moved.id))} ${titleOf(moved)}`;
    if (moved.lane === null) return `${words}: it has no lane now`;
    return `${words}\n\nLane ${plain(moved.lane)} now:\n${renderOperations(context, inLane)}`;
  });
  return 0;
};

export const runCancel: Handler<[readonly string[]], { readonly dependents?: string }> = async (
  context,
  [ids],
  options,
) => {
  const dependents =
    options.dependents === undefined
      ? undefined
      : parseChoice(options.dependents, "--dependents", ["hold", "cancel", "detach"]);
  const session = await context.session();
  const answer = await session.call(
    "queue.cancel",
    dependents === undefined ? { ids: [...ids] } : { ids: [...ids], dependents },
  );
  return answerBulk(context, answer, "Cancelled");
};

export const runDetach: Handler<[string], { readonly from?: readonly string[] }> = async (context, [id], options) => {
  const session = await context.session();
  const operation = await session.call(
    "queue.detach",
    options.from === undefined ? { id } : { id, from: [...options.from] },
  );
  const { dependsOn } = operation;
  context.confirm(operation, () => {
    const rest =
      dependsOn.length === 0
        ? "it waits for no other operation now"
        : `it still waits for ${dependsOn.map(shortId).join(", ")}`;
    return `${context.paint.green(sign.yes)} Detached ${context.paint.bold(shortId(operation.id))}: ${rest}`;
  });
  return 0;
};

export const runRelease: Handler<[readonly string[]], object> = async (context, [ids]) => {
  const answer = await (await context.session()).call("queue.release", { ids: [...ids] });
  return answerBulk(context, answer, "Submitted");
};

export const runResolve: Handler<[readonly string[]], { readonly choose: string; readonly payload?: string }> = async (
  context,
  [ids],
  options,
) => {
  const choose = parseChoice(options.choose, "--choose", ["local", "remote", "merge"]);
  const payload =
    options.payload === undefined ? undefined : await readJson(context.host, options.payload, "--payload");
  const session = await context.session();
  const input = { ids: [...ids], choose };
  const answer = await session.call(
    "queue.resolve",
    payload === undefined ? input : { ...input, payload: payload as never },
  );
  const words = {
    local: "Sending ours for",
    remote: "Kept the remote's side of",
    merge: "Sending the merged side of",
  } as const;
  return answerBulk(context, answer, words[choose]);
};

type ScopeOptions = {
  readonly lane?: string;
  readonly type?: string;
  readonly remote?: string;
  readonly reason?: string;
};
type Scope = Input<"queue.pause">["scope"];

function parseScope(options: ScopeOptions): Scope {
  const given = (["lane", "type", "remote"] as const).flatMap((kind) => {
    const name = options[kind];
    return name === undefined ? [] : [{ kind, name }];
  });
  if (given.length > 1)
    throw usage("one scope at a time", "give one of --lane, --type, --remote, or none for everything");
  return given[0] ?? { kind: "all" };
}

function scopeText(scope: Scope): string {
  return scope.kind === "all" ? "everything" : `${scope.kind} ${scope.name}`;
}

export const runPause: Handler<[], ScopeOptions> = async (context, _args, options) => {
  const scope = parseScope(options);
  const input = options.reason === undefined ? { scope } : { scope, reason: options.reason };
  const answer = await (await context.session()).call("queue.pause", input);
  context.confirm(
    answer,
    () => `${context.paint.green(sign.yes)} Paused ${plain(scopeText(scope))}\n${pausesText(context, answer.paused)}`,
  );
  return 0;
};

export const runResume: Handler<[], ScopeOptions> = async (context, _args, options) => {
  const scope = parseScope(options);
  const answer = await (await context.session()).call("queue.resume", { scope });
  // The pause of everything is one, and what was paused by itself another.
  const but = scope.kind === "all" && answer.paused.length > 0 ? " that is not paused by itself" : "";
  context.confirm(
    answer,
    () =>
      `${context.paint.green(sign.yes)} Resumed ${plain(scopeText(scope))}${but}\n${pausesText(context, answer.paused)}`,
  );
  return 0;
};

function pausesText({ paint, now }: Context, paused: Output<"queue.pause">["paused"]): string {
  if (paused.length === 0) return paint.dim("Nothing is paused.");
  return paused.map((pause) => paint.dim(`  paused: ${pauseText(pause, now())}`)).join("\n");
}
