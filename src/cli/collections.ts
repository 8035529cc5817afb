/**
 * Owns `holdfast collections`: where each stands, declaring one without code, pulling. How they look is in `render-records.ts`.
 */
import type { ConflictKind } from "../conflict.ts";
import { conflictKinds } from "../conflict.ts";
import type { ExitCode } from "../errors.ts";
import { HoldfastError } from "../errors.ts";
import { strategies } from "../operation.ts";
import type { CollectionView, Input, Output } from "../verbs.ts";
import { parseWhere } from "./conditions.ts";
import type { Context, Handler } from "./context.ts";
import { readJson } from "./data.ts";
import { definedOnly } from "./order.ts";
import { sign } from "./paint.ts";
import { parseChoice, parseDuration, parseJson, parseList, usage } from "./parse.ts";
import { formatDuration } from "./relative-time.ts";
import { renderCollections, renderPulling } from "./render-records.ts";
import type { Session } from "./session.ts";
import { makeStep } from "./step.ts";
import { refuseTrouble } from "./sync-trouble.ts";
import { plain } from "./text.ts";

const lookMs = 200;

export const runCollectionList: Handler<[], object> = async (context) => {
  const list = await (await context.session()).call("collections.list", {});
  context.answer(list, () => renderCollections(context, list));
  return 0;
};

type DeclareOptions = {
  readonly index?: readonly string[];
  readonly unique?: readonly string[];
  readonly merge?: readonly string[];
  readonly strategy?: readonly string[];
  readonly space?: string;
  readonly filter?: readonly string[];
  readonly local?: boolean;
  readonly spec?: string;
  readonly replace?: boolean;
};
type Spec = Input<"collections.declare">;

export const runCollectionDeclare: Handler<[string], DeclareOptions> = async (context, [name], options) => {
  const whole = options.spec === undefined ? {} : await readJson(context.host, options.spec, "--spec");
  const more = definedOnly<Omit<Spec, "name">>({
    indexes: options.index?.map((each) => oneOrMany(parseList(each))),
    unique: options.unique?.map((each) => [...parseList(each)]),
    merge: options.merge === undefined ? undefined : parseRules(options.merge),
    strategy: options.strategy === undefined ? undefined : parseStrategies(options.strategy),
    space: options.space,
    filter: options.filter === undefined ? undefined : (parseWhere(options.filter, "--filter") as Spec["filter"]),
    isSynced: options.local === true ? false : undefined,
  });
  const named = { ...(whole as object), ...more, name };
  const session = await context.session();
  const known = options.replace === true ? undefined : await findSpec(session, name);
  const spec = known === undefined ? named : addTo(known, named);
  const view = await session.call("collections.declare", spec);
  context.confirm(view, () => {
    const where = view.state === "local" ? "stays on this device" : `goes to space ${plain(view.space)}`;
    const kept =
      known === undefined ? "" : `\n${context.paint.dim(`  what was declared before stays; --replace forgets it`)}`;
    return `${context.paint.green(sign.yes)} Collection ${context.paint.bold(name)} ${where}${kept}`;
  });
  return 0;
};

async function findSpec(session: Session, name: string): Promise<Spec | undefined> {
  const { collections } = await session.call("collections.list", {});
  return collections.find(({ spec }) => spec.name === name)?.spec;
}

/** Lists and rules grow by what is named; what is one thing, such as the filter, is exchanged. */
function addTo(known: Spec, named: Spec): Spec {
  const lists = definedOnly<Pick<Spec, "indexes" | "unique" | "localOnly">>({
    indexes: union(known.indexes, named.indexes),
    unique: union(known.unique, named.unique),
    localOnly: union(known.localOnly, named.localOnly),
  });
  const rules = definedOnly<Pick<Spec, "merge" | "strategy">>({
    merge: both(known.merge, named.merge),
    strategy: both(known.strategy, named.strategy),
  });
  return { ...known, ...named, ...lists, ...rules };
}

function union<T>(known: readonly T[] | undefined, named: readonly T[] | undefined): T[] | undefined {
  if (known === undefined && named === undefined) return undefined;
  const all = [...(known ?? []), ...(named ?? [])].map((each) => [JSON.stringify(each), each] as const);
  return [...new Map(all).values()];
}

const both = <T extends object>(known: T | undefined, named: T | undefined): T | undefined =>
  known === undefined && named === undefined ? undefined : ({ ...known, ...named } as T);

const oneOrMany = (fields: readonly string[]): string | string[] =>
  fields.length === 1 ? (fields[0] ?? "") : [...fields];

/** "body=text"; a rule with more than its name is written as JSON. */
function parseRules(texts: readonly string[]): NonNullable<Spec["merge"]> {
  const entries = texts.map((text) => {
    const equals = text.indexOf("=");
    if (equals < 1) throw usage(`--merge: "${text}" names no rule`, "write for example --merge body=text");
    const typed = text.slice(equals + 1);
    const rule = typed.startsWith("{")
      ? (parseJson(typed, `--merge ${text.slice(0, equals)}`) as object)
      : { rule: typed };
    return [text.slice(0, equals), rule] as const;
  });
  return Object.fromEntries(entries) as NonNullable<Spec["merge"]>;
}

function parseStrategies(texts: readonly string[]): NonNullable<Spec["strategy"]> {
  const pairs = texts.flatMap((text): readonly (readonly [ConflictKind, (typeof strategies)[number]])[] => {
    const [left = "", right] = text.split("=");
    if (right === undefined)
      return conflictKinds.map((kind) => [kind, parseChoice(left, "--strategy", strategies)] as const);
    return [[parseChoice(left, "--strategy", conflictKinds), parseChoice(right, "--strategy", strategies)] as const];
  });
  return Object.fromEntries(pairs) as NonNullable<Spec["strategy"]>;
}

type SyncOptions = { readonly full?: boolean; readonly wait?: boolean; readonly timeout?: string };

export const runCollectionSync: Handler<[string | undefined, string | undefined], SyncOptions> = async (
  context,
  [collection, key],
  options,
) => {
  const timeoutMs = options.timeout === undefined ? undefined : parseDuration(options.timeout, "--timeout");
  if (timeoutMs !== undefined && options.wait !== true)
    throw usage("collections sync: --timeout goes with --wait", "write collections sync --wait --timeout 30s");
  const session = await context.session();
  const before = context.now();
  const full = options.full === true ? true : undefined;
  const started = await session.call("collections.sync", definedOnly({ collection, key, full }));
  if (options.wait !== true) {
    context.answer(started, () => startedText(context, started));
    return 0;
  }
  // Whether a record is here as the server has it is known once its collection is.
  if (key !== undefined) await session.call("collections.sync", definedOnly({ collection }));
  return follow(context, session, { names: started.collections, before, timeoutMs });
};

function startedText({ paint }: Context, { isOffline, sentence }: Output<"collections.sync">): string {
  const mark = isOffline ? paint.yellow(sign.warn) : paint.green(sign.yes);
  return `${mark} ${plain(sentence)}`;
}

type Following = { readonly names: readonly string[]; readonly before: number; readonly timeoutMs: number | undefined };

/** Looks until every collection is known to be complete as of a time after the beginning. */
async function follow(context: Context, session: Session, { names, before, timeoutMs }: Following): Promise<ExitCode> {
  const step = makeStep(context);
  try {
    for (;;) {
      const list = await session.call("collections.list", {});
      const wanted = list.collections.filter((each) => names.includes(each.spec.name));
      const open = wanted.filter((each) => isOpen(each, before));
      const [first] = open;
      if (first === undefined) {
        step.end();
        context.answer({ ...list, collections: wanted }, () =>
          renderCollections(context, { ...list, collections: wanted }),
        );
        return tellRefused(context, wanted);
      }
      await refuseTrouble(context, session, before);
      step.show(renderPulling(context.errorPaint, first));
      if (timeoutMs !== undefined && context.now() - before >= timeoutMs)
        throw new HoldfastError(
          "timed_out",
          `not everything is here after ${formatDuration(timeoutMs)}; it goes on by itself`,
          "see `holdfast collections list`",
        );
      await context.host.sleep(lookMs);
    }
  } finally {
    step.end();
  }
}

/** A collection that the server refuses is here as far as it ever will be until somebody acts. */
function tellRefused(context: Context, collections: readonly CollectionView[]): ExitCode {
  const refused = collections.filter(({ state }) => state === "refused");
  // What the server said stands in the table.
  for (const hint of new Set(refused.flatMap(({ problem }) => problem?.hint ?? [])))
    context.tell(context.errorPaint.dim(`${sign.hint} ${plain(hint)}`));
  return refused.length > 0 ? 5 : 0;
}

function isOpen({ state, asOf }: CollectionView, before: number): boolean {
  if (state === "refused" || state === "local") return false;
  return state !== "idle" || asOf === null || asOf < before;
}
