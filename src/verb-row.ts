/**
 * Owns what one row of the verb table is. The rows are in `verbs.ts` and `record-verbs.ts`.
 */
import * as z from "zod/mini";
import { limits, optional } from "./shapes.ts";

export const none = z.strictObject({});
export const kind = { read: "read", write: "write" } as const;

export const pageSize = optional(z.int().check(z.gte(1), z.lte(limits.page)));

type Shape = z.core.$ZodType;
export type VerbRow<I extends Shape, O extends Shape> = {
  readonly kind: "read" | "write";
  readonly summary: string;
  readonly input: I;
  readonly output: O;
};
export const row = <I extends Shape, O extends Shape>(
  mode: "read" | "write",
  summary: string,
  input: I,
  output: O,
): VerbRow<I, O> => ({
  kind: mode,
  summary,
  input,
  output,
});
