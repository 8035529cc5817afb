// Owns what --wait shows: attempts, progress, the end, Ctrl-C, a daemon that goes away, the auto-sync banner.
import { describe, expect, it } from "vitest";
import { HoldfastError } from "../../src/errors.ts";
import * as has from "./support/fixtures.ts";
import type { Script } from "./support/script.ts";
import { now, play } from "./support/script.ts";

const argv = ["request", "POST", "https://api.example.com/notes", "--data", "kelp", "--wait"];
type Operation = ReturnType<typeof has.operation>;

/** Each look at the operation finds the next of these; the last one stays. */
function looks(first: Operation, ...rest: readonly Operation[]): Script {
  const left = [first, ...rest];
  return {
    answers: {
      "queue.status": has.queueStatus(),
      "queue.add": has.receipt(),
      "queue.why": has.why(),
      "queue.get": () => (left.length > 1 ? (left.shift() ?? first) : (left[0] ?? first)),
    },
  };
}

const timedOut = { code: "timeout", message: "no answer within 30 s" };
const lock = { maxAttempts: 5, initialMs: 1_000, maxMs: 15_000, jitter: 0.2 };
const retrying = (attempts: number, inMs: number): Operation =>
  has.operation({
    attempts,
    failures: attempts,
    reason: "retry",
    retry: lock,
    problem: timedOut,
    nextAttemptAt: now + inMs,
  });

describe("an operation that lands at the third attempt", () => {
  const script = looks(has.operation(), retrying(1, 2_000), retrying(2, 4_000), has.landedNote);
  it("tells each attempt once, then the figure", async () => {
    const played = await play(argv, script);
    expect(played.exit).toBe(0);
    expect(played.err.split("\n").slice(1)).toEqual([
      "! Attempt 1 failed: no answer within 30 s",
      "  Retrying in 1.0 s (4 of 5 left)",
      "! Attempt 2 failed: no answer within 30 s",
      "  Retrying in 2.0 s (3 of 5 left)",
      "",
    ]);
    expect(played.out).toBe("✓ Succeeded after 3 attempts in 3.0 s: POST https://api.example.com/notes (0f3a9c21)\n");
  });
});

it("says nothing but the end under --quiet, and only JSON under --json", async () => {
  const quiet = await play([...argv, "--quiet"], looks(retrying(1, 1_000), has.landedNote));
  expect([quiet.out, quiet.err]).toEqual([`${has.ids.note}\n`, ""]);
  const asJson = await play([...argv, "--json"], looks(retrying(1, 1_000), has.landedNote));
  expect([JSON.parse(asJson.out).status, asJson.err, asJson.exit]).toEqual(["completed", "", 0]);
});

it("a silence is said to cost nothing", async () => {
  const played = await play(
    argv,
    looks(has.operation({ reason: "network", attempts: 1, problem: timedOut }), has.landedNote),
  );
  expect(played.err).toContain(
    "! Attempt 1 failed: no answer within 30 s\n  Waiting for the network; this costs no attempt (8 of 8 left)\n",
  );
});

it("a failure ends with 1, its reason, and what to do", async () => {
  const played = await play(argv, looks(has.conflicting));
  expect([played.exit, played.out]).toEqual([1, ""]);
  expect(played.err).toContain("✗ Failed after 1 attempt: the remote has another version (412)\n");
  expect(played.err).toContain("holdfast queue resolve c0ffee01 --choose local|remote");
});

it("Ctrl-C says that it stays queued and ends with the id and 1, because nothing has landed", async () => {
  const played = await play(argv, { ...looks(has.operation()), interruptAt: 2 });
  expect([played.exit, played.out]).toEqual([1, `${has.ids.note}\n`]);
  expect(played.err).toContain("Stopped waiting: 0f3a9c21 stays queued and is sent by itself.");
});

it("a time limit without --wait is refused, because it would limit nothing", async () => {
  const words = argv.filter((word) => word !== "--wait");
  const played = await play([...words, "--timeout", "3s"], looks(has.operation()));
  expect([played.exit, played.calls]).toEqual([2, []]);
  expect(played.err).toContain("✗ --timeout goes with --wait\n");
});

it("a timeout ends with 1 and leaves it queued", async () => {
  const played = await play([...argv, "--timeout", "3s"], looks(has.operation()));
  expect([played.exit, played.out]).toEqual([1, ""]);
  expect(played.err).toContain("✗ 0f3a9c21 has not landed within 3.0 s; it stays queued");
  expect(played.calls.filter(([verb]) => verb === "queue.cancel")).toEqual([]);
});

it("a daemon that goes away is started again", async () => {
  const script = looks(has.landedNote);
  let isGone = true;
  const get = (): Operation => {
    if (!isGone) return has.landedNote;
    isGone = false;
    throw new HoldfastError("daemon_unreachable", "gone", "");
  };
  const played = await play(argv, { answers: { ...script.answers, "queue.get": get } });
  expect([played.exit, played.opened]).toEqual([0, 2]);
  expect(played.err).toContain("The daemon went away; starting it again. 0f3a9c21 is safe.");
});

describe("the auto-sync banner", () => {
  const pending = { ...has.queueStatus().counts, pending: 2 };
  const sync = { pending: 2, isOffline: false, sentence: "Sending 2 operations." };
  const script = (more: Parameters<typeof has.queueStatus>[0]): Script => ({
    answers: {
      ...looks(has.landedNote).answers,
      "queue.status": has.queueStatus({ counts: pending, unsent: 2, ...more }),
      "sync.status": { isSyncing: false, mode: "eager", run: null },
      "queue.list": { operations: [], next: null },
      "queue.get": ({ id }) => (id === has.ids.note ? has.landedNote : has.failedPush),
    },
    events: [has.event({ id: has.ids.push, kind: "parked", status: "failed" })],
  });
  it("is told when something waits and the remote is back, with what becomes of it", async () => {
    const played = await play(argv, script({ remotes: [has.onlineRemote] }));
    expect(played.err.split("\n")[0]).toBe("[Auto-syncing 2 pending operations…]");
    expect(played.err).toContain("✗ 5b1e00d4 git push origin main: git ended with exit code 128 (it stays queued)\n");
  });
  it("makes nothing go that waits for its next attempt: that would use up the attempts of others", async () => {
    const remotes = [has.onlineRemote];
    const told = async (operations: readonly Operation[], mode: "eager" | "manual" = "eager") => {
      const { answers, ...rest } = script({ remotes });
      const given = {
        "sync.status": { isSyncing: false, mode, run: null },
        "queue.list": { operations: [...operations], next: null },
        "sync.run": sync,
      };
      const { err, calls } = await play(argv, { ...rest, answers: { ...answers, ...given } });
      return [err.split("\n")[0], calls.some(([verb]) => verb === "sync.run")];
    };
    const waiting = has.operation({ status: "pending", reason: "retry" });
    expect(await told([waiting])).toEqual(["[Auto-syncing 1 pending operation…]", false]);
    expect(await told([waiting, has.operation({ id: has.ids.push, reason: "retry" })])).toEqual([
      expect.not.stringContaining("Auto-syncing"),
      false,
    ]);
    // Where nothing goes by itself, the run is what sends.
    expect(await told([], "manual")).toEqual(["[Auto-syncing 2 pending operations…]", true]);
  });
  it.each([
    ["the remote is away", { remotes: [has.offlineRemote] }],
    ["we work offline", { remotes: [has.onlineRemote], isWorkingOffline: true }],
    ["nothing is pending", { remotes: [has.onlineRemote], counts: has.queueStatus().counts }],
  ])("is not told when %s", async (_name, more) => {
    const played = await play(argv, script(more));
    expect(played.err).not.toContain("Auto-syncing");
  });
  it("is not part of JSON output", async () => {
    const played = await play([...argv, "--json"], script({ remotes: [has.onlineRemote] }));
    expect(played.err).toBe("");
  });
});

it("an upload shows a bar on a terminal and none in a pipe", async () => {
  const script = looks(has.runningUpload, has.landedNote);
  expect((await play(argv, script)).err).not.toContain("█");
  const seen = await play(argv, { ...looks(has.runningUpload, has.landedNote), isTty: true, env: { NO_COLOR: "1" } });
  expect(seen.err).toContain("█████████░░░░░░░░░░░░░░░░░░░░░ 12.5 MB of 40.0 MB (31 %)");
  expect(seen.err.endsWith("\r\u001b[2K")).toBe(true);
});
