// Owns the promise that no query walks through a whole large table: every statement that the engine prepares while each verb and
// a whole drain are exercised is asked for its plan. The few that may scan stand in a list, with the reason.
import { createHash } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Database } from "../src/database.ts";
import type { Engine } from "../src/engine/engine.ts";
import { openEngine } from "../src/engine/engine.ts";
import { openDatabase } from "../src/node/sqlite.ts";
import type { Answer } from "../src/operation.ts";
import type { Fields } from "../src/record.ts";
import { seededRandom } from "../src/testing/random.ts";
import { newScheduler } from "../src/testing/scheduler.ts";
import { newVirtualMachine } from "../src/testing/virtual-machine.ts";
import { bootProcess } from "../src/testing/virtual-world.ts";
import type { AddInput, Input, Output, Verb } from "../src/verbs.ts";
import { verbNames } from "../src/verbs.ts";
import type { OperationType } from "../src/world.ts";
import type { ModelServer } from "./support/model-server.ts";
import { newModelServer } from "./support/model-server.ts";

/** Statements that may walk through a large table, by a part of their text, and why. */
const allowed: readonly (readonly [part: string, reason: string])[] = [
  ["SELECT 1 AS n FROM alias LIMIT 1", "it looks at one row"],
  ["EXISTS (SELECT 1 FROM alias)", "it looks at one row"],
  [
    "ORDER BY bucket, key, seq LIMIT +?",
    "the order in which things will go, for a person who asks; nothing that sends waits for it",
  ],
  ["WHERE substr(id, -length(?)) = ? LIMIT 3", "a person's short id; it walks an index of ids alone"],
  ["SELECT settled FROM op WHERE state = 8 AND outcome IN", "newest first along an index; the first success ends it"],
  [
    "FROM op WHERE state = 8 AND NOT EXISTS (SELECT 1 FROM dep WHERE needs = op.seq) ORDER BY settled",
    "along the order wanted, up to its limit",
  ],
  ["outcome FROM op ORDER BY seq LIMIT +?", "clearing everything means everything"],
  ["ORDER BY seq LIMIT +?) AND at < ?", "the oldest rows of history, along its key, up to the limit of one pass"],
  ["SELECT id FROM conflict WHERE id LIKE", "a person's short id; it walks an index of ids alone"],
  ["SELECT DISTINCT field.key AS name FROM", "the newest records along an index, up to a limit, for their field names"],
  ["SELECT DISTINCT record FROM pending", "the server was restored: everything unsent is compared afresh"],
  // What follows is `engine.check`, whose purpose is to look at every row.
  ["SELECT state AS id, count(*) AS n FROM op GROUP BY state", "a recount"],
  ["SELECT coalesce(sum(bytes), 0) AS n FROM op", "a recount"],
  ["AS real FROM counter WHERE id = 102", "a recount"],
  ["AS real\n  FROM counter WHERE counter.id > 1000", "a recount"],
  ["AS real FROM op\n  WHERE op.state < 8 AND op.waits <>", "a recount"],
  ["SELECT id FROM op WHERE state = 1 AND lane = '' AND waits = 0", "a search for what is stuck"],
  ["SELECT id FROM op WHERE state = 1 AND waits = 0 AND lane <> ''", "a search for what is stuck"],
  ["SELECT lane, count(*) AS n FROM op WHERE state IN (0, 2, 4)", "a search for doubled lane heads"],
  ["SELECT id FROM op WHERE standing <>", "a search for what is missing in its lane"],
];

/** Tables that grow with the queue. The others have a row per remote, gate, setting or channel. */
const large =
  /^SCAN (op|history|dep|ref|alias|lift|other|flying|child|parent|record|pending|conflict|record_history|mention)\b/;
/** Partial indexes hold only what is of interest just now: all of them but the one of finished operations. */
const partial =
  /USING (COVERING )?INDEX (op_(ready|due|flight|parked|lane|expires|dedupe|group)|conflict_(open|op)|pending_(op|echo)|run_open)\b/;

const prepared = new Set<string>();
const used = new Set<Verb>();
let database: Database;
beforeAll(async () => {
  database = openDatabase(":memory:");
  await exercise({
    ...database,
    prepare: (sql) => {
      prepared.add(sql);
      return database.prepare(sql);
    },
  });
});
afterAll(() => database.close());

test("every verb was exercised", () => {
  expect(verbNames.filter((verb) => !used.has(verb))).toEqual([]);
  expect(prepared.size).toBeGreaterThan(100);
});

test("no statement numbers its parameters, which Node 22.18 cannot bind by their place", () => {
  expect([...prepared].filter((sql) => /\?\d/.test(sql))).toEqual([]);
});

test("no statement walks through a large table", () => {
  const walking = [...prepared].flatMap((sql) => {
    const steps = planOf(sql).filter((step) => large.test(step) && !partial.test(step));
    return steps.length === 0 || allowed.some(([part]) => sql.includes(part)) ? [] : [{ sql, steps }];
  });
  expect(walking).toEqual([]);
});

test("the list of exceptions names nothing that no longer needs it", () => {
  const needed = allowed.filter(([part]) =>
    [...prepared].some(
      (sql) => sql.includes(part) && planOf(sql).some((step) => large.test(step) && !partial.test(step)),
    ),
  );
  expect(needed).toEqual(allowed);
});

test.each([
  ["the next operations of a channel", /^SELECT seq, rank FROM op WHERE state = 0 AND channel/, "op_ready"],
  ["the retries that are due", /^SELECT seq, lane FROM op WHERE state = 2 AND due <=/, "op_due"],
  ["the head of a lane", /FROM op WHERE lane = \? AND standing = 1 ORDER BY position LIMIT 1$/, "op_lane"],
  ["what was on the wire", /FROM op WHERE state = 3 ORDER BY seq$/, "op_flight"],
  ["what has expired", /FROM op WHERE expires IS NOT NULL AND state < 8 AND expires <=/, "op_expires"],
  ["a record by its key", /FROM record WHERE collection = \? AND key = \?$/, "sqlite_autoindex_record_1"],
  ["what is pending on a record", /FROM pending WHERE record = \? ORDER BY op$/, "PRIMARY KEY"],
  ["what an operation changes", /FROM pending WHERE op = \? ORDER BY place$/, "pending_op"],
  ["the floor of a push", /^SELECT op FROM pending WHERE acked = 0 ORDER BY op LIMIT 1$/, "pending_op"],
  ["echoes that have not come", /^SELECT record, op, due FROM pending WHERE acked > 0 AND due <=/, "pending_echo"],
  ["echoes of another clock", /^SELECT record, op, due FROM pending WHERE acked > 0 AND due >/, "pending_echo"],
  [
    "the open conflicts of an operation",
    /FROM conflict WHERE op = \? AND status = 'open' ORDER BY seq$/,
    "conflict_op",
  ],
  ["the open conflict of a record", /FROM conflict WHERE record = \? AND status = 'open' ORDER BY/, "conflict_record"],
  ["how many conflicts are open", /^SELECT count\(\*\) AS n FROM conflict WHERE collection = \? AND/, "conflict_open"],
  ["the history of an operation", /FROM history WHERE op = \? AND op > 0 AND seq > \?/, "history_op"],
])("%s is found by its index, without sorting", (_name, pattern, index) => {
  const found = [...prepared].filter((sql) => pattern.test(sql));
  expect(found).toHaveLength(1);
  const plan = planOf(found[0] ?? "");
  expect(plan.join("\n")).toContain(index);
  expect(plan.join("\n")).not.toContain("TEMP B-TREE");
});

test.each([
  ["a lease", /^UPDATE op SET state = 3, lease = \?/],
  ["a change of what it waits for", /^UPDATE op SET state = \?, reason = \?, due = \?, since = \? WHERE/],
])("%s leaves the index of lanes alone, of which every lane would be a page", (_name, pattern) => {
  const found = [...prepared].filter((sql) => pattern.test(sql));
  expect(found).toHaveLength(1);
  const trees = new Map(
    database
      .prepare("SELECT rootpage, name FROM sqlite_schema")
      .all()
      .map(({ rootpage, name }) => [rootpage, name]),
  );
  const steps = database.prepare(`EXPLAIN ${found[0]}`).all();
  const written = steps.filter(({ opcode }) => opcode === "OpenWrite").map(({ p2 }) => trees.get(p2 ?? 0));
  expect(written).toContain("op_ready");
  expect(written).not.toContain("op_lane");
});

function planOf(sql: string): readonly string[] {
  if (!/^\s*(SELECT|UPDATE|DELETE|INSERT|WITH)\b/.test(sql)) return [];
  return database
    .prepare(`EXPLAIN QUERY PLAN ${sql}`)
    .all()
    .map(({ detail }) => String(detail));
}

// ---- everything that an engine does -----------------------------------------------------------------------------

const problem = { code: "http_422", message: "it was refused", status: 422 };
const answers: Record<string, Answer> = {
  rejected: { kind: "rejected", problem },
  conflict: { kind: "conflict", problem: { ...problem, status: 412 }, remote: { title: "theirs" } },
  retry: { kind: "retry", problem: { ...problem, status: 503 }, isCharged: true, scope: "operation" },
  paced: { kind: "retry", problem: { ...problem, status: 429 }, isCharged: false, scope: "remote", afterMs: 500 },
  nameless: { kind: "applied" },
  auth: { kind: "auth", problem: { ...problem, status: 401 } },
  unknown: { kind: "unknown", problem: { code: "timeout", message: "no answer came" }, mayHaveLanded: true },
};

type Asked = {
  readonly ask: <V extends Verb>(verb: V, input: Input<V>) => Output<V>;
  readonly add: (answer: string, more?: Partial<AddInput>) => string;
  readonly run: (ms: number) => Promise<void>;
};

async function exercise(recording: Database): Promise<void> {
  const scheduler = newScheduler();
  const machine = newVirtualMachine({
    scheduler,
    random: seededRandom("plans"),
    hash: (text) => createHash("sha256").update(text).digest("hex"),
    probe: async () => ({ isReachable: true, reason: "it answers" }),
  });
  const play = async (work: (asked: Asked, engine: Engine) => Promise<void>): Promise<void> => {
    const process = bootProcess(machine, "process");
    const engine = openEngine({
      database: recording,
      world: process.world,
      types: [note],
      settings: { retainCount: 3 },
    });
    engine.subscribe(() => {});
    engine.start();
    const ask: Asked["ask"] = (verb, input) => {
      used.add(verb);
      return engine.handle(verb, input);
    };
    const add: Asked["add"] = (answer, more = {}) =>
      ask("queue.add", { type: "note", payload: { answer }, ...more }).id;
    await work({ ask, add, run: (ms) => scheduler.runFor(ms) }, engine);
    process.kill();
  };
  await play(queueAndAsk);
  await play(changeAndSettle);
  await exerciseRecords(recording);
}

/** Records of two clients before one server: written, pushed, pulled, in conflict, read again. */
async function exerciseRecords(recording: Database): Promise<void> {
  const scheduler = newScheduler();
  const server = newModelServer({
    now: () => 1_800_000_000_000 + scheduler.elapsed(),
    wait: (ms) => new Promise((resolve) => void scheduler.after(ms, resolve)),
  });
  const machine = newVirtualMachine({
    scheduler,
    random: seededRandom("record plans"),
    hash: (text) => createHash("sha256").update(text).digest("hex"),
    probe: async () => ({ isReachable: true, reason: "it answers" }),
  });
  const boot = (version: number): Engine =>
    openEngine({
      database: recording,
      world: bootProcess(machine, `process ${version}`).world,
      collections: [
        { name: "notes", version, indexes: ["title"], maxBytes: 2_000, merge: { n: { rule: "counter" } } },
        { name: "named", keys: "server", localOnly: ["draft"] },
      ],
      sync: server.port(),
    });
  let engine = boot(1);
  engine.start();
  server.naming.add("named");
  const ask: Asked["ask"] = (verb, input) => {
    used.add(verb);
    return engine.handle(verb, input);
  };
  const put = (key: string, value: Fields) => ask("records.write", { kind: "put", collection: "notes", key, value });
  // What was exercised before has left the store offline and paused, and full.
  ask("network.online", {});
  ask("queue.resume", { scope: { kind: "all" } });
  ask("settings.set", { maxOperations: 1_000 });
  await scheduler.runFor(100);
  for (let n = 0; n < 20; n += 1) server.write("notes", `n${n}`, { title: "kelp", n });
  await scheduler.runFor(1_000);
  await writeAndRead(ask, put, () => scheduler.runFor(1_000), server);
  const backup = server.backup();
  put("late", { n: 1 });
  await scheduler.runFor(1_000);
  put("n9", { title: "unsent", n: 1 });
  server.restore(backup, "h2");
  await scheduler.runFor(400_000);
  put("n8", { n: 1 });
  engine = boot(2);
}

async function writeAndRead(
  ask: Asked["ask"],
  put: (key: string, value: Fields) => Output<"records.write">,
  run: () => Promise<void>,
  server: ModelServer,
): Promise<void> {
  ask("collections.declare", { name: "here", isSynced: false });
  const { record } = ask("records.write", { kind: "create", collection: "named", value: { a: 1, draft: 2 } });
  ask("records.write", { kind: "put", collection: "here", key: "h", value: { to: record.key } });
  ask("network.offline", {});
  put("n1", { title: "mine", n: 5 });
  put("n2", { title: "mine", n: 5 });
  put("n3", { title: "mine", n: 5 });
  ask("conflicts.prefer", { collection: "notes", key: "n3", choose: "local", version: 50 });
  ask("records.transaction", {
    writes: [
      { kind: "remove", collection: "notes", key: "n4" },
      { kind: "update", collection: "notes", key: "n5", fields: { n: 9 } },
    ],
  });
  for (const key of ["n1", "n2", "n3"]) server.write("notes", key, { title: "theirs", n: 7 });
  ask("network.online", {});
  await run();
  const [open] = ask("conflicts.list", { collection: "notes", kind: "version_mismatch", field: "title" }).conflicts;
  ask("conflicts.groups", {});
  ask("conflicts.get", { id: open?.id.slice(-8) ?? "" });
  ask("conflicts.resolve", { filter: { key: open?.key ?? "" }, choose: "local" });
  await run();
  ask("conflicts.undo", { ids: [open?.id ?? ""] });
  ask("collections.list", {});
  ask("collections.sync", { collection: "notes", key: "n7" });
  ask("collections.sync", { full: true });
  await run();
  ask("records.get", { collection: "notes", key: "n1" });
  ask("records.query", { collection: "notes", where: { title: "kelp" }, order: [{ field: "title" }] });
  ask("records.count", { collection: "notes" });
  ask("records.sql", { sql: "SELECT count(*) AS n FROM notes" });
  const { entries } = ask("records.history", { collection: "notes", key: "n1" });
  ask("records.restore", { collection: "notes", key: "n1", sequence: entries[0]?.sequence ?? 0 });
  ask("records.import", { collection: "here", rows: [{ id: "i1", n: 1 }], key: "id", source: "file", offset: 0 });
  ask("records.pin", { collection: "notes", keys: ["n1"], isPinned: true });
  await run();
  const ended = ask("sync.runs", {}).runs.find(({ endedAt, pulled }) => endedAt !== null && pulled > 0);
  ask("sync.rollback", { run: ended?.id ?? 1 });
}

type Attempted = Parameters<NonNullable<OperationType["run"]>>[0];

const note: OperationType = {
  type: "note",
  remoteOf: () => "https://notes.example",
  merge: (local) => local,
  run: async ({ input, operation, saveCheckpoint }: Attempted) => {
    const { answer } = input as { readonly answer: string };
    await saveCheckpoint({ at: 1 });
    if (answer === "hang") await new Promise(() => {});
    const serverId = operation.creates === null ? {} : { serverId: "srv-1" };
    return answers[answer] ?? { kind: "applied", ...serverId };
  },
};

const orders = ["run", "oldest", "newest"] as const;

async function queueAndAsk({ ask, add, run }: Asked): Promise<void> {
  add("applied", { creates: "local-1" });
  ask("queue.add", { type: "note", payload: { answer: "applied", parent: "local-1" } });
  ask("queue.add", { type: "nobody.knows", payload: {} });
  const first = add("retry", { lane: "lane", priority: 5, expiresAt: 4e12 });
  add("applied", { lane: "lane", priority: 50, dedupe: { key: "same", mode: "keep-first" } });
  add("applied", { lane: "lane", dedupe: { key: "same", mode: "keep-first" } });
  add("applied", { dedupe: { key: "newest", mode: "replace-pending" }, isDraft: true });
  add("applied", { dedupe: { key: "newest", mode: "replace-pending" }, isDraft: true });
  ask("queue.addMany", {
    operations: [1, 2].map(() => ({ type: "note", payload: { answer: "rejected" }, group: "group" })),
  });
  for (const answer of ["conflict", "unknown", "auth", "paced", "rejected", "hang"]) add(answer, { subject: "ada" });
  add("applied", { after: [first], expiresAt: 1 });
  await run(3_000);
  for (const order of orders) {
    const { next } = ask("queue.list", { order, limit: 2 });
    if (next !== null) ask("queue.list", { order, limit: 2, cursor: next });
    for (const status of ["pending", "failed", "completed"] as const) ask("queue.list", { order, status: [status] });
    ask("queue.list", {
      order,
      lane: "lane",
      type: "note",
      remote: "https://notes.example",
      group: "group",
      reason: "retry",
    });
  }
  const { lines } = ask("queue.export", {});
  ask("queue.import", { lines });
  for (const { id } of ask("queue.list", {}).operations) {
    ask("queue.get", { id: id.slice(-8) });
    ask("queue.get", { id: id.slice(0, 20) });
    ask("queue.why", { id });
    ask("queue.history", { id });
  }
  for (const verb of [
    "queue.status",
    "sync.status",
    "network.status",
    "settings.get",
    "engine.info",
    "engine.check",
  ] as const)
    ask(verb, {});
  ask("events.list", { after: 0, limit: 10 });
  ask("ids.get", { localId: "local-1" });
}

async function changeAndSettle({ ask, add, run }: Asked): Promise<void> {
  const future = { notBefore: 4e12 };
  const [one, two, three] = [1, 2, 3].map(() => add("applied", { ...future, lane: "ordered" })) as [
    string,
    string,
    string,
  ];
  ask("queue.move", { id: three, to: "first" });
  ask("queue.move", { id: one, to: "last" });
  ask("queue.move", { id: two, before: three });
  ask("queue.move", { id: two, after: one });
  ask("queue.move", { id: two, lane: null });
  ask("queue.edit", { id: one, priority: 9, payload: { answer: "applied" }, notBefore: null });
  ask("queue.detach", { id: add("applied", { after: [one] }) });
  ask("queue.release", { ids: [add("applied", { isDraft: true })] });
  ask("queue.cancel", { ids: [three], dependents: "cancel" });
  ask("queue.remove", { ids: [two], confirm: true });
  for (const scope of [
    { kind: "all" },
    { kind: "lane", name: "ordered" },
    { kind: "type", name: "note" },
    { kind: "remote", name: "https://notes.example" },
  ] as const) {
    ask("queue.pause", { scope });
    ask("queue.resume", { scope });
  }
  add("nameless", { creates: "local-2" });
  ask("queue.add", { type: "note", payload: { answer: "applied", parent: "local-2" } });
  add("conflict");
  add("rejected");
  await run(60_000);
  const conflicts = ask("queue.list", { status: ["failed"], reason: "conflict" }).operations.map(({ id }) => id);
  expect(conflicts.length).toBeGreaterThan(1);
  ask("queue.resolve", { ids: conflicts.slice(0, 1), choose: "remote" });
  ask("queue.resolve", { ids: conflicts.slice(1, 2), choose: "merge", payload: { answer: "applied" } });
  ask("ids.assign", { localId: "local-2", serverId: "srv-2" });
  ask("queue.retry", { filter: { status: ["failed"] } });
  ask("sync.run", { retryFailed: true });
  ask("network.check", {});
  ask("network.offline", {});
  ask("network.online", {});
  ask("subject.signOut", { subject: "ada" });
  ask("subject.signIn", { subject: "ada" });
  ask("settings.set", { maxOperations: 20, retainMs: 1 });
  for (let count = 0; count < 10; count += 1) {
    try {
      add("applied");
    } catch {
      // Full, which is what this is for.
      break;
    }
  }
  await run(100_000);
  ask("network.offline", {});
  ask("queue.clear", { scope: "completed" });
  await run(60_000);
  const { unsent } = ask("queue.status", {});
  try {
    ask("queue.clear", { scope: "all", confirm: unsent });
  } catch {
    // What hangs on the wire may refuse it; its statements were prepared all the same.
  }
}
