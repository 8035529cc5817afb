/**
 * Owns the three-way merge of one record, field by field: base, local, remote and the declared rules.
 * When a merge is needed is `engine/conflicts.ts`; what a conflict is called is `conflict.ts`.
 */
import type { Json } from "./operation.ts";

/**
 * How one field is merged when both sides changed it to different values. Base-aware always: a side that did not change it loses.
 * Without a rule such a field is in dispute.
 */
export type FieldRule =
  /** Differs: in dispute, whatever else could be merged. */
  | { readonly rule: "critical" }
  /** The local value unless it is empty (null, "", missing) or one of the placeholders; then the remote value. */
  | { readonly rule: "prefer-local"; readonly placeholders?: readonly Json[] }
  | { readonly rule: "prefer-remote" }
  /** Numbers that differ by at most `tolerance` agree (the remote value); beyond it the side whose `flag` field is true wins. */
  | { readonly rule: "override"; readonly flag: string; readonly tolerance?: number }
  | { readonly rule: "max" }
  | { readonly rule: "min" }
  /** Both sides' differences from the base are added. */
  | { readonly rule: "counter" }
  /** Arrays as sets: additions and removals of both sides. */
  | { readonly rule: "set" }
  /** Arrays of objects in order, matched by the named member; elements are merged as fields are. */
  | { readonly rule: "list"; readonly by: string }
  /** Texts by diff3; overlapping changes are in dispute. */
  | { readonly rule: "text" };

export type FieldRules = { readonly [field: string]: FieldRule };
