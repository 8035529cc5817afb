// Owns the proof that hours do not wear a daemon out: mixed work over a network that comes and goes, and afterwards it holds no more than
// before. Two minutes in `npm test`, as long as one likes with HOLDFAST_SOAK_SECONDS. Leaves what single faults do to test/crash and test/sync.
import type { ChildProcess } from "node:child_process";
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readlinkSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Client } from "../../src/client/client.ts";
import { daemonStatus } from "../../src/node/detached.ts";
import { sqliteLimits } from "../../src/node/sqlite.ts";
import { connectDaemon } from "../../src/node/transport.ts";
import { seededRandom } from "../../src/testing/random.ts";
import { freePort, kill, main, processesOf, runCommand, until } from "../support/processes.ts";
import type { Remote } from "../support/story-remote.ts";
import { makeRemote } from "../support/story-remote.ts";
import type { FaultyProxy, Mood } from "../sync/faulty-proxy.ts";
import { startFaultyProxy } from "../sync/faulty-proxy.ts";
import type { Measured } from "./measure.ts";

const seconds = Number(process.env.HOLDFAST_SOAK_SECONDS ?? 120);
const seed = process.env.HOLDFAST_SEED ?? String(Math.floor(Math.random() * 1e9));
const parts = 3;
const tickMs = 200;
/** Per tick: some hundred operations a second, so that a hundred bytes kept of each show within a minute. */
const each = { requests: 20, records: 6 } as const;
const keys = 200;
const moods = ["fair", "fair", "fair", "slow", "cut", "dead", "closed"] as const satisfies readonly Mood[];
const drainMs = 60_000;
/** Finished operations that are kept; an idle daemon looks twice a minute whether there are more. */
const retained = 500;

/**
 * What the last part may hold more than the one before. A collection leaves a megabyte more or less behind, whatever went before it; what
 * is kept of each of some thousand operations is more than that. Connections come and go, so they have a bound of their own.
 */
const slack = { heldBytes: 3_000_000, files: 1, storeBytes: 4_194_304 } as const;
const mostSockets = 100;

const settings = `types = ["./collections.mjs"]
[queue]
retain_count = ${retained}
[network]
probe_interval = "100ms"
probe_timeout = "1s"
reconnect_jitter = "50ms"
[retry.default]
preset = "default"
initial = "100ms"
max = "1s"
max_attempts = 1000
`;
const declared = `export default { collections: [{ name: "notes", indexes: [["rank"]], merge: { title: { rule: "prefer-local" } } }] };\n`;

let folder: string;
let remote: Remote;
const proxies: FaultyProxy[] = [];
beforeEach(async () => {
  folder = mkdtempSync(path.join(tmpdir(), "holdfast-soak-"));
  remote = await makeRemote();
  await remote.start();
});
afterEach(async () => {
  for (const { pid } of processesOf(folder)) kill(pid);
  for (const proxy of proxies.splice(0)) await proxy.close();
  await remote.stop();
  await until(() => processesOf(folder).length === 0, "every process has ended");
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
});

type Watched = { readonly child: ChildProcess; readonly said: () => string };

/** Starts `holdfast` with these words, so that it can be asked what it holds. */
function watch(home: string, words: readonly string[]): Watched {
  const measure = pathToFileURL(path.join(import.meta.dirname, "measure.ts")).href;
  const child = spawn(process.execPath, ["--no-warnings", "--expose-gc", "--import", measure, main, ...words], {
    cwd: folder,
    env: { ...process.env, NO_COLOR: "1", HOLDFAST_HOME: home },
    stdio: ["ignore", "pipe", "pipe", "ipc"],
  });
  let said = "";
  for (const stream of [child.stdout, child.stderr])
    stream?.on("data", (chunk: Buffer) => {
      if (said.length < 20_000) said += chunk.toString();
    });
  return { child, said: () => said };
}

type Sample = Measured & { readonly files: number; readonly sockets: number };

async function sampleOf({ child }: Watched): Promise<Sample> {
  const told = new Promise<Measured>((resolve) => child.once("message", (said) => resolve(said as Measured)));
  child.send("measure");
  const measured = await told;
  const links = readdirSync(`/proc/${child.pid}/fd`).map((fd) => linkOf(`/proc/${child.pid}/fd/${fd}`));
  const sockets = links.filter((link) => link.startsWith("socket:")).length;
  return { ...measured, files: links.length - sockets, sockets };
}

type Scene = { readonly server: Watched; readonly daemon: Watched; readonly client: Client; readonly home: string };

async function openScene(): Promise<Scene> {
  const port = await freePort();
  const server = watch(path.join(folder, "server-home"), [
    ...["server", "run", "--data", path.join(folder, "server"), "--port", String(port)],
  ]);
  await until(() => /hf_[\w-]+\n/.test(server.said()), "the sync server listens");
  const random = seededRandom(`${seed}/network`);
  const remotePort = Number(new URL(remote.url).port);
  for (const upstream of [remotePort, port]) proxies.push(await startFaultyProxy(() => upstream, random));
  const home = path.join(folder, "home");
  mkdirSync(home, { mode: 0o700 });
  const url = `http://127.0.0.1:${proxies[1]?.port}`;
  writeFileSync(path.join(home, "collections.mjs"), declared);
  writeFileSync(
    path.join(home, "config.toml"),
    `${settings}[sync]\nurl = "${url}"\nspace = "main"\ncredential = "sync"\nrecord_history_count = 5\n`,
  );
  const token = /hf_[\w-]+/.exec(server.said())?.[0] ?? "";
  const given = await runCommand(["credentials", "set", "sync", "--origin", url], { home, input: `${token}\n` });
  expect(given.code, given.stderr).toBe(0);
  const daemon = watch(home, ["daemon", "run"]);
  await until(async () => (await daemonStatus(home)).state === "running", `the daemon runs: ${daemon.said()}`);
  return { server, daemon, home, client: await connectDaemon({ directory: home }) };
}

type Load = { count: number; readonly latenciesMs: number[]; readonly ids: Set<string> };

/** Queues, writes, reads and listens for a while; the network changes its mood meanwhile. */
async function work({ client }: Scene, load: Load, ms: number): Promise<void> {
  const random = seededRandom(`${seed}/${load.count}`);
  const notes = client.collection("notes");
  const endAt = performance.now() + ms;
  let moodAt = 0;
  while (performance.now() < endAt) {
    if (performance.now() >= moodAt) {
      for (const proxy of proxies) proxy.set(random.pick(moods));
      moodAt = performance.now() + 500 + random.below(2_500);
    }
    const startedAt = performance.now();
    const operations = Array.from({ length: each.requests }, (_, n) => ({
      type: "http.request",
      payload: {
        method: "POST",
        url: `http://127.0.0.1:${proxies[0]?.port}/notes`,
        body: { json: { n: load.count + n } },
      },
      ...(random.chance(0.3) ? { lane: `lane ${random.below(20)}` } : {}),
    }));
    const { receipts } = await client.queue.addMany({ operations });
    for (const { id } of receipts) load.ids.add(id);
    load.latenciesMs.push(performance.now() - startedAt);
    for (let n = 0; n < each.records; n += 1) {
      load.count += 1;
      await notes.put(`n${random.below(keys)}`, { title: `note ${load.count}`, rank: random.below(1_000) });
    }
    load.count += each.requests;
    await notes.query({ order: [{ field: "rank" }], limit: 20 });
    await client.queue.list({ limit: 20 });
    // Somebody who comes to look and goes again.
    const stop = client.subscribe(() => {});
    await sleep(Math.max(0, tickMs - (performance.now() - startedAt)));
    stop();
  }
}

async function drain({ client, daemon }: Scene): Promise<void> {
  for (const proxy of proxies) proxy.set("fair");
  const isDrained = async (): Promise<boolean> => {
    const { unsent } = await client.queue.status();
    return unsent === 0;
  };
  await until(isDrained, `everything has left: ${daemon.said().slice(-2_000)}`, drainMs);
  // Connections that a bad moment left behind close by themselves.
  await sleep(2_000);
}

function linkOf(descriptor: string): string {
  try {
    return readlinkSync(descriptor);
  } catch {
    // A connection that has just ended.
    return "socket:";
  }
}

const sizeOf = (file: string): number => statSync(file, { throwIfNoEntry: false })?.size ?? 0;
const quantile = (values: readonly number[], share: number): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length * share)] ?? 0;
const mb = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;

test.skipIf(process.platform !== "linux")(
  "a daemon and a server hold no more after a long time of mixed work",
  {
    timeout: (seconds + 300) * 1_000,
  },
  async () => {
    console.log(`seed ${seed}, ${seconds} s (HOLDFAST_SOAK_SECONDS, HOLDFAST_SEED)`);
    const scene = await openScene();
    const live = scene.client.collection("notes").subscribe({ order: [{ field: "rank" }], limit: 50 }, () => {});
    const load: Load = { count: 0, latenciesMs: [], ids: new Set() };
    const samples: { readonly daemon: Sample; readonly server: Sample; readonly storeBytes: number }[] = [];
    for (let part = 1; part <= parts; part += 1) {
      load.latenciesMs.splice(0);
      await work(scene, load, (seconds * 1_000) / parts);
      await drain(scene);
      const [daemon, server] = [await sampleOf(scene.daemon), await sampleOf(scene.server)];
      samples.push({ daemon, server, storeBytes: sizeOf(path.join(scene.home, "holdfast.db")) });
      const told = [daemon, server].map(
        (one) => `${mb(one.heldBytes)} of ${mb(one.residentBytes)}, ${one.files} files, ${one.sockets} sockets`,
      );
      console.log(
        `after ${load.count} writes: daemon ${told[0]}; server ${told[1]}; store ${mb(samples.at(-1)?.storeBytes ?? 0)}; a batch of ${each.requests} took ${quantile(load.latenciesMs, 0.5).toFixed(0)} ms, p99 ${quantile(load.latenciesMs, 0.99).toFixed(0)} ms`,
      );
    }
    const [before, after] = samples.slice(-2);
    if (before === undefined || after === undefined) throw new Error("there are three samples");
    for (const who of ["daemon", "server"] as const) {
      expect(after[who].heldBytes - before[who].heldBytes, `${who}: memory`).toBeLessThan(slack.heldBytes);
      expect(after[who].files - before[who].files, `${who}: open files`).toBeLessThanOrEqual(slack.files);
      expect(after[who].sockets, `${who}: connections`).toBeLessThan(mostSockets);
    }
    expect(after.storeBytes - before.storeBytes).toBeLessThan(slack.storeBytes);
    expect(sizeOf(path.join(scene.home, "holdfast.db-wal"))).toBeLessThanOrEqual(sqliteLimits.keptWalBytes * 1.1);

    live();
    expect(remote.effects.map(({ key }) => key).sort()).toEqual([...load.ids].sort());
    expect((await scene.client.engine.check()).findings).toEqual([]);
    const left = await scene.client.collection("notes").query({ where: {}, limit: keys });
    expect(left.records.map(({ state }) => state)).toEqual(left.records.map(() => "synced"));
    await scene.client.close();
  },
);
