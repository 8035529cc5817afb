/**
 * Owns the reading half of `holdfast records`: list, get, history, sql. How they look is in `render-records.ts`.
 */
import { HoldfastError } from "../errors.ts";
import type { Json } from "../operation.ts";
import { recordStates } from "../record.ts";
import type { Input, Output } from "../verbs.ts";
import { parseOrderBy, parseWhere } from "./conditions.ts";
import type { Context, Handler } from "./context.ts";
import { definedOnly } from "./order.ts";
import { pageLimit, readPages } from "./pages.ts";
import { parseChoice, parseLimit, parseLoose } from "./parse.ts";
import { inline, renderRecord, renderRecordHistory, renderRecords } from "./render-records.ts";
import type { Session } from "./session.ts";
import { showByServer } from "./shown-time.ts";
import { shellWord, table } from "./text.ts";

type ListOptions = {
  readonly where?: readonly string[];
  readonly order?: readonly string[];
  readonly state?: readonly string[];
  readonly limit: string;
  readonly count?: boolean;
  readonly all?: boolean;
};
type Query = Input<"records.query">;

export const runRecordList: Handler<[string], ListOptions> = async (context, [collection], options) => {
  const wanted = options.all === true ? Number.POSITIVE_INFINITY : parseLimit(options.limit);
  const states = options.state?.map((each) => parseChoice(each, "--state", recordStates));
  const where = options.where === undefined ? undefined : (parseWhere(options.where, "--where") as Query["where"]);
  const session = await context.session();
  if (options.count === true) return tellCount(context, session, definedOnly({ collection, where, states }));
  const order = options.order === undefined ? undefined : parseOrderBy(options.order);
  const query = definedOnly<Query>({ collection, where, order, states });
  const { items: records, next } = await readPages(wanted, async (part) => {
    const found = await session.call("records.query", { ...query, collection, ...part });
    return { items: found.records, next: found.next };
  });
  const page = { records, next };
  context.answer(page, () => {
    if (context.isQuiet) return page.records.map(({ key }) => key).join("\n");
    if (page.records.length === 0)
      return where === undefined && states === undefined ? "There are no records." : "Nothing matches.";
    const more =
      page.next === null ? "" : `\n${context.paint.dim(`… and more (--limit ${page.records.length * 2}, or --all)`)}`;
    return `${renderRecords(context, page.records)}${more}`;
  });
  return 0;
};

async function tellCount(context: Context, session: Session, query: object): Promise<0> {
  const answer = await session.call("records.count", query as Input<"records.count">);
  context.answer(answer, () => String(answer.count));
  return 0;
}

export const runRecordGet: Handler<[string, string], object> = async (context, [collection, key]) => {
  const { record } = await (await context.session()).call("records.get", { collection, key });
  if (record === null)
    throw new HoldfastError(
      "not_found",
      `${collection} has no record ${key} on this device`,
      `holdfast collections sync ${shellWord(collection)} ${shellWord(key)}   asks the server`,
    );
  const { look, shift, note } = await showByServer(context);
  context.answer(record, () => `${renderRecord(look, shift(record))}${note}`);
  return 0;
};

export const runRecordHistory: Handler<[string, string], { readonly limit: string }> = async (
  context,
  [collection, key],
  options,
) => {
  const limit = Math.min(parseLimit(options.limit), pageLimit);
  const history = await (await context.session()).call("records.history", { collection, key, limit });
  const { look, shift, note } = await showByServer(context);
  context.answer(history, () => {
    if (history.entries.length === 0) return "Nothing is known of it.";
    const { paint } = context;
    const more = history.next === null ? "" : `\n${paint.dim(`… and older ones (--limit ${limit * 2})`)}`;
    return `${renderRecordHistory(look, history.entries.map(shift))}${more}${note}`;
  });
  return 0;
};

export const runRecordSql: Handler<[string, readonly string[]], { readonly limit: string }> = async (
  context,
  [sql, typed],
  options,
) => {
  const parameters = typed.map((each) => {
    const value = parseLoose(each);
    return typeof value === "number" || value === null ? value : each;
  });
  const limit = Math.min(parseLimit(options.limit), pageLimit);
  const answer = await (await context.session()).call("records.sql", { sql, parameters, limit });
  context.answer(answer, () => renderRows(context, answer));
  return 0;
};

function renderRows({ paint, width }: Context, { columns, rows, isTruncated }: Output<"records.sql">): string {
  const cells = rows.map((row) => row.map((value) => ({ text: value === null ? "∅" : inline(value as Json) })));
  const last = columns.length - 1;
  const titles = columns.map((title, at) => ({ title, isFlexible: at === last, isRight: isNumeric(rows, at) }));
  const head = table(titles, cells, { width, head: paint.dim });
  const count = paint.dim(
    `${rows.length} row${rows.length === 1 ? "" : "s"}${isTruncated ? ", and there are more (--limit)" : ""}`,
  );
  return `${head}\n${count}`;
}

function isNumeric(rows: Output<"records.sql">["rows"], at: number): boolean {
  return rows.length > 0 && rows.every((row) => typeof row[at] === "number" || row[at] === null);
}
