/**
 * Owns the lines in which unsent work travels to another account or machine: their format, redaction and reading.
 * Who writes and takes them in is `engine/transfer.ts`.
 */
import * as z from "zod/mini";
import { HoldfastError } from "./errors.ts";
import type { Json, Operation } from "./operation.ts";
import type { Fields } from "./record.ts";
import { fields } from "./record-shapes.ts";
import { redactJson } from "./redact.ts";

/** Version of the line format. */
const exportVersion = 1;

const exported = z.object({
  holdfast: z.literal(exportVersion),
  isRedacted: z.boolean(),
  operation: z.looseObject({ id: z.uuid(), type: z.string(), status: z.string() }),
  /** What each change of a record was made on. */
  bases: z.optional(z.array(z.nullable(fields))),
  /** The operations that it still waited for, whoever said so. */
  waitsFor: z.optional(z.array(z.string())),
  /** Where it stood in its lane. */
  place: z.optional(z.number()),
});

/** How an operation stood among the others: what it was made on, what it waited for, its place in its lane. */
export type Ties = {
  readonly bases: readonly (Fields | null)[];
  /** Undefined: a line of a program that did not say it. */
  readonly waitsFor: readonly string[] | undefined;
  readonly place: number;
};

export type ExportedLine = Ties & { readonly operation: Operation };

/** One operation as a line, without its secrets when `isRedacted`. */
export function lineOf(
  operation: Operation,
  isRedacted: boolean,
  ties: { readonly bases?: readonly unknown[]; readonly waitsFor: readonly string[]; readonly place: number },
): Json {
  const plain = operation as unknown as { readonly [key: string]: Json };
  const { bases, waitsFor, place } = ties;
  const stand = bases === undefined || isRedacted ? {} : { bases: bases as Json };
  const content = isRedacted ? redactJson(plain) : plain;
  return { holdfast: exportVersion, isRedacted, operation: content, ...stand, waitsFor, place };
}

/** Reads one exported line; throws `invalid_input` that names the line and what is wrong with it. */
export function readLine(line: string, index: number): ExportedLine {
  const refuse = (what: string, hint: string): never => {
    throw new HoldfastError("invalid_input", `line ${index + 1}: ${what}`, hint);
  };
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return refuse("it is not JSON", "give one exported operation per line, unchanged");
  }
  const version = (value as { readonly holdfast?: unknown } | null)?.holdfast;
  if (typeof version === "number" && version !== exportVersion)
    return refuse(
      `it is of version ${version}; this program reads ${exportVersion}`,
      "export it with the version that reads it here",
    );
  const parsed = z.safeParse(exported, value);
  if (!parsed.success)
    return refuse("it is no exported operation", "export with `holdfast queue export` of this version");
  if (parsed.data.isRedacted)
    return refuse("it was redacted, so its content is gone", "export without --redact to carry work over");
  const operation = parsed.data.operation as unknown as Operation;
  if (["completed", "cancelled", "expired"].includes(operation.status))
    return refuse("it is finished", "only unsent operations are imported");
  const { bases = [], waitsFor, place = operation.sequence } = parsed.data;
  return { operation, bases: bases as readonly (Fields | null)[], waitsFor, place };
}
