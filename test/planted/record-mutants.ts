// Owns the planted bugs of records and of the sync server, and which rules of the simulation of replicas must notice each.
// Bugs of the queue are mutants.ts; running both is planted.test.ts.
import type { Mutant } from "./mutants.ts";

export const recordMutants: readonly Mutant[] = [
  {
    name: "release the overlay on the push reply",
    file: "src/engine/landing.ts",
    find: "ackPending(store, pending, { version, due: entry === undefined ? now : now + echoMs, change });",
    replace: "void [ackPending, version, now, echoMs, change]; dropPending(store, pending);",
    rules: ["read your writes"],
  },
  {
    name: "assign the sequence before the commit",
    file: "src/server/pushes.ts",
    find: "const outcome = await core.store.write((tx) => pushAll",
    replace: `await core.store.write(async (tx) => {
      const { head } = await lockSpace(tx, space, { dialect: core.store.dialect, minting: core });
      await saveHead(tx, space, head + 1);
    });
    const outcome = await core.store.write((tx) => pushAll`,
    also: [
      {
        file: "src/server/pushes.ts",
        find: 'import { pushAll, readyPush } from "./push.ts";',
        replace: 'import { pushAll, readyPush } from "./push.ts";\nimport { lockSpace, saveHead } from "./spaces.ts";',
      },
    ],
    rules: ["S2"],
  },
  {
    name: "write the receipt outside the transaction of the effects",
    file: "src/server/push.ts",
    find: "await writeReceipts(tx, fresh, { space, now });",
    replace: `void Promise.resolve()
      .then(() => core.store.write((later) => writeReceipts(later, fresh, { space, now })))
      .catch(() => {});`,
    also: [
      {
        file: "src/server/push.ts",
        find: "async function writeAll({ tx, space,",
        replace: "async function writeAll({ tx, core, space,",
      },
    ],
    rules: ["I2", "read your writes", "causal order"],
  },
  {
    name: "merge without a base",
    file: "src/merge.ts",
    find: "const { base, local, remote } = three;",
    replace: "const { local, remote } = three; const base = null as Fields | null;",
    rules: ["I2"],
  },
  {
    name: "move the cursor before its rows",
    file: "src/engine/pull.ts",
    find: "const news = applyRecords(store, infos, response.records);",
    replace:
      "const news = response.records.length; store.world.defer(() => void transact(store, () => applyRecords(store, infos, response.records)));",
    also: [
      {
        file: "src/engine/pull.ts",
        find: 'import type { Store } from "./store.ts";',
        replace: 'import type { Store } from "./store.ts";\nimport { transact } from "./store.ts";',
      },
    ],
    rules: ["I5", "start", "linearizable", "I2"],
  },
  {
    name: "keep the cursor when something else may be read",
    file: "src/engine/views.ts",
    find: 'startResync(store, info, { reason: "view", head, floor: 0 });\n    return [];',
    replace: "return [{ ...info, view }];",
    rules: ["I5"],
  },
  {
    name: "let a record that came into reach again stay away",
    file: "src/engine/pull.ts",
    find: "return (groundOf(row).snapshot === null) !== (snapshot === null);",
    replace: "return false;",
    rules: ["I5"],
  },
  {
    name: "ignore the floor of a client",
    file: "src/server/push.ts",
    find: 'if (item.number < floor) return { id: item.id, outcome: "stale" };',
    replace: "",
    rules: ["I2"],
  },
  {
    name: "merge a counter as the last writer",
    file: "src/merge.ts",
    find: "return mergeCounter(sides);",
    replace: 'void mergeCounter; return { value: sides.local, chosen: "local" };',
    rules: ["I2"],
  },
  {
    name: "let a full download drop unsent work",
    file: "src/engine/pull.ts",
    find: "if (row.pendings > 0) {\n    replay(",
    replace: 'if (row.pendings > 0 && info.state !== "resync") {\n    replay(',
    // The row stays counted and keeps the server's side, so that what is noticed is the work that is gone from sight, and no count.
    also: [
      {
        file: "src/engine/pull.ts",
        find: "const status = Status.synced;",
        replace: "const status = row.pendings > 0 ? row.status : Status.synced;",
      },
      {
        file: "src/engine/pull.ts",
        find: "value, snapshot: null, status, changed",
        replace: "value, snapshot: row.pendings > 0 ? ground.snapshot : null, status, changed",
      },
    ],
    rules: ["read your writes", "I5"],
  },
  {
    name: "forget removals without raising the floor",
    file: "src/server/retention.ts",
    find: "for (const [space, floor] of floors) await saveFloor(tx, space, floor);",
    replace: "void [saveFloor, floors];",
    // Who never hears of a removal is told "removed" at every push and has nothing to follow it with.
    rules: ["S2", "I5", "livelock"],
  },
  {
    name: "do not notice a server that was set back under its history",
    file: "src/engine/seen.ts",
    find: "const known = store.memory.sync.seen.get(space.name);",
    replace: "if (space.head >= 0) return 0;\n  const known = store.memory.sync.seen.get(space.name);",
    rules: ["I5", "linearizable", "livelock", "I1", "read your writes", "set back"],
  },
  {
    name: "let the remote side take what nobody disputes",
    file: "src/engine/inbox.ts",
    find: 'return chooseSide({ base, local, remote }, { rules, disputed: conflict.fields, side: "remote" });',
    replace: "return remote;",
    rules: ["I6"],
  },
  {
    name: "send a local key to the server",
    file: "src/id.ts",
    find: "if (serverId !== null && serverId !== text) known.set(text, serverId);",
    replace: "void serverId;",
    rules: ["I9"],
  },
  {
    name: "let the newest changes go first",
    file: "src/engine/claim.ts",
    find: "ORDER BY rank, seq LIMIT +?",
    replace: "ORDER BY rank DESC, seq DESC LIMIT +?",
    rules: ["I7"],
  },
];
