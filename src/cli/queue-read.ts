/**
 * Owns the reading half of `holdfast queue`: status, list, show, why, history. How they look is in the renderers.
 */
import type { Status } from "../operation.ts";
import { reasons, statuses } from "../operation.ts";
import type { Input } from "../verbs.ts";
import type { Context, Handler } from "./context.ts";
import { definedOnly } from "./order.ts";
import { readPages } from "./pages.ts";
import { parseChoice, parseInteger, parseLimit } from "./parse.ts";
import { renderHistory, renderOperation, renderOperations, renderWhy } from "./render-operation.ts";
import { renderLight, renderQueueStatus } from "./render-status.ts";
import type { Operation, Session } from "./session.ts";
import { grouped } from "./text.ts";

export type FilterOptions = {
  readonly status?: readonly string[];
  readonly lane?: string;
  readonly type?: string;
  readonly remote?: string;
  readonly reason?: string;
  readonly subject?: string;
  readonly group?: string;
};

export type Filter = NonNullable<Input<"queue.retry">["filter"]>;

/** The filter options of a command as the verbs take them. */
export function parseFilter(options: FilterOptions): Filter {
  return definedOnly<Filter>({
    status: options.status?.map((each) => parseChoice(each, "--status", statuses)),
    lane: options.lane,
    type: options.type,
    remote: options.remote,
    reason: options.reason === undefined ? undefined : parseChoice(options.reason, "--reason", reasons),
    subject: options.subject,
    group: options.group,
  });
}

const shownNext = 10;

export const runQueueStatus: Handler<[], object> = async (context) => {
  const session = await context.session();
  const status = await session.call("queue.status", {});
  const next = await session.call("queue.list", { status: ["in_progress", "pending"], order: "run", limit: shownNext });
  context.answer({ ...status, next: next.operations }, () => renderQueueStatus(context, status, next.operations));
  return 0;
};

const unfinished: readonly Status[] = ["draft", "pending", "in_progress", "failed"];
type ListOptions = FilterOptions & { readonly all?: boolean; readonly order?: string; readonly limit: string };

export const runList: Handler<[], ListOptions> = async (context, _args, options) => {
  const wanted = parseLimit(options.limit);
  const filter = parseFilter(options);
  const order =
    options.order === undefined
      ? options.all === true
        ? "oldest"
        : "run"
      : parseChoice(options.order, "--order", ["run", "oldest", "newest"]);
  const status = filter.status ?? (options.all === true ? undefined : [...unfinished]);
  const session = await context.session();
  const input: Input<"queue.list"> = status === undefined ? { ...filter, order } : { ...filter, status, order };
  const { items: operations, next } = await readPages(wanted, async (part) => {
    const page = await session.call("queue.list", { ...input, ...part });
    return { items: page.operations, next: page.next };
  });
  if (context.isJson) {
    context.answer({ operations, next }, () => "");
    return 0;
  }
  if (context.isQuiet) for (const { id } of operations) context.say(id);
  else await sayList(context, session, { operations, next, isFiltered: Object.keys(filter).length > 0 });
  return 0;
};

type Page = { readonly operations: readonly Operation[]; readonly next: string | null };

async function sayList(
  context: Context,
  session: Session,
  page: Page & { readonly isFiltered: boolean },
): Promise<void> {
  const { paint } = context;
  const status = await session.call("queue.status", {});
  if (page.operations.length === 0) {
    context.say(page.isFiltered ? "Nothing matches." : "Nothing is queued.");
  } else {
    context.say(renderOperations(context, page.operations, status.signedOut));
  }
  if (page.next !== null) context.say(paint.dim(moreText(page, status.counts)));
  context.tell(`\n${renderLight(context.errorPaint, status)}`);
}

function moreText(
  { operations, isFiltered }: Page & { readonly isFiltered: boolean },
  counts: Readonly<Partial<Record<Status, number>>>,
): string {
  const total = unfinished.reduce((sum, status) => sum + (counts[status] ?? 0), 0);
  const more = total - operations.length;
  // Only the counts per status are kept; how many match a narrower filter is not known without reading them all.
  const rest = isFiltered || more <= 0 ? "more" : `${grouped(more)} more`;
  return `… and ${rest} (--limit ${operations.length * 2}, or --limit 0 for all)`;
}

export const runShow: Handler<[string], object> = async (context, [id]) => {
  const operation = await (await context.session()).call("queue.get", { id });
  context.answer(operation, () => renderOperation(context, operation));
  return 0;
};

export const runWhy: Handler<[string], object> = async (context, [id]) => {
  const why = await (await context.session()).call("queue.why", { id });
  context.answer(why, () => renderWhy(context, why));
  return 0;
};

export const runHistory: Handler<[string], { readonly limit: string }> = async (context, [id], options) => {
  const limit = parseInteger(options.limit, "--limit");
  const history = await (await context.session()).call("queue.history", { id, limit });
  context.answer(history, () => renderHistory(context, history));
  return 0;
};
