/**
 * Owns the reading half of `holdfast conflicts`: list, groups, show. How they look is in `render-conflict.ts`.
 */
import { conflictKinds, conflictStatuses } from "../conflict.ts";
import type { Input, Output } from "../verbs.ts";
import type { Context, Handler } from "./context.ts";
import { definedOnly } from "./order.ts";
import { readPages } from "./pages.ts";
import { sign } from "./paint.ts";
import { parseChoice, parseLimit } from "./parse.ts";
import { renderConflict, renderConflicts, renderGroups } from "./render-conflict.ts";
import type { Session } from "./session.ts";
import { showByServer } from "./shown-time.ts";

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
  const wanted = parseLimit(options.limit);
  const filter = parseConflictFilter(options);
  const session = await context.session();
  const page = await readConflicts(session, { status: "open", ...filter }, wanted);
  const isAll = Object.keys(filter).length === 0;
  const isLooking = page.conflicts.length === 0 && isAll && !context.isQuiet && !context.isJson;
  const isBeside = isLooking && (await hasOperations(session));
  context.answer(page, () => {
    if (context.isQuiet) return page.conflicts.map(({ id }) => id).join("\n");
    if (page.conflicts.length > 0) return renderList(context, page);
    return isAll ? nothing(context, isBeside) : "Nothing matches.";
  });
  return 0;
};

/** Operations of other types are in no inbox, but wait for a decision just as well. */
async function hasOperations(session: Session): Promise<boolean> {
  return (await session.call("queue.list", { reason: "conflict", limit: 1 })).operations.length > 0;
}

function nothing({ paint }: Context, isBeside: boolean): string {
  if (!isBeside) return `${paint.green(sign.yes)} Nothing needs a decision.`;
  const steps = `${sign.hint} holdfast queue list --reason conflict, then holdfast queue resolve ID --choose local|remote`;
  return `${paint.yellow(sign.warn)} No conflict of a record is open, but there are operations in conflict.\n${paint.dim(steps)}`;
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

export const countOpen = async (session: Session): Promise<number> =>
  (await session.call("conflicts.list", { status: "open", limit: 1 })).open;

/** The conflicts that a filter leaves, with how many are open in all. */
export async function readConflicts(session: Session, filter: ConflictFilter, wanted: number): Promise<Page> {
  let open = 0;
  const { items, next } = await readPages(wanted, async (part) => {
    const page = await session.call("conflicts.list", { ...filter, ...part });
    open = page.open;
    return { items: page.conflicts, next: page.next };
  });
  return { conflicts: [...items], next, open };
}

export const groupParts = ["collection", "kind", "field", "author"] as const;

export const runConflictGroups: Handler<[], { readonly by?: readonly string[] }> = async (context, _args, options) => {
  const by = options.by?.map((part) => parseChoice(part, "--by", groupParts));
  const answer = await (await context.session()).call("conflicts.groups", {});
  const groups = by === undefined ? answer.groups : regroup(answer.groups, new Set(by));
  context.answer({ groups }, () => renderGroups(context, groups));
  return 0;
};

/** What a group leaves out is empty in it; one with several fields in dispute counts for each of them. */
export type ConflictGroup = Omit<Output<"conflicts.groups">["groups"][number], "kind"> & { readonly kind: string };

function regroup(groups: readonly ConflictGroup[], by: ReadonlySet<string>): readonly ConflictGroup[] {
  const found = new Map<string, ConflictGroup>();
  const split = groups.flatMap((group) =>
    by.has("field") && group.fields.length > 0 ? group.fields.map((field) => ({ ...group, fields: [field] })) : [group],
  );
  for (const group of split) {
    const { collection, kind, fields, author, count, oldestAt } = group;
    const cause = {
      collection: by.has("collection") ? collection : "",
      kind: by.has("kind") ? kind : "",
      fields: by.has("field") ? fields : [],
      author: by.has("author") ? author : "",
    };
    const name = JSON.stringify(cause);
    const known = found.get(name);
    const oldest = Math.min(oldestAt, known?.oldestAt ?? oldestAt);
    found.set(name, { ...cause, count: count + (known?.count ?? 0), oldestAt: oldest });
  }
  return [...found.values()].sort((a, b) => b.count - a.count);
}

export const runConflictShow: Handler<[string], object> = async (context, [id]) => {
  const conflict = await (await context.session()).call("conflicts.get", { id });
  const { look, shift, note } = await showByServer(context);
  context.answer(conflict, () => `${renderConflict(look, shift(conflict))}${note}`);
  return 0;
};
