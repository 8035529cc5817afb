/**
 * Owns moving operations in and out as JSON Lines: `queue export` and `queue import`, in batches, with progress.
 * The form of a line is the engine's.
 */
import { resolve } from "node:path";
import { HoldfastError } from "../errors.ts";
import type { Output, Refusal } from "../verbs.ts";
import type { NumberedLine } from "./bundle-lines.ts";
import { linesInOrder } from "./bundle-lines.ts";
import type { Context, Handler } from "./context.ts";
import type { Host } from "./host.ts";
import { sign } from "./paint.ts";
import type { Filter, FilterOptions } from "./queue-read.ts";
import { parseFilter } from "./queue-read.ts";
import { cutOff } from "./records-import.ts";
import { reportRefusals } from "./report.ts";
import { makeStep } from "./step.ts";
import { grouped, plural } from "./text.ts";

type ExportRequest = {
  readonly filter: Filter;
  readonly path: string | null;
  readonly isReplacing: boolean;
  readonly isRedacted: boolean;
};

const exportPage = 500;
/** Lines hold payloads of up to a megabyte: a batch ends at this size, so that a request stays small. */
const importBatch = 200;
const importBatchBytes = 2_000_000;

type ExportOptions = FilterOptions & { readonly redact?: boolean; readonly output?: string; readonly force?: boolean };

export const runExport: Handler<[], ExportOptions> = async (context, _args, options) => {
  const path = options.output === undefined ? null : resolve(context.host.cwd, options.output);
  const { count, captured } = await exportTo(context, {
    filter: parseFilter(options),
    path,
    isReplacing: options.force === true,
    isRedacted: options.redact === true,
  });
  tellCaptured(context, captured);
  if (path === null) return 0;
  context.answer(
    { exported: count, captured, path },
    () => `${context.paint.green(sign.yes)} Exported ${plural(count, "operation")} to ${options.output}`,
  );
  return 0;
};

export type Exported = {
  readonly count: number;
  /** How many of them send a captured file, whose content is no part of a line. */
  readonly captured: number;
};

/** Writes what the filter names to a file, or to stdout. */
export async function exportTo(context: Context, request: ExportRequest): Promise<Exported> {
  const counter = { lines: 0, captured: 0 };
  const chunks = exportChunks(context, request, counter);
  if (request.path !== null) {
    await context.host.files.write(request.path, chunks, { isReplacing: request.isReplacing });
  } else {
    for await (const chunk of chunks) context.host.stdout.write(chunk);
  }
  return { count: counter.lines, captured: counter.captured };
}

/** Whoever takes the bundle elsewhere, or clears the queue after it, must know what is not in it. */
export function tellCaptured(context: Context, captured: number): void {
  if (captured === 0) return;
  const [sends, its, is] =
    captured === 1 ? ["sends a captured file", "its", "it is"] : ["send captured files", "their", "they are"];
  const { yellow, dim } = context.errorPaint;
  context.tell(
    `${yellow(sign.warn)} ${plural(captured, "operation")} ${sends}, and the export does not hold ${its} content: that stays under blobs/ in the data directory while ${is} queued here\n${dim(`${sign.hint} copy the whole data directory to take the content along`)}`,
  );
}

/** As the payload of an upload, or of a request with a large body, names its content. */
const capturedFile = /"blob":"[0-9a-f]{64}"/;

async function* exportChunks(
  context: Context,
  { filter, isRedacted }: ExportRequest,
  counter: { lines: number; captured: number },
): AsyncIterable<string> {
  const session = await context.session();
  let cursor: string | null = null;
  const step = makeStep(context);
  try {
    do {
      const page: Output<"queue.export"> = await session.call("queue.export", {
        ...filter,
        redact: isRedacted,
        limit: exportPage,
        ...(cursor === null ? {} : { cursor }),
      });
      counter.lines += page.lines.length;
      counter.captured += page.lines.filter((line) => capturedFile.test(line)).length;
      cursor = page.next;
      if (page.lines.length > 0) yield `${page.lines.join("\n")}\n`;
      step.show(`${grouped(counter.lines)} exported…`);
    } while (cursor !== null);
  } finally {
    step.end();
  }
}

type ImportOptions = { readonly subject?: string };

export const runImport: Handler<[string], ImportOptions> = async (context, [file], options) => {
  const { host } = context;
  const lines = linesInOrder(await readTwice(host, file));
  const session = await context.session();
  const total = { imported: [] as string[], skipped: [] as string[], refused: [] as Output<"queue.import">["refused"] };
  const step = makeStep(context);
  const read = (): number => total.imported.length + total.skipped.length + total.refused.length;
  try {
    for await (const batch of batches(lines)) {
      const asked = { lines: batch.lines, ...(options.subject === undefined ? {} : { subject: options.subject }) };
      const answer = await session.call("queue.import", asked).catch((error: unknown) => {
        throw cutOff(error, total.imported.length + total.skipped.length);
      });
      total.imported.push(...answer.imported);
      total.skipped.push(...answer.skipped);
      total.refused.push(...answer.refused.map((refusal) => atItsPlace(refusal, batch.numbers)));
      step.show(`${grouped(read())} read…`);
    }
  } finally {
    step.end();
  }
  if (read() === 0)
    throw new HoldfastError(
      "invalid_input",
      "there was nothing to import",
      "give a file that `holdfast queue export` wrote",
    );
  context.answer(total, () => {
    const skipped =
      total.skipped.length === 0
        ? ""
        : `; ${plural(total.skipped.length, "operation")} ${total.skipped.length === 1 ? "was" : "were"} here already`;
    const isAny = total.imported.length + total.skipped.length > 0;
    const mark = isAny ? context.paint.green(sign.yes) : context.paint.yellow(sign.warn);
    return `${mark} Imported ${plural(total.imported.length, "operation")}${skipped}`;
  });
  return reportRefusals(context, total.refused);
};

/** The engine counts the lines of one request, a person those of the file. */
function atItsPlace(refusal: Refusal, numbers: readonly number[]): Refusal {
  const inFile = (text: string): string =>
    text.replace(/^line (\d+)/, (whole, at: string) => {
      const number = numbers[Number(at) - 1];
      return number === undefined ? whole : `line ${number}`;
    });
  return { ...refusal, id: inFile(refusal.id), message: inFile(refusal.message) };
}

/** Reads a bundle as often as it is asked for; what comes through a pipe is kept in memory for that. */
async function readTwice(host: Host, file: string): Promise<() => AsyncIterable<string>> {
  const path = resolve(host.cwd, file);
  if (file !== "-" && (await host.files.isFile(path))) return () => host.files.lines(path);
  const kept: string[] = [];
  for await (const line of file === "-" ? host.stdin.lines() : host.files.lines(path)) kept.push(line);
  return async function* () {
    yield* kept;
  };
}

type Batch = { readonly lines: string[]; readonly numbers: number[] };

async function* batches(lines: AsyncIterable<NumberedLine>): AsyncIterable<Batch> {
  let batch: Batch = { lines: [], numbers: [] };
  let size = 0;
  for await (const { line, number } of lines) {
    if (batch.lines.length > 0 && (batch.lines.length >= importBatch || size + line.length > importBatchBytes)) {
      yield batch;
      batch = { lines: [], numbers: [] };
      size = 0;
    }
    batch.lines.push(line);
    batch.numbers.push(number);
    size += line.length;
  }
  if (batch.lines.length > 0) yield batch;
}
