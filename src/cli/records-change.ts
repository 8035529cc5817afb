/**
 * Owns the writing half of `holdfast records`: put, update, patch, remove, restore, pin. Importing is in `records-import.ts`.
 */
import { HoldfastError } from "../errors.ts";
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
import { plain, plural, shellWord } from "./text.ts";

type DataOptions = { readonly data?: string };

/** What was typed as a place of its own, or after --data. */
function sourceOf(typed: string | undefined, { data }: DataOptions, command: string): string | undefined {
  if (typed !== undefined && data !== undefined)
    throw usage(`records ${command}: the value is given twice`, "give it after the key, or with --data");
  return typed ?? data;
}

async function readFields(context: Context, source: string): Promise<Fields> {
  const noObject = usage("the value: a record is a JSON object", `write for example '{"title":"Tides"}'`);
  // Whoever types title=Tides has not written wrong JSON, but none.
  const isTyped = source !== "-" && !source.startsWith("@");
  if (isTyped && !source.trimStart().startsWith("{")) throw noObject;
  const value = await readJson(context.host, source, "the value");
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw noObject;
  return value as Fields;
}

export const runRecordPut: Handler<[string, string | undefined, string | undefined], DataOptions> = async (
  context,
  [collection, first, second],
  options,
) => {
  // Without a key the value comes first; a key that looks like an object would be a strange one.
  const isValue = second === undefined && first?.startsWith("{") === true;
  const key = isValue ? undefined : first;
  const source = sourceOf(isValue ? first : second, options, "put");
  if (source === undefined)
    throw usage(
      "records put: the value is missing",
      key === "-" || key?.startsWith("@") === true
        ? `without a key: holdfast records put ${shellWord(collection)} --data ${shellWord(key)}`
        : `holdfast records put ${shellWord(collection)} ${shellWord(key ?? "n1")} '{"title":"Tides"}'`,
    );
  const value = await readFields(context, source);
  const input: Input<"records.write"> =
    key === undefined ? { kind: "create", collection, value } : { kind: "put", collection, key, value };
  const receipt = await (await context.session()).call("records.write", input);
  context.answer(receipt, () =>
    context.isQuiet ? receipt.record.key : renderWritten(context, key === undefined ? "Created" : "Put", receipt),
  );
  return 0;
};

export const runRecordPatch: Handler<[string, string, string | undefined], DataOptions> = async (
  context,
  [collection, key, typed],
  options,
) => {
  const source = sourceOf(typed, options, "patch");
  const hint = `holdfast records patch ${shellWord(collection)} ${shellWord(key)} '{"title":"Ebb","draft":null}'`;
  if (source === undefined) throw usage("records patch: the patch is missing", hint);
  const patch = await readJson(context.host, source, "the patch");
  if (typeof patch !== "object" || patch === null)
    throw usage("the patch: it is an object (RFC 7396) or a list of steps (RFC 6902)", hint);
  const input = { kind: "patch", collection, key, patch } as Input<"records.write">;
  const receipt = await (await context.session()).call("records.write", input);
  context.answer(receipt, () => (context.isQuiet ? receipt.record.key : renderWritten(context, "Patched", receipt)));
  return 0;
};

type UpdateOptions = { readonly set?: readonly string[]; readonly unset?: readonly string[]; readonly data?: string };

export const runRecordUpdate: Handler<[string, string, string | undefined], UpdateOptions> = async (
  context,
  [collection, key, typed],
  options,
) => {
  const source = sourceOf(typed, options, "update");
  const data = source === undefined ? {} : await readFields(context, source);
  const fields: Record<string, Json> = { ...data, ...parseAssignments(options.set ?? [], "--set") };
  const unset = [...(options.unset ?? [])];
  if (Object.keys(fields).length === 0 && unset.length === 0)
    throw usage(
      "records update: what shall change?",
      "give --set field=value, --unset field, or the changed fields as JSON",
    );
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

export const runRecordRemove: Handler<[string, readonly string[]], object> = async (context, [collection, typed]) => {
  // A key that is typed twice is removed once: the second removal would find nothing, and refuse them all.
  const keys = [...new Set(typed)];
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
  const { changed, missing } = answer;
  const done = isPinned ? "on this device" : "only as long as there is room";
  context.confirm(answer, () =>
    changed === 0
      ? "Nothing was changed."
      : `${context.paint.green(sign.yes)} ${plural(changed, "record")} ${changed === 1 ? "stays" : "stay"} ${done}`,
  );
  if (missing.length === 0) return 0;
  const first = missing[0] ?? "";
  throw new HoldfastError(
    "not_found",
    missing.length === 1
      ? `${collection} has no record ${plain(first)} on this device`
      : `${collection} has ${missing.length} of these records not on this device: ${plain(first)} is one`,
    `\`holdfast collections sync ${shellWord(collection)} ${shellWord(first)}\` asks the server`,
    { details: { missing } },
  );
};
