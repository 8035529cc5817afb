/**
 * Owns the three-way merge of texts: by lines first, and by words within lines that both sides changed.
 * How lists are compared is `merge-parts.ts`; which fields are merged so is declared by the rule `text` of `merge.ts`.
 */
import type { Three } from "./merge-parts.ts";
import { regionsOf } from "./merge-parts.ts";

type Texts = { readonly base: string; readonly local: string; readonly remote: string };

/**
 * Both sides' changes of a text, or `null` when they overlap, or when the texts are too long or too far apart to be compared.
 * @example
 * mergeText({ base: "high tide at six", local: "high tide at seven", remote: "a high tide at six" }) // "a high tide at seven"
 */
export function mergeText(three: Texts): string | null {
  return mergeBy(three, linesOf, (part) => mergeBy(part, wordsOf, () => null));
}

type Split = (text: string) => readonly string[];

function mergeBy(three: Texts, split: Split, settle: (part: Texts) => string | null): string | null {
  const regions = regionsOf({ base: split(three.base), local: split(three.local), remote: split(three.remote) });
  if (regions === null) return null;
  const merged: string[] = [];
  for (const region of regions) {
    const text = region.kind === "settled" ? region.parts.join("") : settle(joined(region));
    if (text === null) return null;
    merged.push(text);
  }
  return merged.join("");
}

const joined = ({ base, local, remote }: Three): Texts => ({
  base: base.join(""),
  local: local.join(""),
  remote: remote.join(""),
});

/** Lines with their ends, so that joining gives the text again. */
const linesOf: Split = (text) => text.match(/[^\n]*\n|[^\n]+$/g) ?? [];
/** Words and what stands between them. */
const wordsOf: Split = (text) => text.match(/\s+|[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]/gu) ?? [];
