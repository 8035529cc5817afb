// Owns T9 of records: two devices and a sync server as real processes, one of whose clocks is months off or jumps by a day in the middle.
// The queue under wrong clocks is queue.test.ts; random clocks in virtual time are test/replicas.
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Output } from "../../src/verbs.ts";
import { freePort, removeFolder, until } from "../support/processes.ts";
import type { Clocks, Device } from "./stage.ts";
import { dayMs, named, newFolder, openDevice, startServer } from "./stage.ts";

let folder: string;
beforeEach(() => {
  folder = newFolder();
});
afterEach(() => removeFolder(folder));

const cases: readonly Clocks[] = [
  { device: 90 * dayMs, other: 0, jump: 0 },
  { device: -90 * dayMs, other: 0, jump: 0 },
  { device: -3_650 * dayMs, other: 0, jump: 0 },
  { device: 0, other: 90 * dayMs, jump: 0 },
  { device: 0, other: -90 * dayMs, jump: 0 },
  { device: 0, other: 0, jump: dayMs },
  { device: 0, other: 0, jump: -dayMs },
  { device: 90 * dayMs, other: -90 * dayMs, jump: -dayMs },
  { device: -90 * dayMs, other: 90 * dayMs, jump: 180 * dayMs },
  { device: 0, other: dayMs, jump: -400 * dayMs },
];

async function openSynced(
  name: string,
  off: number,
  { port, token }: { port: number; token: string },
): Promise<Device> {
  const sync = `[sync]\nurl = "http://127.0.0.1:${port}"\nspace = "main"\ncredential = "sync"\n`;
  const device = openDevice(folder, name, off, sync);
  await device.run(["credentials", "set", "sync", "--origin", `http://127.0.0.1:${port}`], token);
  await device.run(["collections", "declare", "notes"]);
  return device;
}

const shown = ({ records }: Output<"records.query">): string =>
  JSON.stringify(records.map(({ key, value, state }) => [key, Object.entries(value ?? {}).sort(), state]).sort());

test.each(named(cases))(
  "days off %s (one device, server, jump): two devices converge, the later write wins whatever the clocks say, and the offset is told",
  async (_name, { device: off, other, jump }) => {
    const port = await freePort();
    const server = await startServer(folder, port, other);
    const place = { port, token: server.token };
    const [wrong, right] = [await openSynced("wrong", off, place), await openSynced("right", 0, place)];
    await using here = await wrong.connect();
    await using there = await right.connect();
    const both = [here, there];
    const agree = (count: number): Promise<void> =>
      until(async () => {
        const [a, b] = await Promise.all(
          both.map((each) => each.call("records.query", { collection: "notes", limit: 100 })),
        );
        return (
          a?.records.length === count &&
          a.records.every(({ state }) => state === "synced") &&
          shown(a) === shown(b as never)
        );
      }, `both show the same ${count} records`);
    await here.call("records.write", { kind: "put", collection: "notes", key: "n1", value: { from: "wrong" } });
    await there.call("records.write", { kind: "put", collection: "notes", key: "n2", value: { from: "right" } });
    await agree(2);
    // In turns: who has seen the other's write and writes later wins, whoever has the older time.
    await there.call("records.write", {
      kind: "update",
      collection: "notes",
      key: "n1",
      fields: { from: "right, later" },
    });
    await agree(2);
    wrong.clock.set(off + jump);
    await here.call("records.write", {
      kind: "update",
      collection: "notes",
      key: "n2",
      fields: { from: "wrong, later" },
    });
    await here.call("records.write", { kind: "put", collection: "notes", key: "n3", value: { n: 1 } });
    await agree(3);
    const { records } = await there.call("records.query", { collection: "notes", limit: 100 });
    expect(Object.fromEntries(records.map(({ key, value }) => [key, value]))).toEqual({
      n1: { from: "right, later" },
      n2: { from: "wrong, later" },
      n3: { n: 1 },
    });
    for (const each of both) expect((await each.call("conflicts.list", { status: "open" })).conflicts).toEqual([]);
    await here.call("collections.sync", {});
    const isTold = async (): Promise<boolean> =>
      Math.abs((await here.call("collections.list", {})).clockOffsetMs - (other - off - jump)) < 60_000;
    await until(isTold, "the measured offset is the real one");
  },
);
