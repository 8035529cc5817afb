/**
 * Owns the order in which the lines of a bundle are taken in: each behind what it waited for and what stood before it in its lane. An
 * operation can wait for one that was queued after it, and stands where it was moved to. What a line holds is `bundle.ts`.
 */

/** How an operation stood among the others. */
export type Tied = {
  readonly id: string;
  readonly lane: string | null;
  /** Where it stood in its lane. */
  readonly place: number;
  /** What it still waited for, whoever said so. */
  readonly waitsFor: readonly string[];
};

/** What each has to come behind, by whatever they are named here. */
export function behindWhat<Name>(ties: ReadonlyMap<Name, Tied>): ReadonlyMap<Name, readonly Name[]> {
  const names = new Map([...ties].map(([name, { id }]) => [id, name]));
  const before = new Map<Name, Name[]>();
  const last = new Map<string, Name>();
  for (const [name, { lane, waitsFor }] of [...ties].sort(([, one], [, other]) => one.place - other.place)) {
    for (const id of waitsFor) {
      const needed = names.get(id);
      if (needed !== undefined && needed !== name) append(before, name, needed);
    }
    if (lane === null) continue;
    const previous = last.get(lane);
    if (previous !== undefined) append(before, name, previous);
    last.set(lane, name);
  }
  return before;
}

/** Those that are given, each behind all that it has to come behind; where there is none of that they stay as they are. */
export function inOrder<T extends Tied>(given: readonly T[]): readonly T[] {
  const before = behindWhat(new Map(given.map((each) => [each, each])));
  const ordered = new Set<T>();
  const begun = new Set<T>();
  const open = given.toReversed();
  for (let each = open.pop(); each !== undefined; each = open.pop()) {
    if (ordered.has(each)) continue;
    // What is met again waits for itself in the end: nothing can come before it.
    const missing = begun.has(each)
      ? []
      : (before.get(each) ?? []).filter((one) => !ordered.has(one) && !begun.has(one));
    begun.add(each);
    if (missing.length === 0) ordered.add(each);
    else open.push(each, ...missing);
  }
  return [...ordered];
}

function append<Name>(lists: Map<Name, Name[]>, key: Name, value: Name): void {
  const list = lists.get(key);
  if (list === undefined) lists.set(key, [value]);
  else if (!list.includes(value)) list.push(value);
}
