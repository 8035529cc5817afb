/**
 * Owns readiness: the tables `dep` (open dependencies) and `lift` (inherited priority in lanes), and the promotion of what may go.
 * Readiness is kept at every change instead of being searched at every claim, so a claim costs the same at any queue length.
 */
import { HoldfastError } from "../errors.ts";
import { State } from "../operation.ts";
import { isLanePaused } from "./gates.ts";
import { flyingInLane, isTaken, laneAfter, laneHeadOf, laneJustBefore } from "./lane-rows.ts";
import type { Brief } from "./queue.ts";
import { addWaits, getBrief, isStanding, lowerRank, placeOperation, setSchedule, shiftPlaces } from "./queue.ts";
import type { Store } from "./store.ts";
import { integer } from "./store.ts";

/** Distance between two neighbours of a lane, so that a move finds room between them. */
export const positionGap = 65_536;

/** Places of a lane that are tried for an operation that comes back. */
export const reentryLimit = 200;

/** How far a search along dependencies goes before it refuses. */
export const searchLimit = 10_000;

const addDep = "INSERT OR IGNORE INTO dep (needs, seq) VALUES (?, ?)";
const childrenOf = "SELECT seq FROM dep WHERE needs = ? ORDER BY seq";
const parentsOf = "SELECT needs FROM dep WHERE seq = ? ORDER BY needs";
const dropChildren = "DELETE FROM dep WHERE needs = ?";
const dropEdge = "DELETE FROM dep WHERE needs = ? AND seq = ?";
const dropParents = "DELETE FROM dep WHERE seq = ?";
const hasChild = "SELECT 1 AS n FROM dep WHERE needs = ? LIMIT 1";
const addLift =
  "INSERT INTO lift (lane, position, rank) VALUES (?, ?, ?) ON CONFLICT (lane, position) DO UPDATE SET rank = min(rank, excluded.rank)";
const laneLift = "SELECT min(rank) AS rank FROM lift WHERE lane = ? AND position >= ?";
const dropAllDeps = "DELETE FROM dep";
const dropAllLifts = "DELETE FROM lift";
const shiftLifts = `INSERT INTO lift (lane, position, rank) SELECT lane, position + ?, rank FROM lift WHERE lane = ? AND position > ?
  ON CONFLICT (lane, position) DO UPDATE SET rank = min(rank, excluded.rank)`;
const dropLift = "DELETE FROM lift WHERE lane = ? AND position <= ?";

/** Makes `seq` wait for `needs`; tells whether that edge is new. */
export function addDependency(store: Store, needs: number, seq: number): boolean {
  return store.db.prepare(addDep).run(needs, seq).changes === 1;
}

export function dependentsOf(store: Store, needs: number): readonly number[] {
  return store.db
    .prepare(childrenOf)
    .all(needs)
    .map((row) => integer(row.seq));
}

/** Operations that `seq` still waits for. */
export function dependenciesOf(store: Store, seq: number): readonly number[] {
  return store.db
    .prepare(parentsOf)
    .all(seq)
    .map((row) => integer(row.needs));
}

export function hasDependents(store: Store, needs: number): boolean {
  return store.db.prepare(hasChild).get(needs) !== undefined;
}

/** An operation has landed: everything that waited for it alone may go. */
export function releaseDependents(store: Store, needs: number): void {
  const children = dependentsOf(store, needs);
  if (children.length === 0) return;
  store.db.prepare(dropChildren).run(needs);
  for (const child of children) {
    if (addWaits(store, child, -1) === 0) reconsider(store, child);
  }
}

/** Frees an operation from one dependency. */
export function detachFrom(store: Store, needs: number, seq: number): boolean {
  if (store.db.prepare(dropEdge).run(needs, seq).changes === 0) return false;
  if (addWaits(store, seq, -1) === 0) reconsider(store, seq);
  return true;
}

/** Forgets what an operation waited for; it leaves the queue. */
export function dropDependencies(store: Store, seq: number): void {
  const open = dependenciesOf(store, seq).length;
  store.db.prepare(dropParents).run(seq);
  if (open > 0) addWaits(store, seq, -open);
}

/** Looks again whether a waiting operation may go: its dependencies are met and it is the head of its lane, or has none. */
export function reconsider(store: Store, seq: number): void {
  const op = getBrief(store, seq);
  if (op === null || op.state !== State.waiting) return;
  if (op.lane !== "") promoteLane(store, op.lane);
  else if (op.waits === 0) activate(store, op);
}

/** Lets the head of a lane go when nothing keeps it. */
export function promoteLane(store: Store, lane: string): void {
  if (lane === "") return;
  const head = laneHeadOf(store, lane);
  if (head === null || head.state !== State.waiting) return;
  if (head.waits > 0) {
    setSchedule(store, head.seq, { state: State.waiting, reason: "dependency", due: head.due });
    const inherited = liftOf(store, lane, head.position);
    if (inherited !== null && inherited < head.rank) liftPredecessors(store, head.seq, inherited);
    return;
  }
  // Something that came back in front of what is on the wire waits for its answer: one lane never has two under way.
  if (flyingInLane(store, lane) === null) activate(store, head);
}

/** Where an operation goes that has nothing before it: held by a paused lane, scheduled, or ready. */
export function activate(store: Store, op: Brief): void {
  const { state, reason } = restingPlace(store, op);
  const inherited = op.lane === "" ? null : liftOf(store, op.lane, op.position);
  if (inherited !== null && inherited < op.rank) lowerRank(store, op.seq, inherited);
  setSchedule(store, op.seq, { state, reason, due: op.due });
}

/** The state of an operation whose lane and dependencies let it go. */
export function restingPlace(store: Store, op: { readonly lane: string; readonly due: number }) {
  if (op.lane !== "" && isLanePaused(store, op.lane)) return { state: State.held, reason: "paused" } as const;
  if (op.due > store.world.now()) return { state: State.scheduled, reason: "schedule" } as const;
  return { state: State.ready, reason: null } as const;
}

/**
 * Puts an operation back where it belongs: behind its lane or dependencies, or free to go. Used whenever an operation returns
 * to the queue: a retry by a person, a recovery after a crash, a release of a draft, the tail of a batch.
 */
export function settleInto(store: Store, seq: number): void {
  const op = getBrief(store, seq);
  if (op === null) return;
  setSchedule(store, seq, { state: State.waiting, reason: op.waits > 0 ? "dependency" : "lane", due: op.due });
  demoteFollowers(store, reenterLane(store, { ...op, state: State.waiting }));
  reconsider(store, seq);
}

/**
 * Its lane went on while an operation stood aside. It comes back to its old place, or right in front of whoever was moved to it meanwhile.
 * But where what it depends on stands behind that by now, the two would wait for each other for ever: then it goes behind that, and no
 * further, since others may depend on it in turn.
 */
function reenterLane(store: Store, op: Brief): Brief {
  if (op.lane === "") return op;
  const position = op.waits > 0 && isInCycle(store, op) ? placeBehindNeeds(store, op) : ownPlace(store, op);
  if (position === op.position) return op;
  placeOperation(store, op.seq, op.lane, position);
  return { ...op, position };
}

function ownPlace(store: Store, op: Brief): number {
  return isTaken(store, op.lane, op.position, op.seq) ? placeBefore(store, op.lane, op.position) : op.position;
}

function placeBehindNeeds(store: Store, op: Brief): number {
  const behind = laneAfter(store, op.lane, op.position, reentryLimit);
  // Half a step behind is in front of whatever follows.
  const first = behind.find(({ position }) => !isInCycle(store, { ...op, position: position + 0.5 })) ?? behind.at(-1);
  return first === undefined ? op.position : placeAfter(store, op.lane, first.position);
}

/** A free position of a lane, right in front of one that is taken. */
export function placeBefore(store: Store, lane: string, position: number): number {
  const before = laneJustBefore(store, lane, position);
  return between(store, lane, before?.position ?? position - 2 * positionGap, position);
}

/** A free position of a lane, right behind one that is taken. */
export function placeAfter(store: Store, lane: string, position: number): number {
  const [next] = laneAfter(store, lane, position, 1);
  return between(store, lane, position, next?.position ?? position + 2 * positionGap);
}

/** A free position between two neighbours; the lane is widened when there is none. */
function between(store: Store, lane: string, low: number, high: number): number {
  if (high - low > 1) return Math.floor((low + high) / 2);
  widenLane(store, lane, low);
  return low + Math.floor(positionGap / 2);
}

/** Makes room behind a position: for those that stand in the lane, those that will come back to it, and what they lift. */
function widenLane(store: Store, lane: string, position: number): void {
  // A lift stays at its old place too: whoever stands in front of that stands in front of the new one.
  shiftPlaces(store, lane, position, positionGap);
  store.db.prepare(shiftLifts).run(positionGap, lane, position);
}

/** An operation that comes back in front of others of its lane takes their turn, unless it is on the wire already. */
export function demoteFollowers(store: Store, op: Brief): void {
  if (op.lane === "") return;
  for (const next of laneAfter(store, op.lane, op.position, 2)) {
    if (next.state === State.ready || next.state === State.held || next.state === State.scheduled) {
      setSchedule(store, next.seq, { state: State.waiting, reason: "lane", due: next.due });
    }
  }
}

/** An operation leaves its lane for good: its lift goes and the next one gets its turn. */
export function leaveLane(store: Store, op: Pick<Brief, "lane" | "position">): void {
  if (op.lane === "") return;
  const head = laneHeadOf(store, op.lane);
  // Lifts at or before the place that was left serve nobody any more, unless somebody still stands in front of it.
  if (head === null || head.position > op.position) store.db.prepare(dropLift).run(op.lane, op.position);
  promoteLane(store, op.lane);
}

/** Forgets every dependency and lift, when the whole queue is cleared. */
export function clearLanes(store: Store): void {
  store.db.prepare(dropAllDeps).run();
  store.db.prepare(dropAllLifts).run();
}

function liftOf(store: Store, lane: string, position: number): number | null {
  const rank = store.db.prepare(laneLift).get(lane, position)?.rank;
  return typeof rank === "number" ? rank : null;
}

/** Everything that an operation waits for inherits its rank, so that a high priority is not stuck behind a low one. */
export function liftPredecessors(store: Store, seq: number, rank: number): void {
  const open = [seq];
  const seen = new Set<number>(open);
  while (open.length > 0 && seen.size < searchLimit) {
    const current = open.pop();
    const op = current === undefined ? null : getBrief(store, current);
    if (op === null) continue;
    for (const before of blockersOf(store, op)) {
      if (seen.has(before.seq)) continue;
      seen.add(before.seq);
      if (before.rank > rank) lowerRank(store, before.seq, rank);
      open.push(before.seq);
    }
    if (op.lane !== "") store.db.prepare(addLift).run(op.lane, op.position, rank);
  }
}

/** The head of an operation's lane and its open dependencies: what has to go first. */
function blockersOf(store: Store, op: Brief): readonly Brief[] {
  const head = op.lane === "" ? null : laneHeadOf(store, op.lane);
  const inFront = head !== null && head.position < op.position ? [head] : [];
  const needed = dependenciesOf(store, op.seq).map((needs) => getBrief(store, needs));
  return [...inFront, ...needed.filter((each) => each !== null)];
}

/** Refuses a change after which operations would wait for each other for ever. */
export function refuseCycle(store: Store, start: Brief): void {
  if (!isInCycle(store, start)) return;
  throw new HoldfastError(
    "dependency_cycle",
    `operation ${start.id} would wait for itself`,
    "detach it from what it depends on, or put it into another place",
  );
}

/** Whether an operation waits for itself along lanes and dependencies; a search that finds no end in time counts as a cycle. */
function isInCycle(store: Store, start: Brief): boolean {
  const open = predecessorsOf(store, start);
  const seen = new Set<number>();
  while (open.length > 0) {
    const current = open.pop();
    if (current === undefined || seen.has(current.seq)) continue;
    if (current.seq === start.seq || seen.size >= searchLimit) return true;
    seen.add(current.seq);
    open.push(...predecessorsOf(store, current));
  }
  return false;
}

/** The first operation of a lane that waits, in whatever way, for one that does not stand in it yet; null when none does. */
export function firstWaitingFor(store: Store, op: Brief): Brief | null {
  const open = [...dependentsOf(store, op.seq)];
  const seen = new Set<number>();
  let first: Brief | null = null;
  while (open.length > 0 && seen.size < searchLimit) {
    const seq = open.pop();
    const next = seq === undefined || seen.has(seq) ? null : getBrief(store, seq);
    if (next === null) continue;
    seen.add(next.seq);
    const isInLane = isStanding(next);
    if (isInLane && next.lane === op.lane && (first === null || next.position < first.position)) first = next;
    const behind = isInLane ? laneAfter(store, next.lane, next.position, 1) : [];
    open.push(...dependentsOf(store, next.seq), ...behind.map((each) => each.seq));
  }
  return first;
}

function predecessorsOf(store: Store, op: Brief): Brief[] {
  const before = op.lane === "" || op.state >= State.aside ? null : laneJustBefore(store, op.lane, op.position);
  const needed = dependenciesOf(store, op.seq).map((needs) => getBrief(store, needs));
  return [before, ...needed].filter((each) => each !== null);
}
