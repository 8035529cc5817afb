/**
 * Owns making a declaration of unique values true for records that are there already, when the server opens.
 * The table is `unique.ts`; from then on pushes keep it.
 */
import type { Core } from "./core.ts";
import { readLive } from "./records.ts";
import type { Tx } from "./store.ts";
import { claimUnique, dropUnique, takeUnique, uniqueValuesOf } from "./unique.ts";

const pageRows = 500;

/**
 * Takes the values of all records for every list of fields that is newly declared unique. Records that share a value already are told in
 * the log and left as they are: the first keeps the value, and the others clash when they are written next.
 */
export async function buildUnique(core: Core): Promise<void> {
  const declared = new Set<string>();
  for (const { name, unique } of core.collections.values())
    for (const fields of unique ?? []) declared.add(JSON.stringify([name, JSON.stringify(fields)]));
  await core.store.write(
    (tx) => dropUnique(tx, (collection, fields) => declared.has(JSON.stringify([collection, fields]))),
    { isRepeatable: true },
  );
  for (const { name, unique } of core.collections.values())
    for (const fields of unique ?? []) await buildOne(core, name, fields);
}

/**
 * One transaction: a push in between could otherwise take a value that an older record has. And one process: what another one has read may be
 * given up by a push to the first that is through, and would be taken for its old record for ever.
 */
async function buildOne(core: Core, collection: string, fields: readonly string[]): Promise<void> {
  let found: string[] = [];
  const work = async (tx: Tx): Promise<readonly string[]> => {
    // Run again because the answer to the commit was lost, what was found then is still to be told.
    if (!(await claimUnique(tx, collection, JSON.stringify(fields)))) return found;
    found = [];
    let [space, key] = ["", ""];
    for (;;) {
      const page = await readLive(tx, collection, { space, key, limit: pageRows });
      for (const each of page)
        for (const value of uniqueValuesOf(collection, [fields], each.record.value))
          if (!(await takeUnique(tx, each.space, { ...value, key: each.record.key })))
            found.push(`${each.space}/${each.record.key}`);
      const last = page.at(-1);
      if (last === undefined || page.length < pageRows) break;
      [space, key] = [last.space, last.record.key];
    }
    return found;
  };
  const clashes = await core.store.write(work, { isRepeatable: true });
  if (clashes.length === 0) return;
  const message = `${clashes.length} records of ${collection} share a value of ${fields.join(", ")} with another`;
  core.log({ level: "warn", message, collection, fields, records: clashes.slice(0, 20) });
}
