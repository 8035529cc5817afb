// Owns the committed look of conflicts and sync runs over a scripted daemon, and how many are decided at once.
// Leaves records to golden-records.test.ts; `vitest -u` writes the goldens anew.
import { describe, expect, it } from "vitest";
import { HoldfastError } from "../../src/errors.ts";
import type { Input, Output } from "../../src/verbs.ts";
import * as has from "./support/fixtures.ts";
import type { Look } from "./support/looks.ts";
import { expectLook } from "./support/looks.ts";
import { collection, conflict, decided, list, network, removedThere, run } from "./support/record-fixtures.ts";
import type { Answers } from "./support/script.ts";
import { now, play } from "./support/script.ts";

const conflicts: readonly Look[] = [
  [
    "conflicts list",
    ["conflicts", "list"],
    { answers: { "conflicts.list": { conflicts: [conflict(), removedThere], next: null, open: 2 } } },
  ],
  [
    "conflicts list empty",
    ["conflicts", "list"],
    {
      answers: {
        "conflicts.list": { conflicts: [], next: null, open: 0 },
        "queue.list": { operations: [], next: null },
      },
    },
  ],
  [
    "conflicts list of operations alone",
    ["conflicts", "list"],
    {
      answers: {
        "conflicts.list": { conflicts: [], next: null, open: 0 },
        "queue.list": { operations: [has.operation({ status: "failed", reason: "conflict" })], next: null },
      },
    },
  ],
  [
    "conflicts groups",
    ["conflicts", "groups"],
    {
      answers: {
        "conflicts.groups": {
          groups: [
            {
              collection: "bookings",
              kind: "version_mismatch",
              fields: ["fee"],
              author: "bea",
              count: 12,
              oldestAt: now - 3_600_000,
            },
          ],
        },
      },
    },
  ],
  ["conflicts show", ["conflicts", "show", "c0ff"], { answers: { "conflicts.get": conflict() } }],
  ["conflicts show removed", ["conflicts", "show", "deaf"], { answers: { "conflicts.get": removedThere } }],
  ["conflicts show decided", ["conflicts", "show", "c0ff"], { answers: { "conflicts.get": decided } }],
  [
    "conflicts resolve",
    ["conflicts", "resolve", "c0ff", "--choose", "local"],
    {
      answers: {
        "conflicts.resolve": { done: [conflict().id], refused: [] },
        "network.status": { ...network, isWorkingOffline: true },
      },
    },
  ],
  [
    "conflicts resolve all refused",
    ["conflicts", "resolve", "--all", "--collection", "bookings", "--choose", "local"],
    { answers: { "conflicts.list": { conflicts: [conflict(), removedThere], next: null, open: 2 } } },
  ],
  [
    "conflicts undo",
    ["conflicts", "undo", "c0ff"],
    { answers: { "conflicts.undo": { done: [conflict().id], refused: [] } } },
  ],
  [
    "conflicts prefer",
    ["conflicts", "prefer", "bookings", "b1", "--choose", "local", "--seen", "42"],
    { answers: { "conflicts.prefer": { collection: "bookings", key: "b1" } } },
  ],
  [
    "sync runs",
    ["sync", "runs"],
    {
      answers: {
        "sync.runs": {
          runs: [run, { ...run, id: 11, conflicts: 0, rolledBackBy: 12 }, { ...run, id: 10, endedAt: null }],
          next: null,
        },
      },
    },
  ],
  [
    "sync rollback",
    ["sync", "rollback", "12", "--yes"],
    {
      answers: {
        "sync.rollback": {
          run: 12,
          restored: 41,
          skipped: [{ collection: "bookings", key: "b1", reason: "it was changed after the run" }],
        },
      },
    },
  ],
  [
    "status with records",
    ["status"],
    {
      answers: {
        "queue.status": has.queueStatus(),
        "collections.list": list(collection(), collection({ pending: 1, conflicts: 0 })),
      },
    },
  ],
];

describe("the look of conflicts and runs", () => {
  it.each(conflicts)("%s", expectLook);
});

describe("groups of conflicts", () => {
  const group = (collection: string, fields: string[], author: string, count: number) => ({
    ...{ collection, kind: "version_mismatch" as const, fields, author, count, oldestAt: now - count },
  });
  const groups = [
    group("bookings", ["fee", "note"], "bea", 12),
    group("bookings", ["fee"], "cy", 3),
    group("rooms", [], "bea", 2),
  ];
  const ask = async (by: string) => {
    const { out } = await play(["conflicts", "groups", "--by", by, "--json"], {
      answers: { "conflicts.groups": { groups } },
    });
    return (JSON.parse(out) as { readonly groups: typeof groups }).groups.map(
      ({ collection, fields, author, count }) => [collection, fields.join(), author, count],
    );
  };

  it("are made by any part of the cause, the biggest first", async () => {
    expect(await ask("collection")).toEqual([
      ["bookings", "", "", 15],
      ["rooms", "", "", 2],
    ]);
    expect(await ask("author")).toEqual([
      ["", "", "bea", 14],
      ["", "", "cy", 3],
    ]);
    expect(await ask("collection,field")).toEqual([
      ["bookings", "fee", "", 15],
      ["bookings", "note", "", 12],
      ["rooms", "", "", 2],
    ]);
    expect((await play(["conflicts", "groups", "--by", "colour"], {})).exit).toBe(2);
  });
});

describe("a conflict on a terminal of 80 columns", () => {
  it("stays within it, the fields in dispute marked and first", async () => {
    const { out } = await play(["conflicts", "show", "c0ff"], {
      isTty: true,
      columns: 80,
      env: { NO_COLOR: "1" },
      answers: { "conflicts.get": conflict() },
    });
    const lines = out.split("\n");
    for (const line of lines) expect(line.length, line).toBeLessThanOrEqual(80);
    const marked = lines.filter((line) => line.startsWith("! ")).map((line) => line.split(/\s+/)[1]);
    expect(marked).toEqual(["fee", "note"]);
  });
});

describe("deciding many conflicts", () => {
  const argv = ["conflicts", "resolve", "--all", "--collection", "bookings", "--choose", "local"];
  const answers = {
    "conflicts.list": { conflicts: [conflict(), removedThere], next: null, open: 2 },
    "conflicts.resolve": { done: [conflict().id, removedThere.id], refused: [] },
    "network.status": network,
  } satisfies Answers;
  const resolved = (calls: readonly (readonly [string, unknown])[]) =>
    calls.filter(([verb]) => verb === "conflicts.resolve").map(([, input]) => input as Input<"conflicts.resolve">);

  it("asks on a terminal, with their number", async () => {
    const yes = await play(argv, { isTty: true, says: [true], answers });
    expect(yes.asked).toEqual(["2 conflicts would become what was written here. Decide?"]);
    expect(resolved(yes.calls)).toEqual([{ filter: { collection: "bookings", status: "open" }, choose: "local" }]);
    const no = await play(argv, { isTty: true, says: [false], answers });
    expect([no.exit, resolved(no.calls)]).toEqual([1, []]);
  });

  it("needs --yes where nobody can be asked", async () => {
    const refusedAll = await play(argv, { answers });
    expect([refusedAll.exit, resolved(refusedAll.calls)]).toEqual([5, []]);
    for (const yes of ["--yes", "-y"]) expect((await play([...argv, yes], { answers })).exit).toBe(0);
  });

  it("does not mix ids with filters, and wants a value exactly for --choose value", async () => {
    for (const wrong of [
      ["conflicts", "resolve", "--choose", "local"],
      ["conflicts", "resolve", "c0ff", "--all", "--choose", "local"],
      ["conflicts", "resolve", "c0ff", "--choose", "value"],
      ["conflicts", "resolve", "c0ff", "--choose", "local", "--data", "{}"],
      ["conflicts", "resolve", "c0ff", "--choose", "value", "--data", "[]"],
    ])
      expect((await play(wrong, { answers })).exit, wrong.join(" ")).toBe(2);
    const value = await play(["conflicts", "resolve", "c0ff", "--choose", "value", "--data", '{"fee":9}'], { answers });
    expect(resolved(value.calls)).toEqual([{ ids: ["c0ff"], choose: "value", value: { fee: 9 } }]);
  });
});

describe("rolling a run back", () => {
  const gone = (): never => {
    throw new HoldfastError("not_found", "there is no run 999", "see `holdfast sync runs`");
  };
  const answers = {
    "sync.runs": { runs: [run], next: null },
    "sync.rollback": ({ run: id }: Input<"sync.rollback">) =>
      id === run.id ? { run: id, restored: 1, skipped: [] } : gone(),
  } satisfies Answers;

  it("asks first, and a no ends with 1", async () => {
    const played = await play(["sync", "rollback", "12"], { isTty: true, says: [false], answers });
    expect([played.exit, played.asked.length]).toEqual([1, 1]);
    expect((await play(["sync", "rollback", "12"], { answers })).exit).toBe(5);
    expect((await play(["sync", "rollback", "12", "-y"], { answers })).exit).toBe(0);
  });

  it("ends with 1 when records were left alone", async () => {
    const skipped = [{ collection: "bookings", key: "b1", reason: "it has changed since" }];
    const none = { ...answers, "sync.rollback": { run: 12, restored: 0, skipped } };
    const played = await play(["sync", "rollback", "12", "-y"], { answers: none });
    expect(played.exit).toBe(1);
    expect(played.out).toContain("! Rolled run 12 back: 0 records restored\n1 record left alone:");
  });

  it("asks nobody about a run that is not there", async () => {
    const played = await play(["sync", "rollback", "999"], { isTty: true, answers });
    expect([played.exit, played.asked]).toEqual([4, []]);
    expect((await play(["sync", "rollback", "-3"], { answers })).exit).toBe(2);
  });

  it("runs are listed over pages, and --limit 0 lists all", async () => {
    const pages = { 0: 11, 11: null } as const;
    const seen: unknown[] = [];
    const runs = ({ before = 0, limit }: Input<"sync.runs">): Output<"sync.runs"> => {
      seen.push([before, limit]);
      return { runs: [run], next: pages[before as keyof typeof pages] };
    };
    const played = await play(["sync", "runs", "--limit", "0", "--json"], { answers: { "sync.runs": runs } });
    expect([seen, JSON.parse(played.out).runs.length, JSON.parse(played.out).next]).toEqual([
      [
        [0, 1_000],
        [11, 1_000],
      ],
      2,
      null,
    ]);
  });
});
