/**
 * Owns reading a list over as many pages as it takes. Which list, and how it is shown, is its command's business.
 */

/** The most that one page holds (`limits.page`, which lives with the schemas and would make every start slower). */
export const pageLimit = 1_000;

type Part = { readonly limit: number; readonly cursor?: string };
type Pages<T> = { readonly items: readonly T[]; readonly next: string | null };

/** The first `wanted` items; `next` is where the rest would begin, `null` when there is none. */
export async function readPages<T>(wanted: number, read: (part: Part) => Promise<Pages<T>>): Promise<Pages<T>> {
  const items: T[] = [];
  let next: string | null = null;
  do {
    const limit = Math.min(wanted - items.length, pageLimit);
    const page: Pages<T> = await read(next === null ? { limit } : { limit, cursor: next });
    items.push(...page.items);
    next = page.next;
  } while (next !== null && items.length < wanted);
  return { items, next };
}
