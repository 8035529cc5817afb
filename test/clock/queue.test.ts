// Owns T9 of the queue: a daemon and a remote as real processes whose clocks are months off, or jump by a day in the middle.
// Records under wrong clocks are records.test.ts; random clocks in virtual time are test/simulation.
import { afterEach, beforeEach, expect, test } from "vitest";
import { removeFolder, until } from "../support/processes.ts";
import type { Clocks } from "./stage.ts";
import { dayMs, named, newFolder, openDevice, startRemote } from "./stage.ts";

let folder: string;
beforeEach(() => {
  folder = newFolder();
});
afterEach(() => removeFolder(folder));

const cases: readonly Clocks[] = [
  { device: 90 * dayMs, other: 0, jump: 0 },
  { device: -90 * dayMs, other: 0, jump: 0 },
  { device: 3_650 * dayMs, other: 0, jump: 0 },
  { device: 0, other: 90 * dayMs, jump: 0 },
  { device: 0, other: -90 * dayMs, jump: 0 },
  { device: 0, other: 0, jump: dayMs },
  { device: 0, other: 0, jump: -dayMs },
  { device: -30 * dayMs, other: 30 * dayMs, jump: 60 * dayMs },
  { device: 30 * dayMs, other: 0, jump: -dayMs },
  { device: 0, other: -dayMs, jump: -400 * dayMs },
];
test.each(named(cases))(
  "days off %s (device, remote, jump): lanes keep their order, nothing is sent twice, waits and deadlines keep their length",
  async (_name, { device: off, other, jump }) => {
    const remote = await startRemote(other);
    try {
      const device = openDevice(folder, "device", off);
      await device.run(["daemon", "start"]);
      await using client = await device.connect();
      const add = async (place: string, lane: string): Promise<string> => {
        const payload = { method: "POST", url: `${remote.url}${place}` };
        return (await client.queue.add({ type: "http.request", payload, lane })).id;
      };
      const reach = (ids: readonly string[], status: string): Promise<void> =>
        until(async () => {
          const seen = await Promise.all(ids.map((id) => client.queue.get({ id })));
          return seen.every((each) => each.status === status);
        }, `${ids.length} operations are ${status}`);
      const ordered = [await add("/one", "l"), await add("/paced", "l"), await add("/three", "l")];
      const slow = await add("/slow", "s");
      await until(() => remote.asked.some((each) => each.path === "/slow"), "the slow one is on the wire");
      device.clock.set(off + jump);
      await reach([...ordered, slow], "completed");

      const paths = remote.asked.map((each) => each.path);
      expect(paths.filter((place) => place !== "/slow")).toEqual(["/one", "/paced", "/paced", "/three"]);
      // Its lease is no time: the jump frees nothing that is on the wire.
      expect(paths.filter((place) => place === "/slow")).toHaveLength(1);
      const [first, second] = remote.asked.filter((each) => each.path === "/paced").map(({ at }) => at);
      const waited = (second ?? 0) - (first ?? 0);
      // A date has whole seconds, so of two asked for at least one is left.
      expect(waited).toBeGreaterThan(900);
      // A jump that got into it would make it a day.
      expect(waited).toBeLessThan(60_000);

      const request = ["request", "POST", `${remote.url}/deadline`, "--expires", "1h", "--json"];
      const { id } = JSON.parse(await device.run(request)) as { id: string };
      await reach([id], "completed");
      const made = await client.queue.get({ id });
      const now = Date.now() + off + jump;
      expect(Math.abs(made.createdAt - now)).toBeLessThan(60_000);
      expect(await device.run(["queue", "show", id])).not.toMatch(/\d+ (?:d|days?|h|hours?) ago/);
      expect(await client.engine.check({})).toMatchObject({ isSound: true });
    } finally {
      await remote.close();
    }
  },
);
