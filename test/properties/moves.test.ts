// Owns the property that a status moves only along `canMove`, whatever people, remotes, clocks and kills do.
// The random life is the simulation's; here only the moves that its history recorded are looked at.
import fc from "fast-check";
import { expect, test } from "vitest";
import { HoldfastError } from "../../src/errors.ts";
import type { Answer, Status } from "../../src/operation.ts";
import { canMove, isTerminal, statuses } from "../../src/operation.ts";
import { openStage } from "../support/virtual.ts";

const problem = { code: "trouble", message: "as planned" };
const ends: readonly Answer[] = [
  { kind: "applied" },
  { kind: "duplicate" },
  { kind: "rejected", problem },
  { kind: "conflict", problem, remote: 1 },
  { kind: "retry", problem, isCharged: true, scope: "operation" },
  { kind: "retry", problem, isCharged: false, scope: "remote", afterMs: 100 },
  { kind: "auth", problem: { ...problem, status: 401 } },
  { kind: "unknown", problem, mayHaveLanded: true },
];
const deeds = [
  "wait",
  "retry",
  "cancel",
  "edit",
  "release",
  "resolve",
  "signIn",
  "restart",
  "pause",
  "resume",
  "move",
] as const;

test("terminal statuses never move, and no status moves to itself", () => {
  for (const from of statuses) {
    expect(canMove(from, from)).toBe(false);
    if (isTerminal(from)) expect(statuses.filter((to) => canMove(from, to))).toEqual([]);
  }
});

test("every status that an operation is seen in follows legally from the one before", async () => {
  const life = fc.record({
    isDraft: fc.boolean(),
    expiresIn: fc.option(fc.integer({ min: 100, max: 5_000 })),
    answers: fc.array(fc.nat(ends.length - 1), { minLength: 1, maxLength: 6 }),
    deeds: fc.array(fc.constantFrom(...deeds), { maxLength: 15 }),
  });
  await fc.assert(
    fc.asyncProperty(life, async ({ isDraft, expiresIn, answers, deeds: done }) => {
      let turn = 0;
      const run = async (): Promise<Answer> => {
        turn += 1;
        return ends[answers[(turn - 1) % answers.length] ?? 0] as Answer;
      };
      using stage = openStage({ types: [{ type: "any", remoteOf: () => "remote", run }] });
      const expires = expiresIn === null ? {} : { expiresAt: stage.machine.wallClock.now() + expiresIn };
      const { id } = stage.engine().handle("queue.add", { type: "any", payload: 0, lane: "a", isDraft, ...expires });
      const seen: Status[] = [];
      const look = (): void => {
        const { status } = stage.get(id);
        if (seen.at(-1) !== status) seen.push(status);
      };
      look();
      for (const deed of done) {
        perform(stage, id, deed);
        look();
        // Task by task, so that no status in between is missed.
        for (let task = 0; task < 12; task += 1) {
          await stage.scheduler.runNext();
          look();
        }
      }
      seen.slice(1).forEach((to, index) => {
        const from = seen[index] as Status;
        // Two moves can share a commit: an attempt's end and the next claim.
        const isLegal = canMove(from, to) || statuses.some((middle) => canMove(from, middle) && canMove(middle, to));
        expect(isLegal, `${seen.join(" -> ")}`).toBe(true);
      });
    }),
    { numRuns: 150 },
  );
});

function perform(stage: ReturnType<typeof openStage>, id: string, deed: (typeof deeds)[number]): void {
  const engine = stage.engine();
  try {
    if (deed === "retry") engine.handle("queue.retry", { ids: [id] });
    if (deed === "cancel") engine.handle("queue.cancel", { ids: [id] });
    if (deed === "edit") engine.handle("queue.edit", { id, payload: 1, force: true });
    if (deed === "release") engine.handle("queue.release", { ids: [id] });
    if (deed === "resolve") engine.handle("queue.resolve", { ids: [id], choose: "local" });
    if (deed === "signIn") engine.handle("subject.signIn", { subject: "" });
    if (deed === "pause") engine.handle("queue.pause", { scope: { kind: "lane", name: "a" } });
    if (deed === "resume") engine.handle("queue.resume", { scope: { kind: "lane", name: "a" } });
    if (deed === "move") engine.handle("queue.move", { id, lane: "b" });
    if (deed === "restart") stage.restart();
  } catch (error) {
    if (!(error instanceof HoldfastError) || error.code === "internal") throw error;
  }
}
