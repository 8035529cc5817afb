/**
 * Owns which values may go into a statement: texts that every database keeps as they are, null, and numbers that are exact on every one.
 * How they are sent is the stores'.
 */
import { HoldfastError } from "../errors.ts";
import { isKeepable } from "../json.ts";
import type { SqlParameter } from "./store.ts";

/** Refuses numbers that would be rounded and texts that would be changed, here or by the next reader. */
export function checkParameter(value: SqlParameter): void {
  if (typeof value === "string" && !isKeepable(value)) {
    throw new HoldfastError(
      "invalid_input",
      "a text has U+0000 or half of a surrogate pair, which a database cannot keep",
      "write the text without it, or as JSON, which escapes it",
    );
  }
  if (typeof value !== "number" || Math.abs(value) <= Number.MAX_SAFE_INTEGER) return;
  throw new HoldfastError(
    "invalid_input",
    `${value} is beyond the integers that a number can hold exactly`,
    "numbers in columns end at 2^53 - 1",
  );
}
