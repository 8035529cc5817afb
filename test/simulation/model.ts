// Owns what the simulation knows to be true apart from the engine: what was acknowledged, in which order, whose it is,
// what it waits for, what is switched off. Whether the engine agrees is judged in invariants.ts.
import type { Database, Row } from "../../src/database.ts";
import type { Body } from "./model-server.ts";

export type ModelOperation = {
  readonly id: string;
  readonly sequence: number;
  readonly type: string;
  readonly subject: string;
  readonly remote: string;
  readonly creates: string | null;
  readonly onCrash: "resend" | "ask";
  lane: string;
  priority: number;
  /** What has to be sent, with local ids as they were given and without the version that conflicts may change. */
  body: Body;
  readonly needs: Set<string>;
  notBefore: number | null;
  expiresAt: number | null;
  /** How often its handler was called, by anyone. */
  sends: number;
  /** Genuine failures of the remote that its handler returned since the last fresh budget: at least and at most. */
  charged: [number, number];
  /** It was in flight when its process ended, and nobody has decided since. */
  isInterrupted: boolean;
  /** Its handler returned a yes in a process that still lives. */
  hasYes: boolean;
  /** Whoever held its lease has heard a yes at least once. */
  everYes: boolean;
  /** It never stood in a lane and nothing ever waited for it, so that nothing can have lent it a rank. */
  isPlain: boolean;
  /** It was freed from what it waited for, so that nothing gives it the ids that it mentions. */
  isDetached: boolean;
  /** Payload edited although an attempt may have landed, or asked for twice by a person. */
  isForced: boolean;
  /** How it ended, once that was seen. */
  outcome: string | null;
  /** It was removed on demand. */
  isRemoved: boolean;
};

export type Model = {
  readonly operations: Map<string, ModelOperation>;
  /** Lanes in the order that was acknowledged. */
  readonly lanes: Map<string, readonly string[]>;
  /** Which operation creates a local id. */
  readonly creators: Map<string, string>;
  readonly pauses: Set<string>;
  readonly signedOut: Set<string>;
  isWorkingOffline: boolean;
  /** Finished operations may have been dropped since the last look. */
  mayDrop: boolean;
};

export function newModel(): Model {
  return {
    operations: new Map(),
    lanes: new Map(),
    creators: new Map(),
    pauses: new Set(),
    signedOut: new Set(),
    isWorkingOffline: false,
    mayDrop: false,
  };
}

const readRows = `SELECT op.id, op.seq, op.type, op.lane, op.priority, op.payload, op.options, op.creates, op.state, op.outcome, op.failures,
  op.expires, op.due, channel.subject, channel.remote FROM op JOIN channel ON channel.id = op.channel ORDER BY op.seq`;
const readRow = readRows.replace("ORDER BY op.seq", "WHERE op.id = ?");
const readLane = "SELECT id FROM op WHERE lane = ? AND lane <> '' ORDER BY position, seq";
const readNeeds =
  "SELECT parent.id AS id FROM dep JOIN op ON op.seq = dep.seq JOIN op AS parent ON parent.seq = dep.needs WHERE op.id = ?";
const readWaiting = "SELECT dep.seq AS seq FROM op JOIN dep ON dep.needs = op.seq WHERE op.id = ? LIMIT 1";
const readGates = "SELECT kind, name FROM gate";

const text = (value: Row[string] | undefined): string => (typeof value === "string" ? value : "");

/** Takes an operation over as the store has it: after an acknowledgement, or when its caller died before hearing of it. */
export function adopt(model: Model, db: Database, id: string): ModelOperation | null {
  const row = db.prepare(readRow).get(id);
  if (row === undefined) return null;
  const known = model.operations.get(id);
  const options = JSON.parse(text(row.options)) as { onCrash?: "resend" | "ask" };
  const operation: ModelOperation = {
    id,
    sequence: Number(row.seq),
    type: text(row.type),
    subject: text(row.subject),
    remote: text(row.remote),
    creates: row.creates === null ? null : text(row.creates),
    onCrash: options.onCrash ?? "resend",
    lane: text(row.lane),
    priority: Number(row.priority),
    body: withoutBase(JSON.parse(text(row.payload)) as Body),
    needs: new Set(
      db
        .prepare(readNeeds)
        .all(id)
        .map((each) => text(each.id)),
    ),
    notBefore: null,
    expiresAt: row.expires === null ? null : Number(row.expires),
    sends: known?.sends ?? 0,
    charged: [0, Math.max(known?.charged[1] ?? 0, Number(row.failures))],
    isInterrupted: false,
    hasYes: false,
    everYes: known?.everYes ?? false,
    // What takes the place of another is waited for from the start by whatever waited for that one.
    isPlain: (known?.isPlain ?? true) && text(row.lane) === "" && db.prepare(readWaiting).get(id) === undefined,
    isDetached: known?.isDetached ?? false,
    isForced: known?.isForced ?? false,
    outcome: known?.outcome ?? null,
    isRemoved: false,
  };
  model.operations.set(id, operation);
  for (const need of operation.needs) needed(model, need);
  if (operation.creates !== null) model.creators.set(operation.creates, id);
  adoptLane(model, db, operation.lane);
  return operation;
}

/** Something waits for it, and may lend it its rank. */
export function needed(model: Model, id: string): void {
  const operation = model.operations.get(id);
  if (operation !== undefined) operation.isPlain = false;
}

/** Takes a lane's order over from the store and returns the order that was known before. */
export function adoptLane(model: Model, db: Database, lane: string): readonly string[] {
  const before = model.lanes.get(lane) ?? [];
  if (lane !== "") model.lanes.set(lane, laneInStore(db, lane));
  return before;
}

export function laneInStore(db: Database, lane: string): readonly string[] {
  return db
    .prepare(readLane)
    .all(lane)
    .map((row) => text(row.id));
}

/** Takes everything over from the store: a caller died in the middle of a command, so nobody knows whether it happened. */
export function adoptAll(model: Model, db: Database): void {
  const present = new Set<string>();
  for (const row of db.prepare(readRows).all()) {
    const id = text(row.id);
    present.add(id);
    adopt(model, db, id);
  }
  for (const operation of model.operations.values()) {
    if (!present.has(operation.id)) operation.isRemoved = true;
  }
  adoptGates(model, db);
}

export function adoptGates(model: Model, db: Database): void {
  model.pauses.clear();
  model.signedOut.clear();
  model.isWorkingOffline = false;
  for (const row of db.prepare(readGates).all()) {
    const kind = text(row.kind);
    if (kind === "offline") model.isWorkingOffline = true;
    else if (kind === "subject") model.signedOut.add(text(row.name));
    else if (kind !== "auth") model.pauses.add(`${kind}:${text(row.name)}`);
  }
}

/** The version that a write expects changes when a conflict is decided, so it takes no part in comparisons. */
export function withoutBase(body: Body): Body {
  const { base: _base, ...rest } = body;
  return rest;
}

/** A body with every local id replaced whose creation is known to the remote. */
export function resolved(body: Body, serverIdOf: (local: string) => string | null): Body {
  const swap = (value: string): string => serverIdOf(value) ?? value;
  return {
    ...body,
    ...(body.record === undefined ? {} : { record: swap(body.record) }),
    ...(body.refs === undefined ? {} : { refs: body.refs.map(swap) }),
  };
}

/** Names of everything that a body mentions. */
export function mentioned(body: Body): readonly string[] {
  return [...(body.record === undefined ? [] : [body.record]), ...(body.refs ?? [])];
}
