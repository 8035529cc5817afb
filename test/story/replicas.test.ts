// Owns the story of two devices and one server through the real commands: an edit each way, kill -9 of all of them in between,
// the same field changed on both sides while one is offline, the inbox, a decision for many, its undo, and equal replicas.
// Leaves other schedules and faults to test/replicas/.
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { readPortFile } from "../../src/node/home.ts";
import type { Output } from "../../src/verbs.ts";
import type { Started } from "../support/processes.ts";
import { freePort, isAlive, kill, removeFolder, runCommand, startCommand, until } from "../support/processes.ts";

type Device = {
  readonly home: string;
  /** Runs a command, expects its exit code, gives what it printed. */
  readonly run: (words: string, exit?: number, input?: string) => Promise<string>;
  readonly ask: <T>(words: string) => Promise<T>;
  /** Every record of the collection as the person sees it, by key. */
  readonly see: () => Promise<Readonly<Record<string, unknown>>>;
  readonly killDaemon: () => Promise<void>;
};

const settings =
  '[network]\nprobe_interval = "100ms"\nreconnect_jitter = "50ms"\n[retry.default]\npreset = "default"\ninitial = "100ms"\nmax = "1s"\n';

let folder: string;
let port: number;
let server: Started;
let token: string;
let ada: Device;
let bea: Device;

async function startServer(): Promise<void> {
  const home = path.join(folder, "server");
  server = startCommand(["server", "run", "--data", home, "--port", String(port)], {
    home: path.join(folder, "server-home"),
    cwd: folder,
  });
  let said = "";
  for (const stream of [server.child.stdout, server.child.stderr])
    stream?.on("data", (chunk: Buffer) => {
      said += chunk.toString();
    });
  // The token for development is said once, at the first start; only its hash is kept.
  await until(() => /listens on/.test(said) && (token !== "" || /hf_[\w-]+\n/.test(said)), "the server listens");
  token = /hf_[\w-]+/.exec(said)?.[0] ?? token;
}

async function killServer(): Promise<void> {
  const { pid = 0 } = server.child;
  kill(pid);
  await until(() => !isAlive(pid), "the server is dead");
}

function openDevice(name: string): Device {
  const home = path.join(folder, name);
  mkdirSync(home, { mode: 0o700 });
  const sync = `[sync]\nurl = "http://127.0.0.1:${port}"\nspace = "main"\ncredential = "sync"\n`;
  writeFileSync(path.join(home, "config.toml"), settings + sync);
  const run: Device["run"] = async (words, exit = 0, input = "") => {
    const ended = await runCommand(words.split(" "), { home, cwd: folder, input });
    expect(ended.code, `${name}$ holdfast ${words}\n${ended.stdout}${ended.stderr}`).toBe(exit);
    return ended.stdout;
  };
  const ask: Device["ask"] = async (words) => JSON.parse(await run(`${words} --json`));
  return {
    home,
    run,
    ask,
    see: async () => {
      const { records } = await ask<Output<"records.query">>("records list notes --limit 0");
      return Object.fromEntries(records.map(({ key, value }) => [key, value]));
    },
    killDaemon: async () => {
      const pid = readPortFile(path.join(home, "daemon.json"))?.pid ?? 0;
      expect(isAlive(pid)).toBe(true);
      kill(pid);
      await until(() => !isAlive(pid), `the daemon of ${name} is dead`);
    },
  };
}

beforeEach(async () => {
  folder = mkdtempSync(path.join(tmpdir(), "holdfast-replicas-"));
  port = await freePort();
  token = "";
  await startServer();
  [ada, bea] = [openDevice("ada"), openDevice("bea")];
  for (const device of [ada, bea]) {
    await device.run(`credentials set sync --origin http://127.0.0.1:${port}`, 0, token);
    await device.run("collections declare notes");
  }
});

afterEach(() => removeFolder(folder));

const noteOf = async (device: Device, key: string): Promise<unknown> => (await device.see())[key];
const openConflicts = (device: Device) => device.ask<Output<"conflicts.list">>("conflicts list");

test("an edit each way reaches the other device, through kill -9 of both daemons and the server", async () => {
  await ada.run('records put notes n1 --data {"title":"Tides"}');
  await until(async () => (await noteOf(bea, "n1")) !== undefined, "the note has reached bea");
  await bea.run("records update notes n1 --set stars=5");
  await until(async () => JSON.stringify(await noteOf(ada, "n1")).includes("stars"), "the stars have reached ada");

  await killServer();
  await ada.run("records update notes n1 --set title=Ebb");
  await bea.run('records put notes n2 --data {"title":"Reef"}');
  await ada.killDaemon();
  await bea.killDaemon();
  // The next command starts each daemon again, and what was written is there although the server is not.
  expect(await noteOf(ada, "n1")).toEqual({ title: "Ebb", stars: 5 });
  expect(await noteOf(bea, "n2")).toEqual({ title: "Reef" });
  await startServer();

  const both = { n1: { title: "Ebb", stars: 5 }, n2: { title: "Reef" } };
  for (const device of [ada, bea])
    await until(
      async () => JSON.stringify(sorted(await device.see())) === JSON.stringify(sorted(both)),
      "both have all of it",
    );
  expect(await ada.see()).toEqual(both);
  expect(await bea.see()).toEqual(both);
  for (const device of [ada, bea]) expect((await openConflicts(device)).conflicts).toEqual([]);
});

test("the same field on both sides becomes one conflict, decided for all at once, taken back, and both devices agree", async () => {
  for (const key of ["n1", "n2"]) await ada.run(`records put notes ${key} --data {"title":"Tides","body":"x"}`);
  await until(async () => Object.keys(await bea.see()).length === 2, "bea has both notes");

  await bea.run("network offline");
  for (const key of ["n1", "n2"]) {
    await bea.run(`records update notes ${key} --set title=Bea --set mood=calm`);
    await ada.run(`records update notes ${key} --set title=Ada --set body=y`);
  }
  await ada.run("sync --wait --timeout 20s");
  await bea.run("network online");

  await until(async () => (await openConflicts(bea)).open === 2, "both conflicts are in bea's inbox");
  const { conflicts } = await openConflicts(bea);
  expect(conflicts.map(({ key, kind, fields, status }) => [key, kind, fields, status]).sort()).toEqual([
    ["n1", "version_mismatch", ["title"], "open"],
    ["n2", "version_mismatch", ["title"], "open"],
  ]);
  expect(conflicts[0]).toMatchObject({ base: { title: "Tides" }, local: { title: "Bea" }, remote: { title: "Ada" } });
  // What nobody disputes is merged already, and bea still sees what she wrote.
  expect(await noteOf(bea, "n1")).toEqual({ title: "Bea", body: "y", mood: "calm" });
  const screen = await bea.run(`conflicts show ${conflicts[0]?.id}`);
  expect(screen).toMatch(/^! title +Tides +Bea +Ada$/m);
  for (const line of screen.split("\n")) expect(line.length).toBeLessThanOrEqual(80);

  await bea.run("conflicts resolve --all --collection notes --choose remote", 5);
  await bea.run("conflicts resolve --all --collection notes --choose remote --yes");
  // The remote side is taken where both changed it; bea's mood is nobody's business but hers.
  const theirs = { title: "Ada", body: "y", mood: "calm" };
  for (const device of [ada, bea])
    await until(
      async () => JSON.stringify(sorted(await device.see())) === JSON.stringify(sorted({ n1: theirs, n2: theirs })),
      "both say Ada",
    );
  expect((await openConflicts(bea)).open).toBe(0);

  const first = conflicts.find(({ key }) => key === "n1")?.id ?? "";
  await bea.run(`conflicts undo ${first}`);
  const undone = { n1: { title: "Bea", body: "y", mood: "calm" }, n2: theirs };
  for (const device of [ada, bea])
    await until(
      async () => JSON.stringify(sorted(await device.see())) === JSON.stringify(sorted(undone)),
      "both say what stood before",
    );
  expect((await ada.ask<Output<"queue.status">>("status")).unsent).toBe(0);
  expect((await bea.ask<Output<"queue.status">>("status")).unsent).toBe(0);
});

function sorted(value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, each]) => [name, sorted(each)]),
  );
}
