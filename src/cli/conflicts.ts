/**
 * Owns the reading half of `holdfast conflicts`: list, groups, show. How they look is in `render-conflict.ts`.
 */
import { conflictKinds, conflictStatuses } from "../conflict.ts";
import type { Input, Output } from "../verbs.ts";
import type { Context, Handler } from "./context.ts";
import { definedOnly } from "./order.ts";
import { sign } from "./paint.ts";
import { parseChoice, parseInteger, usage } from "./parse.ts";
import { pageLimit } from "./queue-read.ts";
import { renderConflict, renderConflicts, renderGroups } from "./render-conflict.ts";
import type { Session } from "./session.ts";

export type ConflictFilterOptions = {
  readonly collection?: string;
  readonly kind?: string;
  readonly field?: string;
  readonly author?: string;
  readonly key?: string;
  readonly status?: string;
};
export type ConflictFilter = NonNullable<Input<"conflicts.resolve">["filter"]>;

/** The filter options of a command as the verbs take them. */
export function parseConflictFilter(options: ConflictFilterOptions): ConflictFilter {
  return definedOnly<ConflictFilter>({
    collection: options.collection,
    kind: options.kind === undefined ? undefined : parseChoice(options.kind, "--kind", conflictKinds),
    field: options.field,
    author: options.author,
    key: options.key,
    status: options.status === undefined ? undefined : parseChoice(options.status, "--status", conflictStatuses),
  });
}

type ListOptions = ConflictFilterOptions & { readonly limit: string };

export const runConflictList: Handler<[], ListOptions> = async (context, _args, options) => {
  const wanted = parseInteger(options.limit, "--limit");
  if (wanted < 0) throw usage("--limit: a count is not negative", "write --limit 100, or --limit 0 for all");
  const filter = parseConflictFilter(options);
  const session = await context.session();
  const limit = wanted === 0 ? Number.POSITIVE_INFINITY : wanted;
  const page = await readConflicts(session, { status: "open", ...filter }, limit);
  context.answer(page, () => {
    if (context.isQuiet) return page.conflicts.map(({ id }) => id).join("\n");
    return page.conflicts.length === 0 ? nothing(context, filter) : renderList(context, page);
  });
  return 0;
};

function nothing({ paint }: Context, filter: ConflictFilter): string {
  return Object.keys(filter).length === 0 ? `${paint.green(sign.yes)} Nothing needs a decision.` : "Nothing matches.";
}

type Page = Output<"conflicts.list">;

function renderList(context: Context, page: Page): string {
  const { paint } = context;
  const more =
    page.next === null
      ? ""
      : `\n${paint.dim(`… and more (--limit ${page.conflicts.length * 2}, or --limit 0 for all)`)}`;
  const isOpen = page.conflicts.some(({ status }) => status === "open");
  const hint = isOpen
    ? `\n\n${paint.dim(`${sign.hint} holdfast conflicts show ID\n${sign.hint} holdfast conflicts resolve ID --choose local|remote|merge`)}`
    : "";
  return `${renderConflicts(context, page.conflicts)}${more}${hint}`;
}

/** Reads as many pages as it takes. */
export async function readConflicts(session: Session, filter: ConflictFilter, wanted: number): Promise<Page> {
  const conflicts: Page["conflicts"][number][] = [];
  let page: Page;
  let next: string | null = null;
  do {
    const limit = Math.min(wanted - conflicts.length, pageLimit);
    page = await session.call("conflicts.list", { ...filter, limit, ...(next === null ? {} : { cursor: next }) });
    conflicts.push(...page.conflicts);
    next = page.next;
  } while (next !== null && conflicts.length < wanted);
  return { ...page, conflicts, next };
}

export const runConflictGroups: Handler<[], object> = async (context) => {
  const answer = await (await context.session()).call("conflicts.groups", {});
  context.answer(answer, () => renderGroups(context, answer.groups));
  return 0;
};

export const runConflictShow: Handler<[string], object> = async (context, [id]) => {
  const conflict = await (await context.session()).call("conflicts.get", { id });
  context.answer(conflict, () => renderConflict(context, conflict));
  return 0;
};
