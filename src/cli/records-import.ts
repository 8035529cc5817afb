/**
 * Owns `holdfast records import`: rows of a JSON array or of JSON Lines, in parts, with progress, going on where it stopped.
 * What a row becomes is the engine's.
 */
import { resolve } from "node:path";
import { HoldfastError, isCode } from "../errors.ts";
import type { Fields } from "../record.ts";
import type { Input, Output } from "../verbs.ts";
import type { Context, Handler } from "./context.ts";
import { sign } from "./paint.ts";
import { parseJson, usage } from "./parse.ts";
import { makeStep } from "./step.ts";
import { grouped, plain, plainLines, plural } from "./text.ts";

/** Rows hold up to a megabyte: a part ends at this size, so that a request stays small. */
const partRows = 500;
const partBytes = 2_000_000;
const shownRefusals = 10;

type ImportOptions = { readonly key?: string; readonly source?: string };
type Answer = Output<"records.import">;
type Report = { imported: number; unchanged: number; refused: Answer["refused"][number][]; rows: number };

export const runRecordImport: Handler<[string, string], ImportOptions> = async (
  context,
  [collection, file],
  options,
) => {
  const { host } = context;
  if (file === "-" && options.source === undefined)
    throw usage(
      "records import: what comes by stdin has no name",
      "give --source NAME, so that a repetition is recognised",
    );
  const lines = file === "-" ? host.stdin.lines() : host.files.lines(resolve(host.cwd, file));
  // The whole path: of two files of one name, the second must not go over what the first brought.
  const source = options.source ?? resolve(host.cwd, file);
  const more = options.key === undefined ? {} : { key: options.key };
  const report = await importRows(context, rowsOf(lines, file), { collection, source, ...more });
  if (report.rows === 0)
    throw new HoldfastError(
      "invalid_input",
      "there was nothing to import",
      "give a JSON array, or one JSON object per line",
    );
  context.answer({ ...report, source }, () => renderReport(context, collection, report));
  return report.refused.length === 0 ? 0 : 1;
};

type Target = Pick<Input<"records.import">, "collection" | "source" | "key">;

async function importRows(context: Context, rows: AsyncIterable<Fields>, target: Target): Promise<Report> {
  const session = await context.session();
  const step = makeStep(context);
  const report: Report = { imported: 0, unchanged: 0, refused: [], rows: 0 };
  let part: Fields[] = [];
  let bytes = 0;
  let offset = 0;
  const send = async (): Promise<void> => {
    if (part.length === 0) return;
    const asked = { ...target, rows: part, offset };
    const answer: Answer = await session.call("records.import", asked).catch((error: unknown) => {
      throw cutOff(error, report.imported + report.unchanged);
    });
    report.imported += answer.imported;
    report.unchanged += answer.unchanged;
    report.refused.push(...answer.refused);
    // What an earlier run has brought in is passed over.
    offset = Math.max(report.rows, answer.nextOffset);
    part = [];
    bytes = 0;
    step.show(`${grouped(offset)} rows…`);
  };
  try {
    for await (const row of rows) {
      if (report.rows >= offset) {
        part.push(row);
        bytes += JSON.stringify(row).length;
      }
      report.rows += 1;
      if (part.length >= partRows || bytes >= partBytes) await send();
    }
    await send();
  } finally {
    step.end();
  }
  return report;
}

/** What is in stays in, and a repetition passes over it; the next command starts the daemon again by itself. */
export function cutOff(error: unknown, done: number): unknown {
  if (!isCode(error, "daemon_unreachable")) return error;
  return new HoldfastError(
    error.code,
    `the import was cut off after ${grouped(done)}: ${error.message}`,
    "repeat the same import: it starts the daemon again and goes on where it stopped",
    { cause: error },
  );
}

/** Rows of JSON Lines as they come, or of one array that is read whole. */
async function* rowsOf(lines: AsyncIterable<string>, file: string): AsyncIterable<Fields> {
  const whole: string[] = [];
  let isList: boolean | null = null;
  let number = 0;
  for await (const line of lines) {
    number += 1;
    if (line.trim() === "" && isList !== true) continue;
    // What the first line with anything in it begins with decides. Trimming takes a mark of the encoding along.
    isList ??= line.trimStart().startsWith("[");
    if (isList) whole.push(line);
    else yield fieldsOf(parseJson(line, `${file}:${number}`), `${file}:${number}`);
  }
  if (isList !== true) return;
  const list = parseJson(whole.join("\n"), file);
  if (!Array.isArray(list)) throw usage(`${file} is no list`, "give a JSON array, or one JSON object per line");
  for (const [at, row] of list.entries()) yield fieldsOf(row, `${file}: row ${at + 1}`);
}

function fieldsOf(row: unknown, where: string): Fields {
  if (typeof row === "object" && row !== null && !Array.isArray(row)) return row as Fields;
  throw usage(`${where} is no object`, "every row is one record: a JSON object");
}

function renderReport({ paint }: Context, collection: string, report: Report): string {
  const unchanged = report.unchanged === 0 ? "" : `; ${plural(report.unchanged, "row")} changed nothing`;
  const isAny = report.refused.length < report.rows;
  const head = `${isAny ? paint.green(sign.yes) : paint.yellow(sign.warn)} Imported ${plural(report.imported, "record")} into ${plain(collection)}${unchanged}`;
  if (report.refused.length === 0) return head;
  const shown = report.refused
    .slice(0, shownRefusals)
    .map(({ position, message }) => `  ${paint.red(sign.no)} row ${grouped(position + 1)}: ${plainLines(message)}`);
  const more =
    report.refused.length > shownRefusals
      ? [paint.dim(`  … and ${report.refused.length - shownRefusals} more (--json)`)]
      : [];
  return [head, paint.red(`${plural(report.refused.length, "row")} refused:`), ...shown, ...more].join("\n");
}
