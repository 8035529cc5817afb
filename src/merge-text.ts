/**
 * Owns the three-way merge of texts (diff3): by lines first, and by words within lines that both sides changed.
 * The algorithm is the library's; which fields are merged so is declared by the rule `text` of `merge.ts`.
 */
import { diff3Merge } from "node-diff3";

/** Longest text, in lines or words, that is merged; longer ones are left to a person. */
const textPartsLimit = 20_000;

type Three = { readonly base: string; readonly local: string; readonly remote: string };

/**
 * Both sides' changes of a text, or `null` when they overlap.
 * @example
 * mergeText({ base: "high tide at six", local: "high tide at seven", remote: "a high tide at six" }) // "a high tide at seven"
 */
export function mergeText(three: Three): string | null {
  return mergeParts(three, linesOf, (part) => mergeParts(part, wordsOf, () => null));
}

type Split = (text: string) => readonly string[];

function mergeParts(three: Three, split: Split, settle: (part: Three) => string | null): string | null {
  const [local, base, remote] = [split(three.local), split(three.base), split(three.remote)];
  if (Math.max(local.length, base.length, remote.length) > textPartsLimit) return null;
  const merged: string[] = [];
  for (const region of diff3Merge([...local], [...base], [...remote], { excludeFalseConflicts: true })) {
    if (region.ok !== undefined) {
      merged.push(...region.ok);
      continue;
    }
    if (region.conflict === undefined) continue;
    const { a, o, b } = region.conflict;
    const settled = settle({ local: a.join(""), base: o.join(""), remote: b.join("") });
    if (settled === null) return null;
    merged.push(settled);
  }
  return merged.join("");
}

/** Lines with their ends, so that joining gives the text again. */
const linesOf: Split = (text) => text.match(/[^\n]*\n|[^\n]+$/g) ?? [];
/** Words and what stands between them. */
const wordsOf: Split = (text) => text.match(/\s+|[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]/gu) ?? [];
