/**
 * Owns `records.import`: rows from elsewhere become records, each once however often the import is repeated or broken off.
 * How a record is written is `writes.ts`; reading files is left to the faces.
 */
import { isSameJson } from "../canonical.ts";
import type { Row } from "../database.ts";
import { HoldfastError } from "../errors.ts";
import { isKeepable } from "../json.ts";
import type { Json } from "../operation.ts";
import type { Fields } from "../record.ts";
import { recordLimits } from "../record.ts";
import type { Input, Output } from "../verbs.ts";
import type { CollectionInfo } from "./collections.ts";
import { requireCollection } from "./collections.ts";
import { findEvicted } from "./evicted.ts";
import { schemaOfSide } from "./record-log.ts";
import { fieldsOf, findRecord, raised, shownValue } from "./records.ts";
import type { Store } from "./store.ts";
import { apart, textOrNull } from "./store.ts";
import { writeRecords } from "./writes.ts";

const lastImported = "SELECT * FROM record_history WHERE record = ? AND origin = 'import' ORDER BY seq DESC LIMIT 1";
const lastFromPlace = `SELECT * FROM record_history WHERE record = ? AND origin = 'import' AND detail ->> '$.source' = ?
  AND detail ->> '$.position' = ? ORDER BY seq DESC LIMIT 1`;

/**
 * Imports one stretch of a source. A row that was imported already is left alone, also when the record was edited or removed since: an
 * import that is repeated must not take back what people have done meanwhile. A row that is refused stops no other.
 */
export function importRecords(store: Store, input: Input<"records.import">): Output<"records.import"> {
  const info = requireCollection(store, input.collection);
  const refused: Output<"records.import">["refused"] = [];
  let imported = 0;
  let unchanged = 0;
  for (const [index, given] of input.rows.entries()) {
    const position = input.offset + index;
    const value = given as Fields;
    const refusal = apart(store, () => {
      const key = keyOf(store, input, value, position);
      if (isImported(store, info, { key, value, source: input.source, position })) {
        unchanged += 1;
        return;
      }
      const detail = { source: input.source, position };
      writeRecords(store, [{ kind: "put", collection: info.name, key, value }], { origin: "import", detail });
      imported += 1;
    });
    if (refusal !== null) refused.push({ position, code: refusal.code, message: refusal.message });
  }
  return { imported, unchanged, refused, nextOffset: input.offset + input.rows.length };
}

type Imported = { readonly key: string; readonly value: Fields; readonly source: string; readonly position: number };

/** Whether the record has this value, or had it from an import: of whatever came last, or from the same place of the same source. */
function isImported(store: Store, info: CollectionInfo, { key, value, source, position }: Imported): boolean {
  const row = findRecord(store, info, key);
  // What was let go for want of room keeps its history.
  const id = row?.id ?? findEvicted(store, info.id, key);
  if (id === null) return false;
  if (row !== null && isSameJson(shownValue(info, row) ?? undefined, value)) return true;
  const stored = normalised(info, value);
  // Where a key stands in several rows, the last import is another row's; what came from this one is known all the same.
  const before = [store.db.prepare(lastImported).get(id), store.db.prepare(lastFromPlace).get(id, source, position)];
  return before.some((entry) => entry !== undefined && isSameJson(importedBy(store, info, entry) ?? undefined, stored));
}

/** What an entry of the history says that was imported, by the schema of this program. */
function importedBy(store: Store, info: CollectionInfo, entry: Row): Fields | null {
  const written = fieldsOf(textOrNull(entry.after));
  return written === null ? null : raised(info, written, schemaOfSide(store, entry, "after"));
}

/** What the import stored is what the collection's check made of the row. */
const normalised = (info: CollectionInfo, value: Fields): Fields => info.declared?.check?.(value) ?? value;

function keyOf(store: Store, input: Input<"records.import">, value: Fields, position: number): string {
  if (input.key === undefined) return derivedKey(store, input.source, position);
  const key: Json | undefined = Object.hasOwn(value, input.key) ? value[input.key] : undefined;
  // Beyond this, numbers that a file tells apart are the same one here: two rows would become one record.
  if (typeof key === "number" && Number.isInteger(key) && !Number.isSafeInteger(key)) {
    throw new HoldfastError(
      "invalid_input",
      `the number in the field "${input.key}" is too long to be kept exactly`,
      "write it as a text, between quotes",
    );
  }
  const written = typeof key === "number" ? String(key) : key;
  const isText = typeof written === "string" && written !== "" && written.length <= recordLimits.keyLength;
  if (isText && isKeepable(written)) return written;
  throw new HoldfastError(
    "invalid_input",
    `there is no key in the field "${input.key}"`,
    `give it a text of 1 to ${recordLimits.keyLength} characters or a number there`,
  );
}

/** A UUID of version 8 (RFC 9562) that is made of the source and the position alone, so that every repetition finds the same record. */
function derivedKey(store: Store, source: string, position: number): string {
  const hex = store.world.hash(JSON.stringify(["import", source, position]));
  const variant = "89ab"[Number.parseInt(hex.charAt(16), 16) & 3];
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-${variant}${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}
