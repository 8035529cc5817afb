// Owns the faults and the time of a simulated run: weather, deaths, clocks, upgrades, credentials, months, and a server that is restored.
// What people do meanwhile is moves.ts and decisions.ts; the line itself is line.ts.
import type { Violation } from "./judge.ts";
import { calm } from "./line.ts";
import type { Stage } from "./moves.ts";
import { pickReplica, pickSlot, writeFor } from "./moves.ts";
import { reaches } from "./programs.ts";
import type { Replica } from "./replica.ts";
import { space } from "./server-host.ts";

const minuteMs = 60_000;
const dayMs = 24 * 60 * minuteMs;
const monthMs = 30 * dayMs;

export async function passTime(stage: Stage): Promise<void> {
  const { random, scheduler } = stage;
  const span = random.chance(0.02)
    ? random.below(20 * minuteMs)
    : random.chance(0.2)
      ? random.below(minuteMs)
      : random.below(500);
  await scheduler.runFor(span);
  stage.note(`${span} ms pass`);
}

export function changeWeather(stage: Stage): void {
  const { random } = stage;
  const replica = pickReplica(stage);
  const weather = calm();
  if (random.chance(0.35)) weather.isCut = true;
  if (random.chance(0.3)) weather.dropRequest = random.next() * 0.5;
  if (random.chance(0.4)) weather.dropAnswer = random.next() * 0.6;
  if (random.chance(0.3)) weather.double = random.next() * 0.5;
  if (random.chance(0.3)) weather.late = random.next() * 0.3;
  if (stage.isForgetful) weather.echo = 0.5;
  if (random.chance(0.15)) weather.instead = random.pick(["portal", "503", "429"]);
  Object.assign(replica.weather, weather);
  stage.note(`${replica.name} has ${JSON.stringify(weather)}`);
}

export function killReplica(stage: Stage): void {
  const replica = pickReplica(stage);
  const moment = stage.random.pick(["before", "after", "now"]);
  replica.kill(pickSlot(stage, replica), moment);
  stage.promises.kills += 1;
  stage.note(`${replica.name} dies ${moment}`);
}

export function bootReplicas(stage: Stage): void {
  for (const replica of stage.replicas) for (const slot of replica.slots.keys()) replica.boot(slot);
}

export function killServer(stage: Stage): void {
  const moment = stage.random.pick(["before", "after", "now"]);
  stage.server.kill(moment);
  stage.promises.kills += 1;
  stage.note(`the server dies ${moment}`);
}

export function jumpClock(stage: Stage): void {
  const { random } = stage;
  const byMs = (random.chance(0.5) ? 1 : -1) * random.below(random.chance(0.3) ? 4 * monthMs : minuteMs);
  if (random.chance(0.2)) stage.server.jumpClock(byMs);
  else pickReplica(stage).machine.wallClock.jump(byMs);
  // A bad clock is slow or fast by a twentieth; only its wall time is, for that is what people and programs are told.
  if (random.chance(0.2)) pickReplica(stage).machine.wallClock.drift(0.95 + random.next() * 0.1);
  stage.note(`a clock jumps ${byMs} ms`);
}

/** A token expires, an account is suspended; somebody gets fresh credentials later, and may or may not say so. */
export function changeCredentials(stage: Stage): void {
  const { random } = stage;
  const replica = pickReplica(stage);
  replica.credentials.pass = random.pick(["valid", "valid", "valid", "expired", "expired", "suspended"]);
  const isTold = replica.credentials.pass === "valid" && random.chance(0.7);
  if (isTold) replica.ask("subject.signIn", { subject: "" }, pickSlot(stage, replica));
  stage.note(`${replica.name} is ${replica.credentials.pass}${isTold ? " and signs in" : ""}`);
}

const viewRow = "SELECT view FROM collection WHERE name = 'tasks'";

/**
 * Somebody may read more or less of the tasks from now on, and nothing is told of it. Rights that change and change back between two pulls
 * tell nobody, and what an answer to a push showed meanwhile stays: so the next change waits until the last one was seen.
 */
export function changeReach(stage: Stage): void {
  const replica = pickReplica(stage);
  const { credentials, database } = replica;
  const view = String(database.prepare(viewRow).get()?.view);
  if (view !== "" && view === credentials.viewBefore) return;
  const reach = stage.random.pick(reaches);
  if (reach === credentials.reach) return;
  Object.assign(credentials, { reach, viewBefore: view });
  stage.note(`${replica.name} may read ${replica.credentials.reach}`);
}

/** The server goes first now and then, and now and then a client is ahead of it: what it sends is refused until the server follows. */
export function upgradeSomebody(stage: Stage): void {
  const { random, server } = stage;
  if (random.chance(0.4)) {
    server.upgrade();
    if (random.chance(0.7)) server.kill("now");
    stage.note("the server has the second schema from its next start on");
    return;
  }
  const replica = pickReplica(stage);
  replica.program.version = 2;
  // Processes of two versions on one store are possible: one that still runs keeps the old program until it ends.
  if (random.chance(0.7)) for (const slot of replica.slots.keys()) replica.kill(slot, "now");
  stage.note(`${replica.name} has the second program`);
}

/** Months go by at the server while whoever is cut off hears nothing: removals are forgotten, and receipts that nobody may need. */
export async function passMonths(stage: Stage): Promise<void> {
  const { random, server } = stage;
  const days = 91 + random.below(60);
  server.jumpClock(days * dayMs);
  await server.compact();
  if (random.chance(0.5)) await server.forgetReceipts();
  stage.note(`${days} days pass at the server`);
}

export async function forgetReceipts(stage: Stage): Promise<void> {
  await stage.server.forgetReceipts();
  stage.note("receipts below the floors are forgotten");
}

export async function copyServer(stage: Stage): Promise<void> {
  await stage.server.copy();
  stage.note("the server is copied");
}

export async function restoreServer(stage: Stage): Promise<void> {
  const isRestored = await stage.server.restore("new history");
  if (!isRestored) return;
  stage.promises.restores += 1;
  stage.note("the server is restored from its copy");
}

const seenRow = `SELECT max(head, coalesce((SELECT max(acked) FROM pending), 0), coalesce((SELECT max(version) FROM record
  JOIN collection ON collection.id = record.collection WHERE collection.resync IS NULL), 0)) AS seen FROM space WHERE name = ?`;
const nameRow = "SELECT value FROM meta WHERE name = 'client'";
const readingRow = "SELECT count(*) AS n FROM collection WHERE state = 'resync'";

const seenBy = ({ database }: Replica): number => Number(database.prepare(seenRow).get(space)?.seen ?? 0);
const isReading = ({ database }: Replica): boolean => Number(database.prepare(readingRow).get()?.n) > 0;

/**
 * The server's file is copied back under the same history. Whoever has seen more hears of it with what it says next, or writes first.
 * A client that stays away until others have brought the head past what it has seen can know of nothing: so all come back, and until
 * all have heard only those push that have not.
 */
export async function setServerBack(stage: Stage): Promise<Violation | null> {
  const { random, replicas, scheduler, server } = stage;
  const copied = server.copiedHead() ?? Number.MAX_SAFE_INTEGER;
  const ahead = replicas.filter((replica) => seenBy(replica) > copied);
  if (ahead.length === 0) return null;
  await server.restore("same history");
  stage.promises.restores += 1;
  stage.note(`the server is set back to ${copied}; ${ahead.map((each) => `${each.name} has seen ${seenBy(each)}`)}`);
  // Who has heard knows of less than before, and waits for the others.
  const known = new Map(ahead.map((replica) => [replica, seenBy(replica)]));
  // A late copy of what was sent before tells nobody of it either.
  server.admits = ({ client, seen: told = 0 }) =>
    [...known].some(
      ([replica, seen]) =>
        replica.database.prepare(nameRow).get()?.value === client && seenBy(replica) >= seen && told >= seen,
    );
  for (const replica of replicas) {
    Object.assign(replica.weather, calm());
    replica.credentials.pass = "valid";
    if (random.chance(0.7)) writeFor(stage, replica);
    else replica.ask("collections.sync", {});
  }
  try {
    for (let round = 0; round < 30; round += 1) {
      await server.boot();
      bootReplicas(stage);
      for (const replica of replicas) {
        replica.ask("network.online", {});
        replica.ask("subject.signIn", { subject: "" });
      }
      await scheduler.runFor(minuteMs);
      const head = await server.head();
      if (replicas.every((replica) => seenBy(replica) <= head && !isReading(replica))) return null;
    }
  } finally {
    server.admits = () => true;
  }
  const stays = replicas.map((replica) => `${replica.name} at ${seenBy(replica)}`);
  return { rule: "set back", detail: `the head is ${await server.head()}, after half an hour ${stays}` };
}
