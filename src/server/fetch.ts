/**
 * Owns a fetch: single records by key, as they are now, for what was evicted on the client or whose echo got lost.
 * Many records are pulled, see `pull.ts`.
 */

import { HoldfastError } from "../errors.ts";
import { isKeepable } from "../json.ts";
import type { FetchRequest, FetchResponse } from "../wire.ts";
import type { Who } from "./collections.ts";
import { isAmong, rowsFor } from "./collections.ts";
import type { Core } from "./core.ts";
import { readRecords, toWire, weighRecords } from "./records.ts";
import { ensureSpace, findSpace } from "./spaces.ts";

/** Answers what is there and may be read. Keys that were never here, and those that may not be read, are missing. */
export async function fetchRecords(core: Core, request: FetchRequest, who: Who): Promise<FetchResponse> {
  const { space: name, collection } = request;
  if ((await core.store.read((tx) => findSpace(tx, name))) === null)
    await core.store.write((tx) => ensureSpace(tx, name, core), { isRepeatable: true });
  return core.store.read(async (tx) => {
    const space = await findSpace(tx, name);
    const rows = rowsFor(core.collections.get(collection), who, "read");
    const keys = [...new Set(request.keys)].filter(isKeepable);
    if (keys.length > 1 && (await weighRecords(tx, name, { collection, keys })) > core.limits.pageBytes)
      throw tooLarge(core.limits.pageBytes);
    const found = rows !== true && rows.length === 0 ? [] : await readRecords(tx, name, new Map([[collection, keys]]));
    const records = found.flatMap((record) => {
      if (record.value !== null) return isAmong(rows, record.key, record.value) ? [toWire(record)] : [];
      return [rows === true ? toWire(record) : { ...toWire(record), author: "" }];
    });
    return { history: space?.history ?? "", head: space?.head ?? 0, records, now: core.now() };
  });
}

const tooLarge = (limit: number): HoldfastError =>
  new HoldfastError(
    "payload_too_large",
    `these records have more than ${limit} bytes together`,
    "ask for fewer keys at once; a single one is always answered",
    { details: { limit } },
  );
