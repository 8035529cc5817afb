/**
 * Owns the words for misuse: which right spelling a wrong one probably meant, and the check of an options object.
 * What a verb's input may hold is checked by `verbs.ts`; whether a payload is JSON by `json.ts`.
 */

/**
 * The candidate that is closest to `word`, or null when none is close enough to be meant.
 * @example
 * nearest("queue.ad", ["queue.add", "queue.get"]) // "queue.add"
 */
export function nearest(word: string, candidates: readonly string[]): string | null {
  let best: string | null = null;
  // A third of the letters may be wrong, but at least one and never more than three.
  let bestDistance = Math.min(3, Math.max(1, Math.ceil(word.length / 3))) + 1;
  for (const candidate of candidates) {
    const [left, right] = [word.toLowerCase(), candidate.toLowerCase()];
    // A name that was broken off counts as one mistake, however much is missing.
    const distance = left.length >= 3 && right.startsWith(left) ? 1 : editDistance(left, right);
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** One sentence for a `TypeError`: what was wrong, and the right spelling or all of them. */
export function misspelt(what: string, word: string, candidates: readonly string[]): string {
  const meant = nearest(word, candidates);
  const help = meant === null ? `use one of ${candidates.join(", ")}` : `did you mean "${meant}"?`;
  return `${what} "${word}" does not exist; ${help}`;
}

/** Throws a `TypeError` when `options` is no object or has a name that is not in `allowed`. */
export function checkOptions(where: string, options: unknown, allowed: readonly string[]): void {
  if (options === undefined) return;
  if (typeof options !== "object" || options === null || Array.isArray(options)) {
    throw new TypeError(`${where} takes an object with ${allowed.join(", ")}`);
  }
  for (const name of Object.keys(options)) {
    if (!allowed.includes(name)) throw new TypeError(misspelt(`${where}: the option`, name, allowed));
  }
}

/** Levenshtein distance, one row at a time. */
function editDistance(left: string, right: string): number {
  let row = Array.from({ length: right.length + 1 }, (_, index) => index);
  for (let i = 1; i <= left.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= right.length; j += 1) {
      const swap = (row[j - 1] ?? 0) + (left[i - 1] === right[j - 1] ? 0 : 1);
      next.push(Math.min(swap, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[right.length] ?? 0;
}
