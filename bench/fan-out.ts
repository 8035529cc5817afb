// Owns bar S2: a poke to a thousand idle event streams of one server process, against a poke to one; and what a stream costs in memory.
// Leaves the server to support/sync-servers.ts.
import { randomUUID } from "node:crypto";
import type { ClientRequest } from "node:http";
import { Agent, get } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { creation, newWire } from "../test/support/servers.ts";
import { median, spreadOf } from "./support/measure.ts";
import type { Site } from "./support/sync-servers.ts";
import { memoryOf, startSite } from "./support/sync-servers.ts";
import type { Measure } from "./support/types.ts";

const many = 1_000;
const space = "kitchen";

type Listener = { readonly request: ClientRequest; heard: number; head: number };

export const measure: Measure = async (scope) => {
  // Pushed through one process, listened to at another: the poke goes through PostgreSQL.
  const site = await startSite(2);
  const agent = new Agent({ maxSockets: Number.POSITIVE_INFINITY });
  const rounds = scope.isQuick ? 5 : 15;
  try {
    const [, listening] = site.servers;
    if (listening === undefined) throw new Error("two servers are needed");
    const few = [await listen(site, agent)];
    await pokes(site, few, 3);
    const toOne = await pokes(site, few, rounds);
    const before = await memoryOf(listening);
    const all = [...few];
    while (all.length < many) {
      all.push(...(await Promise.all(Array.from({ length: 50 }, () => listen(site, agent)))));
    }
    await sleep(1_000);
    const after = await memoryOf(listening);
    const toAll = await pokes(site, all, rounds);
    for (const { request } of all) request.destroy();
    return {
      figures: [
        {
          key: "S2",
          label: `poke to the last of ${all.length} streams / to one`,
          ratio: spreadOf(toAll.last.map((ms, round) => ms / (toOne.last[round] ?? Number.NaN))),
        },
      ],
      rows: [
        { label: "from sending a push to the poke at one stream", spread: spreadOf(toOne.last), unit: "ms" },
        { label: `to the middle one of ${all.length}`, spread: spreadOf(toAll.middle), unit: "ms" },
        { label: `to the last of ${all.length}`, spread: spreadOf(toAll.last), unit: "ms" },
        {
          label: "memory of the server per stream",
          spread: spreadOf([(after - before) / all.length / 1e6]),
          unit: "MB",
        },
      ],
      notes: ["the reader of all streams is one process on the same cores, so a part of these times is its own"],
    };
  } finally {
    agent.destroy();
    await site.stop();
  }
};

function listen({ servers, token }: Site, agent: Agent): Promise<Listener> {
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${token}`, accept: "text/event-stream" };
    const request = get(`${servers[1]?.url}/v1/events?space=${space}`, { agent, headers }, (response) => {
      if (response.statusCode !== 200) return reject(new Error(`events answered ${response.statusCode}`));
      response.on("error", () => {});
      response.on("data", (chunk: Buffer) => {
        const heads = [...chunk.toString().matchAll(/"head":(\d+)/g)];
        if (heads.length > 0) [listener.heard, listener.head] = [performance.now(), Number(heads.at(-1)?.[1])];
      });
      resolve(listener);
    });
    const listener: Listener = { request, heard: 0, head: 0 };
    request.on("error", reject);
  });
}

/** Per push: milliseconds from its sending until the middle and the last stream have heard of it. */
async function pokes(site: Site, listeners: readonly Listener[], rounds: number) {
  const wire = newWire(() => site.servers[0]?.url ?? "", site.token);
  const [middle, last]: [number[], number[]] = [[], []];
  for (let round = 0; round < rounds; round += 1) {
    const items = [creation(randomUUID(), 1, [randomUUID()])];
    const startedAt = performance.now();
    const { answers } = await wire.push({ space, client: randomUUID(), floor: 0, items });
    const [answer] = answers;
    const version = answer?.outcome === "applied" ? (answer.changes[0]?.version ?? 0) : 0;
    const giveUpAt = startedAt + 10_000;
    while (listeners.some(({ head }) => head < version)) {
      if (performance.now() > giveUpAt) throw new Error("a poke did not arrive within 10 s");
      await sleep(1);
    }
    const times = listeners.map(({ heard }) => heard - startedAt);
    middle.push(median(times));
    last.push(Math.max(...times));
  }
  return { middle, last };
}
