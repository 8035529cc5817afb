/**
 * Owns asking any Standard Schema (zod, valibot, arktype, …) whether it accepts a value, synchronously.
 * What is made of a refusal is the caller's: `handler.ts` for operations, `collection.ts` for records.
 */
import type { StandardSchemaV1 } from "@standard-schema/spec";

/** What a schema says: the value that it makes, or the first thing that it does not accept. */
export type SchemaVerdict =
  | { readonly value: unknown }
  /** `field` is the path to it, empty for the value itself. */
  | { readonly field: string; readonly message: string };

/** Tells whether something is a Standard Schema. */
export function isSchema(value: unknown): value is StandardSchemaV1 {
  const standard = (value as { readonly "~standard"?: { readonly validate?: unknown } } | null | undefined)?.[
    "~standard"
  ];
  return typeof standard?.validate === "function";
}

/** Asks the schema. An asynchronous one is a mistake of the program: `where` names the declaration, `advice` what to do instead. */
export function askSchema(
  schema: StandardSchemaV1,
  value: unknown,
  { where, advice }: { readonly where: string; readonly advice: string },
): SchemaVerdict {
  const result = schema["~standard"].validate(value);
  if ("then" in result) {
    result.then(undefined, () => {});
    throw new TypeError(`${where}: its schema is asynchronous; ${advice}`);
  }
  if (result.issues === undefined) return { value: result.value };
  const issue = result.issues[0];
  const path = (issue?.path ?? []).map((step) => String(typeof step === "object" ? step.key : step));
  return { field: path.join("."), message: issue?.message ?? "invalid" };
}
