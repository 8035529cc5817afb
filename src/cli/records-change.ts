/**
 * Owns the writing half of `holdfast records`: put, update, remove, restore, pin. Importing is in `records-import.ts`.
 */
import type { Json } from "../operation.ts";
import type { Fields } from "../record.ts";
import { recordLimits } from "../record.ts";
import type { Input } from "../verbs.ts";
import { parseAssignments, parseWhere } from "./conditions.ts";
import type { Context, Handler } from "./context.ts";
import { readJson } from "./data.ts";
import { definedOnly } from "./order.ts";
import { sign } from "./paint.ts";
import { parseInteger, usage } from "./parse.ts";
import { renderWritten } from "./render-records.ts";
import { plain, plural } from "./text.ts";

async function readFields(context: Context, source: string): Promise<Fields> {
  const value = await readJson(context.host, source, "--data");
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw usage("--data: a record is a JSON object", `write for example --data '{"title":"Tides"}'`);
  return value as Fields;
}

export const runRecordPut: Handler<[string, string | undefined], { readonly data: string }> = async (
  context,
  [collection, key],
  options,
) => {
  const value = await readFields(context, options.data);
  const input: Input<"records.write"> =
    key === undefined ? { kind: "create", collection, value } : { kind: "put", collection, key, value };
  const receipt = await (await context.session()).call("records.write", input);
  context.answer(receipt, () =>
    context.isQuiet ? receipt.record.key : renderWritten(context, key === undefined ? "Created" : "Put", receipt),
  );
  return 0;
};

type UpdateOptions = { readonly set?: readonly string[]; readonly unset?: readonly string[]; readonly data?: string };

export const runRecordUpdate: Handler<[string, string], UpdateOptions> = async (
  context,
  [collection, key],
  options,
) => {
  const data = options.data === undefined ? {} : await readFields(context, options.data);
  const fields: Record<string, Json> = { ...data, ...parseAssignments(options.set ?? [], "--set") };
  const unset = [...(options.unset ?? [])];
  if (Object.keys(fields).length === 0 && unset.length === 0)
    throw usage("records update: what shall change?", "give --set field=value, --unset field, or --data '{…}'");
  const more = unset.length === 0 ? {} : { unset };
  const receipt = await (await context.session()).call("records.write", {
    kind: "update",
    collection,
    key,
    fields,
    ...more,
  });
  context.answer(receipt, () => (context.isQuiet ? receipt.record.key : renderWritten(context, "Updated", receipt)));
  return 0;
};

export const runRecordRemove: Handler<[string, readonly string[]], object> = async (context, [collection, keys]) => {
  const session = await context.session();
  const [only] = keys;
  if (keys.length === 1 && only !== undefined) {
    const receipt = await session.call("records.write", { kind: "remove", collection, key: only });
    context.answer(receipt, () => (context.isQuiet ? only : renderWritten(context, "Removed", receipt)));
    return 0;
  }
  if (keys.length > recordLimits.transaction)
    throw usage(
      `records remove: ${keys.length} keys at once`,
      `at most ${recordLimits.transaction} go together; several commands take more`,
    );
  const answer = await session.call("records.transaction", {
    writes: keys.map((key) => ({ kind: "remove", collection, key })),
  });
  context.answer(answer, () =>
    context.isQuiet
      ? keys.join("\n")
      : `${context.paint.green(sign.yes)} Removed ${plural(keys.length, "record")} of ${plain(collection)}`,
  );
  return 0;
};

export const runRecordRestore: Handler<[string, string, string], { readonly before?: boolean }> = async (
  context,
  [collection, key, typed],
  options,
) => {
  const sequence = parseInteger(typed, "sequence");
  const side = options.before === true ? "before" : "after";
  const receipt = await (await context.session()).call("records.restore", { collection, key, sequence, side });
  context.answer(receipt, () => (context.isQuiet ? key : renderWritten(context, "Restored", receipt)));
  return 0;
};

type PinOptions = { readonly where?: readonly string[]; readonly off?: boolean };

export const runRecordPin: Handler<[string, readonly string[]], PinOptions> = async (
  context,
  [collection, keys],
  options,
) => {
  if (keys.length === 0 && options.where === undefined)
    throw usage("records pin: which records?", "name keys, or give a condition such as --where status=open");
  const where = options.where === undefined ? undefined : parseWhere(options.where, "--where");
  const named = keys.length === 0 ? undefined : [...keys];
  const isPinned = options.off !== true;
  const input = { collection, isPinned, ...definedOnly({ keys: named, where }) } as Input<"records.pin">;
  const answer = await (await context.session()).call("records.pin", input);
  const done = isPinned ? "stay on this device" : "may go when room is needed";
  context.answer(answer, () => `${context.paint.green(sign.yes)} ${plural(answer.changed, "record")} ${done}`);
  return 0;
};
