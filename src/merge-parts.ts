/**
 * Owns the merge of two sides over a base, for anything that comes in parts: what differs (Myers), which stretches overlap (diff3).
 * What the parts of a text are, and what becomes of an overlap, is `merge-text.ts`.
 */

/** Most parts that a side may have; longer ones are left to a person. */
export const partsLimit = 20_000;
/** Most parts that a side may have removed and added, beyond one stretch of either: the work grows with its square. */
export const editsLimit = 2_000;

export type Three = {
  readonly base: readonly string[];
  readonly local: readonly string[];
  readonly remote: readonly string[];
};

/** A stretch in which at most one side changed something, or in which both did. */
export type Region =
  | { readonly kind: "settled"; readonly parts: readonly string[] }
  | ({ readonly kind: "overlap" } & Three);

/**
 * The regions of three lists in order; `null` when the lists are too long, or a side too far from the base, to be compared.
 * Changes that touch each other overlap, unless both sides did the same.
 */
export function regionsOf({ base, local, remote }: Three): readonly Region[] | null {
  if (Math.max(base.length, local.length, remote.length) > partsLimit) return null;
  const [ours, theirs] = [differences(base, local), differences(base, remote)];
  if (ours === null || theirs === null) return null;
  const regions: Region[] = [];
  let at = 0;
  for (const group of groupsOf(ours, theirs)) {
    regions.push({ kind: "settled", parts: base.slice(at, group.from) });
    const three = {
      base: base.slice(group.from, group.to),
      local: sideOf(local, group, group.local),
      remote: sideOf(remote, group, group.remote),
    };
    regions.push(judge(three, group));
    at = group.to;
  }
  return [...regions, { kind: "settled", parts: base.slice(at) }];
}

/** `from` to `to` of the base became `start` to `end` of the side. */
type Difference = { readonly from: number; readonly to: number; readonly start: number; readonly end: number };
/** A stretch of the base with the differences of each side that lie in it. */
type Group = {
  readonly from: number;
  readonly to: number;
  readonly local: readonly Difference[];
  readonly remote: readonly Difference[];
};

function judge(three: Three, group: Group): Region {
  if (group.remote.length === 0) return { kind: "settled", parts: three.local };
  if (group.local.length === 0 || isSame(three.local, three.remote)) return { kind: "settled", parts: three.remote };
  return { kind: "overlap", ...three };
}

const isSame = (left: readonly string[], right: readonly string[]): boolean =>
  left.length === right.length && left.every((part, index) => part === right[index]);

/** Differences that touch each other, of both sides, in one group each. */
function groupsOf(local: readonly Difference[], remote: readonly Difference[]): readonly Group[] {
  const groups: { from: number; to: number; local: Difference[]; remote: Difference[] }[] = [];
  const all = [
    ...local.map((each) => ({ each, side: "local" as const })),
    ...remote.map((each) => ({ each, side: "remote" as const })),
  ].sort((a, b) => a.each.from - b.each.from || a.each.to - b.each.to);
  for (const { each, side } of all) {
    let last = groups.at(-1);
    if (last === undefined || each.from > last.to) {
      last = { from: each.from, to: each.to, local: [], remote: [] };
      groups.push(last);
    }
    last.to = Math.max(last.to, each.to);
    last[side].push(each);
  }
  return groups;
}

/** What stands in a side where the base has the group: what it changed there, and what it left between its changes. */
function sideOf(side: readonly string[], group: Group, own: readonly Difference[]): readonly string[] {
  const [first, last] = [own[0], own.at(-1)];
  // Without a change of its own the side has just what the base has there, which `judge` does not ask for.
  if (first === undefined || last === undefined) return [];
  return side.slice(first.start - (first.from - group.from), last.end + (group.to - last.to));
}

/** The differences of a side from its base, in order; `null` when they are too many to be found. */
function differences(base: readonly string[], side: readonly string[]): readonly Difference[] | null {
  let head = 0;
  while (head < base.length && head < side.length && base[head] === side[head]) head += 1;
  let tail = 0;
  const most = Math.min(base.length, side.length) - head;
  while (tail < most && base[base.length - 1 - tail] === side[side.length - 1 - tail]) tail += 1;
  const [from, to, end] = [base.slice(head, base.length - tail), side.slice(head, side.length - tail), head];
  if (from.length === 0 && to.length === 0) return [];
  // One stretch that came, went or was replaced as a whole; a part in common would have to be searched for.
  if (from.length === 0 || to.length === 0) {
    return [{ from: head, to: head + from.length, start: end, end: end + to.length }];
  }
  const matches = matchesOf(from, to);
  return matches === null ? null : between(matches, { from: from.length, to: to.length, head });
}

/** `length` parts from `from` of one list are those from `start` of the other. */
type Match = { readonly from: number; readonly start: number; readonly length: number };

/** What lies before, between and behind the matches. */
function between(
  matches: readonly Match[],
  lengths: { readonly from: number; readonly to: number; readonly head: number },
): readonly Difference[] {
  const { head } = lengths;
  const found: Difference[] = [];
  let [at, start] = [0, 0];
  for (const match of [...matches, { from: lengths.from, start: lengths.to, length: 0 }]) {
    if (match.from > at || match.start > start) {
      found.push({ from: head + at, to: head + match.from, start: head + start, end: head + match.start });
    }
    at = match.from + match.length;
    start = match.start + match.length;
  }
  return found;
}

/**
 * The shortest way from one list to the other (Myers, "An O(ND) Difference Algorithm and Its Variations", 1986): how far each
 * diagonal gets with 0, 1, 2 … edits, until one reaches the end; the kept reaches then lead back.
 */
function matchesOf(from: readonly string[], to: readonly string[]): readonly Match[] | null {
  const most = Math.min(from.length + to.length, editsLimit);
  const reach = new Int32Array(2 * most + 3);
  const middle = most + 1;
  const kept: Int32Array[] = [];
  for (let edits = 0; edits <= most; edits += 1) {
    for (let diagonal = -edits; diagonal <= edits; diagonal += 2) {
      const isDown = comesDown(reach, middle + diagonal, { diagonal, edits });
      let at = isDown ? (reach[middle + diagonal + 1] ?? 0) : (reach[middle + diagonal - 1] ?? 0) + 1;
      while (at < from.length && at - diagonal < to.length && from[at] === to[at - diagonal]) at += 1;
      reach[middle + diagonal] = at;
      if (at >= from.length && at - diagonal >= to.length) return wayBack(kept, { at, diagonal, edits });
    }
    kept.push(reach.slice(middle - edits, middle + edits + 1));
  }
  return null;
}

type Place = { readonly at: number; readonly diagonal: number; readonly edits: number };

/** Whether the best way to a diagonal comes from the one above it, by taking a part of the other list. */
function comesDown(reach: Int32Array, index: number, { diagonal, edits }: Pick<Place, "diagonal" | "edits">): boolean {
  if (diagonal === -edits) return true;
  return diagonal !== edits && (reach[index - 1] ?? 0) < (reach[index + 1] ?? 0);
}

function wayBack(kept: readonly Int32Array[], end: Place): readonly Match[] {
  const matches: Match[] = [];
  let { at, diagonal } = end;
  for (let edits = end.edits; edits >= 0; edits -= 1) {
    const reach = kept[edits - 1] ?? new Int32Array(1);
    const middle = edits - 1;
    const isDown = edits > 0 && comesDown(reach, middle + diagonal, { diagonal, edits });
    const before = edits === 0 ? 0 : diagonal + (isDown ? 1 : -1);
    const begin = edits === 0 ? 0 : (reach[middle + before] ?? 0) + (isDown ? 0 : 1);
    if (at > begin) matches.push({ from: begin, start: begin - diagonal, length: at - begin });
    at = edits === 0 ? 0 : (reach[middle + before] ?? 0);
    diagonal = before;
  }
  return matches.reverse();
}
