/**
 * Owns finding an operation by what a person typed: a whole id, or a beginning or end of it that is unique.
 * The rows are `queue.ts`.
 */
import { HoldfastError } from "../errors.ts";
import type { Brief } from "./queue.ts";
import { findById } from "./queue.ts";
import type { Store } from "./store.ts";
import { text } from "./store.ts";

const idByBeginning = "SELECT id FROM op WHERE id >= ? AND id < ? ORDER BY id LIMIT 3";
const idByEnd = "SELECT id FROM op WHERE substr(id, -length(?)) = ? LIMIT 3";

/** Finds an operation by its whole id, or by a beginning or end of it that is unique. Throws `not_found` or `ambiguous_id`. */
export function requireOperation(store: Store, given: string): Brief {
  const id = given.toLowerCase();
  const exact = findById(store, id);
  if (exact !== null) return exact;
  const beginning = store.db.prepare(idByBeginning).all(id, `${id}\u{10ffff}`);
  const found = new Set(
    [...beginning, ...(id.length < 36 ? store.db.prepare(idByEnd).all(id, id) : [])].map((row) => text(row.id)),
  );
  const [only] = found;
  if (found.size === 1 && only !== undefined) {
    const brief = findById(store, only);
    if (brief !== null) return brief;
  }
  if (found.size > 1) {
    throw new HoldfastError("ambiguous_id", `"${given}" fits several operations`, "give more of the id", {
      details: { fits: [...found] },
    });
  }
  throw new HoldfastError(
    "not_found",
    `there is no operation "${given}"`,
    "see `holdfast queue list` for what there is",
  );
}
