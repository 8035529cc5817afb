/**
 * Owns statements over lists: how a list of any length becomes few statements of few texts, so that prepared statements are found again.
 * What the statements say is in the files that own the tables.
 */
import type { ServerRow, SqlParameter, Tx } from "./store.ts";

const sizes = [256, 64, 16, 4, 1] as const;

/** Reads by a list of keys: `sql` gets the list of placeholders. A part is filled up with its own last key, which finds nothing new. */
export async function allIn(
  tx: Tx,
  sql: (placeholders: string) => string,
  { before, list }: { readonly before: readonly SqlParameter[]; readonly list: readonly SqlParameter[] },
): Promise<readonly ServerRow[]> {
  const found: ServerRow[] = [];
  for (let from = 0; from < list.length; ) {
    const left = list.length - from;
    const size = [...sizes].reverse().find((each) => each >= left) ?? sizes[0];
    const part = list.slice(from, from + size);
    const last = part.at(-1) ?? null;
    const padded = [...part, ...Array<SqlParameter>(size - part.length).fill(last)];
    found.push(...(await tx.all(sql(marks(size)), ...before, ...padded)));
    from += size;
  }
  return found;
}

/** Writes many rows: `sql` gets the list of row placeholders, e.g. "(?,?),(?,?)". */
export async function runRows(
  tx: Tx,
  sql: (rows: string) => string,
  rows: readonly (readonly SqlParameter[])[],
): Promise<void> {
  const width = rows[0]?.length ?? 0;
  for (let from = 0; from < rows.length; ) {
    const size = sizes.find((each) => each <= rows.length - from) ?? 1;
    const part = rows.slice(from, from + size);
    await tx.run(
      sql(
        Array<string>(size)
          .fill(`(${marks(width)})`)
          .join(","),
      ),
      ...part.flat(),
    );
    from += size;
  }
}

const marks = (count: number): string => Array<string>(count).fill("?").join(",");
