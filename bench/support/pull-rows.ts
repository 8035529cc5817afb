// Owns what is pulled in bar P9: the rows that every server of the bar has and every client must end up with.
// Leaves serving and pulling them to pull-source.ts and pull-clients.ts.
import type { Fields } from "../../src/record.ts";
import { note } from "./stores.ts";

export const collection = "notes";
export const space = "bench";

export const keyOf = (n: number): string => `note-${String(n).padStart(7, "0")}`;
export const rowOf = (n: number): Fields => ({ ...note, status: n % 20 === 0 ? "open" : "done", rank: n });
