// Owns records, collections, conflicts and runs as a daemon would tell of them, for the tests of the command line.
// Leaves operations to fixtures.ts.
import type { Local } from "../../../src/cli/host.ts";
import type { CollectionView, Output } from "../../../src/verbs.ts";
import * as has from "./fixtures.ts";
import { now } from "./script.ts";

/** A config.toml that says this and nothing else. */
export const syncConfig = (values: { readonly [key: string]: string }): Partial<Local> => ({
  config: {
    path: async () => "/home/ada/.local/share/holdfast/config.toml",
    list: async () => [],
    get: async (key) => ({ key, value: values[key] ?? null, source: key in values ? "file" : "default" }),
    set: async (key, value) => ({ key, value, source: "file" }),
  },
});

type View = Output<"records.query">["records"][number];
type Conflict = Output<"conflicts.get">;

export const minute = 60_000;
export const record = (more: Partial<View> = {}): View => ({
  collection: "bookings",
  key: "b1",
  value: { guest: "Ada", fee: 12.5, note: "by the window" },
  state: "synced",
  version: 41,
  confirmedAt: now - 5 * minute,
  changedAt: now - 5 * minute,
  operations: [],
  problem: null,
  conflict: null,
  isPinned: false,
  ...more,
});
export const refused = record({
  key: "b2",
  state: "failed",
  operations: [has.ids.push],
  problem: {
    code: "overbooked",
    message: "room 7 is taken on 24 December",
    field: "room",
    hint: "choose another room",
  },
});
export const receipt = {
  record: record({ state: "pending", operations: [has.ids.note] }),
  operation: has.ids.note,
  warning: null,
};

export const conflict = (more: Partial<Conflict> = {}): Conflict => ({
  id: "0190a6f0-3333-7000-8000-00000000c0ff",
  status: "open",
  kind: "version_mismatch",
  collection: "bookings",
  key: "b1",
  operation: has.ids.note,
  fields: ["note", "fee"],
  base: { guest: "Ada", fee: 12, note: "by the window", room: 7 },
  local: { guest: "Ada", fee: 14, note: "by the window, and a cot for the child, please", room: 7, paid: true },
  remote: { guest: "Ada", fee: 13, note: "first floor\nquiet side", room: 7 },
  remoteVersion: 44,
  remoteAuthor: "bea",
  message: "",
  strategy: "merge",
  createdAt: now - 26 * 60 * minute,
  decidedAt: null,
  decidedBy: null,
  choice: null,
  outcome: null,
  isStale: false,
  ...more,
});
export const removedThere = conflict({
  id: "0190a6f0-3333-7000-8000-00000000deaf",
  kind: "deleted_upstream",
  key: "b9",
  fields: [],
  remote: null,
  isStale: true,
});
export const decided = conflict({
  status: "resolved",
  choice: "local",
  decidedAt: now - minute,
  decidedBy: "person",
  outcome: {},
});

export const collection = (more: Partial<CollectionView> = {}): CollectionView => ({
  spec: { name: "bookings" },
  space: "team",
  records: 1_204,
  bytes: 3_400_000,
  pending: 2,
  conflicts: 1,
  cursor: 44,
  head: 44,
  state: "idle",
  asOf: now - 20_000,
  problem: null,
  progress: null,
  ...more,
});
export const list = (...collections: readonly CollectionView[]): Output<"collections.list"> => ({
  collections: [...collections],
  lastSyncAt: now - 20_000,
  clockOffsetMs: 0,
});
export const run = {
  id: 12,
  startedAt: now - 90_000,
  endedAt: now - 88_500,
  pushed: 3,
  pulled: 1_200,
  merged: 2,
  conflicts: 1,
  failures: 0,
  bytesSent: 2_048,
  bytesReceived: 640_000,
  rolledBackBy: null,
};
export const network: Output<"network.status"> = {
  status: "online",
  isWorkingOffline: false,
  pokes: [],
  lastCheckAt: null,
  remotes: [],
};
