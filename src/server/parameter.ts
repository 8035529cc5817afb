/**
 * Owns which values may go into a statement: texts, null, and numbers that are exact on every database.
 * How they are sent is the stores'.
 */
import { HoldfastError } from "../errors.ts";
import type { SqlParameter } from "./store.ts";

/** Refuses numbers that would be rounded, here or by the next reader. */
export function checkParameter(value: SqlParameter): void {
  if (typeof value !== "number" || Math.abs(value) <= Number.MAX_SAFE_INTEGER) return;
  throw new HoldfastError(
    "invalid_input",
    `${value} is beyond the integers that a number can hold exactly`,
    "numbers in columns end at 2^53 - 1",
  );
}
