// Owns the story of persons who sync by hand, through the real commands: what a sync says that it moved, everything at once with a
// decision for all, a decision made beforehand, another server. Leaves faults to replicas.test.ts.
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Output } from "../../src/verbs.ts";
import type { Device, Stage, SyncServer } from "./devices.ts";
import { openStage } from "./devices.ts";

/** Some thirty commands each, every one a process of its own. */
const timeout = 300_000;

let stage: Stage;
let server: SyncServer;
let ada: Device;
let bea: Device;

beforeEach(async () => {
  stage = openStage();
  server = await stage.startServer();
  ada = await stage.device("ada", server);
  bea = await stage.device("bea", server);
  for (const device of [ada, bea]) await device.run("collections declare notes");
});
afterEach(() => stage.close());

const titleOf = async (device: Device): Promise<unknown> =>
  (await device.ask<Output<"records.get">["record"]>("records get notes n1"))?.value?.title;

/** Both change the title while bea is away. */
async function disagree(turn: string): Promise<void> {
  await bea.run("network offline");
  await ada.run(`records update notes n1 --set title=ada-${turn}`);
  await bea.run(`records update notes n1 --set title=bea-${turn}`);
  await ada.run("sync --wait");
}

test("a sync tells what moved, all at once decides for one side, and a choice made before is kept", {
  timeout,
}, async () => {
  await ada.run('records put notes n1 {"title":"base","stars":1}');
  const said = await ada.run("sync --wait");
  expect(said).toMatch(/Records +1 sent/);
  expect(said).not.toContain("Succeeded  0");
  expect(await bea.run("sync --all")).toMatch(/Everything is sent, everything is here, nothing is in conflict/);
  expect(await titleOf(bea)).toBe("base");

  await disagree("first");
  expect(await bea.run("sync --all --resolve local --yes", 1)).toContain("You work offline");
  await bea.run("network online");
  expect(await bea.run("sync --all", 1)).toMatch(/1 conflict needs a decision/);
  await bea.run("sync --all --resolve local", 5); // nobody can be asked
  const decided = await bea.ask<{ readonly decided: string[]; readonly open: number }>(
    "sync --all --resolve local --yes",
  );
  expect([decided.decided.length, decided.open]).toEqual([1, 0]);
  await ada.run("sync --all");
  expect([await titleOf(ada), await titleOf(bea)]).toEqual(["bea-first", "bea-first"]);

  await disagree("second");
  const { version } = await ada.ask<NonNullable<Output<"records.get">["record"]>>("records get notes n1");
  expect(await bea.run(`conflicts prefer notes n1 --choose remote --seen ${version}`)).toContain("what the server has");
  await bea.run("network online");
  await bea.run("sync --all");
  expect([await titleOf(ada), await titleOf(bea)]).toEqual(["ada-second", "ada-second"]);
  const { conflicts } = await bea.ask<Output<"conflicts.list">>("conflicts list --status resolved");
  expect(conflicts.map(({ decidedBy, choice }) => [decidedBy, choice])).toEqual([
    ["prechosen", "remote"],
    ["person", "local"],
  ]);
});

test("a server is named, and exchanged for another one, while the daemon runs; what is unsent goes to the new one", {
  timeout,
}, async () => {
  const cy = await stage.device("cy", null);
  await cy.run("collections declare notes");
  await cy.run('records put notes c1 {"title":"early"}');
  const seenBy = async (device: Device, key: string): Promise<unknown> =>
    (await device.ask<Output<"records.get">["record"]>(`records get notes ${key}`).catch(() => null))?.value?.title;
  const { pid } = await cy.ask<{ readonly pid: number }>("daemon status");
  await nameServer(cy, server);
  expect((await cy.run("sync --wait --timeout 30s")).includes("still")).toBe(false);
  await ada.run("sync --wait");
  expect(await seenBy(ada, "c1")).toBe("early");
  expect(await cy.run("doctor")).toMatch(/pokes +space main: the server tells of news at once/);

  const other = await stage.startServer("other");
  const dee = await stage.device("dee", other);
  await dee.run("collections declare notes");
  await cy.run("network offline");
  await cy.run('records put notes c2 {"title":"late"}');
  await nameServer(cy, other);
  await cy.run("network online");
  const moved = await cy.ask<{ readonly open: number; readonly decided: string[] }>("sync --all --resolve local --yes");
  expect([moved.open, moved.decided.length]).toEqual([0, 1]);
  await dee.run("sync --wait");
  expect([await seenBy(dee, "c1"), await seenBy(dee, "c2")]).toEqual(["early", "late"]);
  expect((await cy.ask<{ readonly pid: number }>("daemon status")).pid).toBe(pid);
});

/** As a person does it; the daemon takes it up by itself. */
async function nameServer(device: Device, { url, token }: SyncServer): Promise<void> {
  await device.run(`credentials set sync --origin ${url}`, 0, `${token}\n`);
  await device.run("config set sync.credential sync");
  await device.run("config set sync.space main");
  await device.run(`config set sync.url ${url}`);
  const isUsed = async () =>
    (await device.ask<Output<"network.status">>("network status")).remotes.some(({ remote }) => remote === url);
  await expect.poll(isUsed, { timeout: 30_000, interval: 300 }).toBe(true);
}
