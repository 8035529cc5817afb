/**
 * Owns how a failure of the command looks and with which code it ends: message and hint on stderr, JSON under `--json`,
 * a stack only under `--verbose`. Which code means what is the table in `errors.ts`.
 */
import type { ErrorBody, ExitCode } from "../errors.ts";
import { errorTable, HoldfastError } from "../errors.ts";
import type { Refusal } from "../verbs.ts";
import type { Context } from "./context.ts";
import { sign } from "./paint.ts";
import { plainLines, plural, shortId } from "./text.ts";

/** Turns whatever was thrown into an error with a code and a hint. */
export function toHoldfastError(thrown: unknown): HoldfastError {
  if (thrown instanceof HoldfastError) return thrown;
  const cause = thrown instanceof Error ? thrown : new Error(String(thrown));
  const { code, path } = cause as NodeJS.ErrnoException;
  if (code === "ENOENT")
    return new HoldfastError("file_missing", `there is no file ${path ?? ""}`.trim(), "check the path", { cause });
  if (code === "EISDIR")
    return new HoldfastError("invalid_input", `${path ?? "that"} is a directory`, "name a file", { cause });
  if (code === "EACCES" || code === "EPERM") {
    return new HoldfastError(
      "io_failed",
      `not allowed to open ${path ?? "the file"}`,
      "check its owner and rights with `ls -l`",
      { cause },
    );
  }
  if (code === "EROFS")
    return new HoldfastError(
      "read_only",
      `${path ?? "the disk"} is on a disk that can only be read`,
      "make it writable, or name another data directory with HOLDFAST_HOME or --home",
      { cause },
    );
  if (code === "ENOSPC")
    return new HoldfastError("disk_full", "the disk is full", "make room and run the command again", { cause });
  return new HoldfastError(
    "internal",
    cause.message,
    "run it again with --verbose; if it stays, report it with `holdfast doctor --json`",
    { cause },
  );
}

export function exitOf(error: HoldfastError): ExitCode {
  return errorTable[error.code].exit;
}

export type Reporting = Pick<Context, "isJson" | "isVerbose" | "errorPaint" | "host">;

/** Prints a failure and returns the exit code. */
export function reportError(context: Reporting, thrown: unknown): ExitCode {
  const error = toHoldfastError(thrown);
  const { host, isJson, isVerbose, errorPaint } = context;
  if (isJson) {
    const body: ErrorBody & { readonly stack?: string } = isVerbose
      ? { ...error.toJSON(), stack: stackOf(error) }
      : error.toJSON();
    host.stderr.write(`${JSON.stringify(body)}\n`);
    return exitOf(error);
  }
  const hint = error.hint === "" ? "" : `${errorPaint.dim(`${sign.hint} ${plainLines(error.hint)}`)}\n`;
  const stack = isVerbose ? `${errorPaint.dim(stackOf(error))}\n` : "";
  host.stderr.write(`${errorPaint.red(sign.no)} ${plainLines(error.message)}\n${hint}${stack}`);
  return exitOf(error);
}

/** A question that was answered with no, or given up: whoever writes `clear --all && …` must not go on as if it was done. */
export function declined(context: Pick<Context, "say">, sentence: string): ExitCode {
  context.say(sentence);
  return 1;
}

/** So many refusals are told one by one; who has more has one mistake, not hundreds. */
const refusalLimit = 20;

/** Every refused id of a bulk answer with its reason; the exit code is that of the first. */
export function reportRefusals(context: Context, refused: readonly Refusal[]): ExitCode {
  const first = refused[0];
  if (first === undefined) return 0;
  if (!context.isJson) {
    const shown = refused.slice(0, refusalLimit);
    for (const [index, { id, message, hint }] of shown.entries()) {
      // A place, such as "line 1205" of a file, is no id.
      const named = id.includes(" ") ? id : shortId(id);
      const about = message.includes(id) ? message.replaceAll(id, named) : `${named}: ${message}`;
      context.host.stderr.write(`${context.errorPaint.red(sign.no)} ${plainLines(about)}\n`);
      // A hint that stands below several messages in a row is said once.
      if (hint !== "" && hint !== shown[index + 1]?.hint)
        context.host.stderr.write(`${context.errorPaint.dim(`${sign.hint} ${plainLines(hint)}`)}\n`);
    }
    if (refused.length > refusalLimit)
      context.host.stderr.write(
        `  … and ${plural(refused.length - refusalLimit, "more refusal")}; --json names them all\n`,
      );
  }
  return Object.hasOwn(errorTable, first.code) ? errorTable[first.code as keyof typeof errorTable].exit : 1;
}

function stackOf(error: HoldfastError): string {
  const causes: string[] = [];
  for (let each: unknown = error; each instanceof Error; each = each.cause) causes.push(each.stack ?? each.message);
  return causes.join("\ncaused by: ");
}
