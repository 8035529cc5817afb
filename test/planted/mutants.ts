// Owns the planted bugs: exact places of the sources, what they become, and which rules of the simulation must notice.
// Running them is planted.test.ts. `synchronous = NORMAL` is not here: it takes a power cut, see the tests of write boundaries.
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the texts are pieces of sources.

export type Edit = {
  readonly file: string;
  /** Occurs exactly once in the file; a mutant that no longer fits its source fails the test. */
  readonly find: string;
  readonly replace: string;
};

export type Mutant = Edit & {
  readonly name: string;
  /** Further places of the same bug. */
  readonly also?: readonly Edit[];
  /** Rules that may notice; anything else noticed first would be luck. */
  readonly rules: readonly string[];
};

export const mutants: readonly Mutant[] = [
  {
    name: "acknowledge before the commit",
    file: "src/engine/engine.ts",
    find: "return isWriting ? commit(face, work) : snapshot(store, work);",
    replace:
      "return isWriting ? commit(face, () => { for (const answer of work()) answer(); return []; }) : snapshot(store, work);",
    rules: ["I1"],
  },
  {
    name: "forget the lane's order on a retry",
    file: "src/engine/lane-rows.ts",
    find: "AND standing = 1 ORDER BY position LIMIT 1`",
    replace: "AND standing = 1 AND state <> 2 ORDER BY position LIMIT 1`",
    rules: ["I3", "I8", "why"],
  },
  {
    name: "charge attempts while offline",
    file: "src/engine/settle.ts",
    find: 'reason: "network", failures: op.failures,',
    replace: 'reason: "network", failures: op.failures + 1,',
    rules: ["charge"],
  },
  {
    name: "lose the lease on a crash",
    file: "src/engine/recovery.ts",
    find: "for (const op of flyingOperations(store)) {",
    replace: "for (const op of flyingOperations(store).slice(0, 0)) {",
    rules: ["liveness", "why"],
  },
  {
    name: "send again under a new key after a success that was not heard",
    file: "src/engine/operations.ts",
    find: "idempotencyKey: idempotencyKeyOf(brief.id, brief.generation),",
    replace: "idempotencyKey: idempotencyKeyOf(brief.id, brief.attempts),",
    rules: ["I2"],
  },
  {
    name: "skip a promotion",
    file: "src/engine/lanes.ts",
    find: "promoteLane(store, op.lane);\n}",
    replace: "}",
    rules: ["I8", "I12", "liveness", "why"],
  },
  {
    name: "turn a yes whose booking failed into a failure",
    file: "src/engine/booking.ts",
    find: 'if (isStorageFailure(error)) throw error;\n    store.world.log("error", "a booking failed;',
    replace:
      'if (isStorageFailure(error)) { for (const each of booked) if (each.answer.kind === "applied" || each.answer.kind === "duplicate") (each as { answer: unknown }).answer = { kind: "rejected", problem: { code: "booking", message: "failed" } }; throw error; }\n    store.world.log("error", "a booking failed;',
    // What is sent again after such a failure has another key, so it may take effect twice before anything else is noticed.
    rules: ["booking", "I2"],
  },
  {
    name: "drop the deduplication",
    file: "src/engine/enqueue.ts",
    find: 'input.dedupe?.mode === "keep-first" && first !== undefined',
    replace: 'input.dedupe?.mode === "keep-first" && first === null',
    rules: ["dedupe"],
  },
  {
    name: "rewrite ids outside the transaction that settles their creation",
    file: "src/engine/settle.ts",
    find: "  nameCreated(store, op, answer.serverId ?? null);",
    // In a transaction of its own: what is written outside of any is counted by nobody, which is another bug.
    replace:
      "  store.world.defer(() => { try { transact(store, () => nameCreated(store, op, answer.serverId ?? null)); } catch {} });",
    also: [
      {
        file: "src/engine/settle.ts",
        find: "  nameCreated(store, op, serverId);",
        replace:
          "  store.world.defer(() => { try { transact(store, () => nameCreated(store, op, serverId)); } catch {} });",
      },
      {
        file: "src/engine/settle.ts",
        find: 'import { integer, json, text } from "./store.ts";',
        replace: 'import { integer, json, text, transact } from "./store.ts";',
      },
    ],
    rules: ["I9", "I12", "payload"],
  },
  {
    name: "book the late answer of a lost lease",
    file: "src/engine/settle.ts",
    find: " || op.lease !== settled.epoch) {",
    replace: ") {",
    also: [
      {
        file: "src/engine/queue.ts",
        find: "AND state = 3 AND lease = ? RETURNING channel",
        replace: "AND state = 3 AND ? > 0 RETURNING channel",
      },
    ],
    rules: ["I11", "I2", "booking", "charge"],
  },
  {
    name: "send while working offline",
    file: "src/engine/claim.ts",
    find: 'if (gates.isWorkingOffline) return "work_offline";',
    replace: "",
    rules: ["offline"],
  },
  {
    name: "send for a subject that signed out",
    file: "src/engine/claim.ts",
    find: 'if (gates.signedOut.has(channel.subject)) return "signed_out";',
    replace: "",
    rules: ["subject"],
  },
  {
    name: "charge an expired token",
    file: "src/engine/settle.ts",
    find: "const kept = (op: Brief) => ({ failures: op.failures,",
    replace: "const kept = (op: Brief) => ({ failures: op.failures + 1,",
    rules: ["charge"],
  },
  {
    name: "let dependents go when what they need is refused",
    file: "src/engine/settle.ts",
    find: "  if (isSkipped) leaveLane(store, op);\n  else promoteLane(store, op.lane);",
    replace:
      "  releaseDependents(store, op.seq);\n  if (isSkipped) leaveLane(store, op);\n  else promoteLane(store, op.lane);",
    rules: ["I4", "I9"],
  },
  {
    name: "make room by dropping what has not ended",
    file: "src/engine/retention.ts",
    find: "WHERE state = 8 AND NOT EXISTS (SELECT 1 FROM dep WHERE needs = op.seq) ORDER BY settled, seq",
    replace: "WHERE state IN (5, 8) AND NOT EXISTS (SELECT 1 FROM dep WHERE needs = op.seq) ORDER BY settled, seq",
    rules: ["I1"],
  },
  {
    name: "call the queue full without making room",
    file: "src/engine/retention.ts",
    find: "if (dropped > 0) continue;",
    replace: "if (dropped > 9) continue;",
    rules: ["overflow"],
  },
  {
    name: "let one refusal hold other lanes",
    file: "src/engine/lane-rows.ts",
    find: "const laneHead = `SELECT ${briefColumns} FROM op WHERE lane = ? AND standing = 1",
    replace: "const laneHead = `SELECT ${briefColumns} FROM op WHERE (lane = ? OR state = 5) AND standing = 1",
    rules: ["I12"],
  },
  {
    name: "leave what stands aside in its lane",
    file: "src/engine/queue.ts",
    find: "store.db.prepare(setStanding).run(seq);",
    replace: "store.db.prepare(setStanding).run(-seq);",
    rules: ["I3", "I8", "I12", "why", "liveness"],
  },
  {
    name: "acknowledge a batch whose last rows are not written",
    file: "src/engine/batch.ts",
    find: "  write(store, batch);\n  return receipts;",
    replace: "  return receipts;",
    rules: ["I1"],
  },
  {
    name: "order by priority alone, so that low ones starve",
    file: "src/operation.ts",
    find: "return sequence - priority * weight;",
    replace: "return -priority;",
    rules: ["I7"],
  },
  {
    name: "forget what is claimed ahead instead of giving it back",
    file: "src/engine/ahead.ts",
    find: "  const claimed = ahead.requests.flat();",
    replace: "  const claimed = ahead.requests.flat().slice(0, 0);",
    rules: ["liveness", "why"],
  },
  {
    name: "begin what is claimed ahead without another look",
    file: "src/engine/ahead.ts",
    find: "  if (sequence === ahead.seenAt) return true;",
    replace: "  if (sequence >= 0) return true;",
    rules: ["offline", "paused", "subject", "claim"],
  },
];
