// Owns the promise that kill -9 loses nothing and repeats nothing: real daemon, receiver and clients, killed at seeded moments.
// Leaves the playing to test/support/kill/. Replay a seed with HOLDFAST_KILL_SEED=…; HOLDFAST_KILLS=… for long runs.
import { createHash } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Campaign } from "../support/kill/campaign.ts";
import { playCampaign } from "../support/kill/campaign.ts";
import type { Line } from "../support/kill/shapes.ts";

const seed = process.env.HOLDFAST_KILL_SEED ?? "1";
const killCount = Number(process.env.HOLDFAST_KILLS ?? 54);

let campaign: Campaign;
let failures = 0;
let effects: readonly Line[];
let operationOf: ReadonlyMap<string, Campaign["operations"][number]>;
beforeAll(
  async () => {
    const startedAt = performance.now();
    campaign = await playCampaign(seed, killCount);
    effects = campaign.journal.filter(({ what }) => what !== "replay" && what !== "leak");
    operationOf = new Map(campaign.operations.map((each) => [each.id, each]));
    const { daemon, receiver } = campaign.kills;
    const replays = campaign.journal.length - effects.length;
    const tries = campaign.operations.reduce((sum, { attempts }) => sum + attempts, 0);
    console.log(
      `kill -9, seed ${seed}: ${daemon} daemons and ${receiver} receivers killed, ${campaign.acknowledged.length} operations acknowledged, ` +
        `${tries} attempts, ${replays} recognised as repeats, ${Math.round(performance.now() - startedAt)} ms`,
    );
  },
  240_000 + killCount * 3_000,
);
afterAll(() => {
  if (campaign === undefined) return;
  if (failures > 0) console.log(`kill -9 with seed ${seed} failed; its logs are in ${campaign.folder}`);
  else campaign.remove();
});

/** A failure says which seed it was and keeps the files. */
function rule(name: string, check: () => void): void {
  test(name, () => {
    failures += 1;
    check();
    failures -= 1;
  });
}

rule("enough died, in the middle of work", () => {
  expect(campaign.kills.daemon).toBeGreaterThanOrEqual(killCount * 0.3);
  expect(campaign.kills.receiver).toBeGreaterThanOrEqual(killCount * 0.2);
  expect(campaign.kills.daemon + campaign.kills.receiver).toBeGreaterThanOrEqual(Math.min(killCount, 50));
  expect(campaign.journal.some(({ what }) => what === "replay")).toBe(true);
  expect(new Set(campaign.acknowledged.map(({ kind }) => kind)).size).toBe(6);
});

rule("every acknowledged operation is there and completed, and nothing else is there", () => {
  const ids = campaign.acknowledged.map(({ id }) => id);
  expect([...operationOf.keys()].sort()).toEqual([...ids].sort());
  expect(campaign.operations.filter(({ status }) => status !== "completed").map(brief)).toEqual([]);
});

rule("each effect is at the receiver once, under the operation's own key, and there is no other", () => {
  const remote = campaign.acknowledged.filter(({ kind }) => kind !== "command");
  const keys = remote.map(({ id }) => operationOf.get(id)?.idempotencyKey);
  expect(effects.map(({ key }) => key).sort()).toEqual(keys.sort());
});

rule("every command had its effect", () => {
  const commands = campaign.acknowledged.filter(({ kind }) => kind === "command");
  const silent = commands.filter(({ id }) => !campaign.hasCommandRun(operationOf.get(id)?.idempotencyKey ?? ""));
  expect(silent).toEqual([]);
});

rule("files arrived byte for byte", () => {
  const sent = campaign.acknowledged.filter(({ sha256 }) => sha256 !== undefined);
  const arrived = new Map(effects.map((line) => [line.key, line]));
  for (const { id, kind, sha256 } of sent) {
    const line = arrived.get(operationOf.get(id)?.idempotencyKey ?? "");
    const hash =
      kind === "put"
        ? line?.sha256
        : createHash("sha256")
            .update(campaign.uploadOf(line?.location ?? ""))
            .digest("hex");
    expect(hash, `${kind} ${id}`).toBe(sha256);
  }
});

rule("operations of one lane took effect in the order in which they were queued", () => {
  const lanes = new Map<string, number[]>();
  for (const { key } of effects) {
    const operation = operationOf.get(key);
    if (operation?.lane == null) continue;
    lanes.set(operation.lane, [...(lanes.get(operation.lane) ?? []), operation.sequence]);
  }
  expect(lanes.size).toBeGreaterThanOrEqual(4);
  for (const [lane, sequences] of lanes) expect(sequences, lane).toEqual([...sequences].sort((a, b) => a - b));
});

rule("what depends on another operation took effect after it", () => {
  const placeOf = new Map(effects.map(({ key }, index) => [key, index]));
  const dependents = campaign.acknowledged.filter(({ after }) => after !== undefined);
  expect(dependents.length).toBeGreaterThan(0);
  for (const { id, after = [] } of dependents) {
    for (const parent of after) {
      const place = placeOf.get(parent);
      if (place !== undefined) expect(placeOf.get(id), `${id} after ${parent}`).toBeGreaterThan(place);
    }
  }
});

rule("no local id ever reached the receiver, and every reference says the server's id", () => {
  expect(campaign.journal.filter(({ what }) => what === "leak")).toEqual([]);
  const serverIds = new Map<string, string | null>();
  for (const { id, creates } of campaign.acknowledged) {
    if (creates !== undefined) serverIds.set(creates, operationOf.get(id)?.serverId ?? null);
  }
  const lines = new Map(effects.map((line) => [line.key, line]));
  const references = campaign.acknowledged.filter(({ refersTo }) => refersTo !== undefined);
  expect(references.length).toBeGreaterThan(0);
  for (const { id, refersTo = "" } of references) {
    const line = lines.get(id);
    const serverId = serverIds.get(refersTo);
    expect(serverId).toMatch(/^srv-\d+$/);
    expect(`${line?.url} ${JSON.stringify(line?.body)}`).toContain(serverId);
  }
});

rule("the store is sound", () => {
  expect(campaign.check).toMatchObject({ isSound: true, findings: [] });
});

rule("no process is left", () => {
  expect(campaign.leftOver).toEqual([]);
});

function brief({ id, type, status, reason, problem }: Campaign["operations"][number]): string {
  return `${id} ${type} ${status} ${reason ?? ""} ${problem?.message ?? ""}`;
}
