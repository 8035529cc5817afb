// Owns the life and death of real daemon processes: starting, racing, being killed, being stopped under load.
// Leaves what lands at a remote to the other stories of this folder.
import type { ChildProcess } from "node:child_process";
import { spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { daemonStatus, findDaemon, startDetached, stopDaemon } from "../../src/node/detached.ts";
import { readPortFile } from "../../src/node/home.ts";
import { temporaryDirectory } from "../support/daemon.ts";
import { freePort } from "../support/processes.ts";

const main = join(import.meta.dirname, "../support/daemon-main.ts");
const realMain = join(import.meta.dirname, "../../src/cli/main.ts");
const command = [process.execPath, "--no-warnings", main];

let place: ReturnType<typeof temporaryDirectory>;
const children: ChildProcess[] = [];
beforeEach(() => {
  place = temporaryDirectory();
});
afterEach(async () => {
  const pid = readPortFile(join(place.path, "daemon.json"))?.pid;
  for (const child of children.splice(0)) child.kill("SIGKILL");
  if (pid !== undefined && isAlive(pid)) process.kill(pid, "SIGKILL");
  await expect.poll(() => pid === undefined || !isAlive(pid)).toBe(true);
  place.remove();
});

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return !/^State:\s+Z/m.test(existsSync(`/proc/${pid}/status`) ? readFileSync(`/proc/${pid}/status`, "utf8") : "");
  } catch {
    return false;
  }
}

type Ended = { readonly code: number | null; readonly signal: string | null; readonly stderr: string };
function run(): { readonly child: ChildProcess; readonly ended: Promise<Ended> } {
  const child = spawn(command[0] as string, command.slice(1), {
    env: { ...process.env, HOLDFAST_HOME: place.path },
    stdio: ["ignore", "ignore", "pipe"],
  });
  children.push(child);
  let stderr = "";
  child.stderr?.on("data", (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  return {
    child,
    ended: new Promise((resolve) => child.on("exit", (code, signal) => resolve({ code, signal, stderr }))),
  };
}

async function call(
  verb: string,
  input: unknown,
): Promise<{ readonly status: number; readonly body: Record<string, unknown> }> {
  const { endpoint, token } = await findDaemon(place.path);
  const response = await fetch(`http://127.0.0.1:${endpoint.port}/v1/${verb}`, {
    method: "POST",
    body: JSON.stringify(input),
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
  });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

const note = { type: "note", payload: { text: "keep me" } };

test("start, ask, stop, and the second of each is harmless", async () => {
  const started = await startDetached(place.path, { command });
  expect(started.version).toBe("0.0.0");
  expect((await startDetached(place.path, { command })).pid).toBe(started.pid);
  expect((await call("queue.add", note)).status).toBe(200);
  expect(await stopDaemon(place.path)).toBe(true);
  expect(await stopDaemon(place.path)).toBe(false);
  expect(existsSync(join(place.path, "daemon.json"))).toBe(false);
  expect(existsSync(join(place.path, "daemon.sock"))).toBe(false);
  expect(await daemonStatus(place.path)).toEqual({ state: "stopped", stale: null });
});

test("what was acknowledged before kill -9 is there after it, and the stale files are in nobody's way", async () => {
  for (let round = 1; round <= 5; round += 1) {
    const { pid } = await startDetached(place.path, { command });
    const id = ((await call("queue.add", note)).body as { id: string }).id;
    process.kill(pid, "SIGKILL");
    await expect.poll(() => isAlive(pid)).toBe(false);
    expect(await daemonStatus(place.path)).toMatchObject({ state: "stopped", stale: { pid } });
    const next = await startDetached(place.path, { command });
    expect(next.pid).not.toBe(pid);
    expect((await call("queue.get", { id })).body).toMatchObject({ id, payload: note.payload });
    expect((await call("queue.status", {})).body.unsent).toBe(round);
    await stopDaemon(place.path);
  }
});

test.runIf(process.platform === "linux")(
  "a daemon with nothing to do sleeps: it wakes a few times a second, also while an operation waits for its remote",
  async () => {
    const { pid } = await startDetached(place.path, {
      command: [process.execPath, "--no-warnings", realMain, "daemon", "run"],
    });
    const atRest = await wakesPerSecond(pid);
    // A port like 9 is refused for good, as browsers refuse it; here nobody listens at the moment.
    const offline = `http://127.0.0.1:${await freePort()}/notes`;
    const { body } = await call("queue.add", { type: "http.request", payload: { method: "POST", url: offline } });
    const state = async () => (await call("queue.get", { id: body.id })).body;
    await expect.poll(async () => (await state()).attempts).toBeGreaterThan(0);
    const waiting = await wakesPerSecond(pid);
    expect((await state()).status).toBe("pending");
    console.log(
      `an idle daemon wakes ${atRest.toFixed(1)} times a second, one that waits for a remote ${waiting.toFixed(1)} times`,
    );
    expect(atRest).toBeLessThan(mostWakes);
    expect(waiting).toBeLessThan(mostWakes);
  },
);

/** A busy poll at all worth the name wakes a process more often than this. */
const mostWakes = 12;

const windows = { seconds: 3, most: 6 } as const;

/**
 * How often the main thread of a process went to sleep, and so woke, in its quietest three seconds: it still warms up at first, and
 * a disk that is slow puts it to sleep too. What polls does so in every one of them.
 */
async function wakesPerSecond(pid: number): Promise<number> {
  const { seconds, most } = windows;
  const slept = (): number =>
    Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
  let quietest = Number.POSITIVE_INFINITY;
  for (let window = 0; window < most && quietest >= mostWakes; window += 1) {
    const before = slept();
    await sleep(seconds * 1_000);
    quietest = Math.min(quietest, (slept() - before) / seconds);
  }
  return quietest;
}

test("a stale port file with the number of a living process does not stop a start, and the process is left alone", async () => {
  const bystander = spawn("sleep", ["60"]);
  children.push(bystander);
  const stale = {
    pid: bystander.pid,
    host: "127.0.0.1",
    port: 1,
    socket: join(place.path, "daemon.sock"),
    startedAt: 1,
    version: "0",
  };
  writeFileSync(join(place.path, "daemon.json"), JSON.stringify(stale));
  writeFileSync(join(place.path, "daemon.lock"), "");
  expect(await stopDaemon(place.path)).toBe(false);
  await startDetached(place.path, { command });
  await stopDaemon(place.path);
  expect(bystander.exitCode).toBeNull();
  expect(isAlive(bystander.pid as number)).toBe(true);
});

test("of daemons that start together exactly one serves; the others end with code 5 and name it", async () => {
  const runs = [run(), run(), run()];
  const losers: Ended[] = [];
  for (const each of runs) void each.ended.then((ended) => losers.push(ended));
  await expect.poll(() => losers.length, { timeout: 20_000 }).toBe(2);
  const winner = await findDaemon(place.path);
  for (const loser of losers) {
    expect(loser.code).toBe(5);
    expect(loser.stderr).toContain(`already running: process ${winner.pid} on port ${winner.endpoint.port}`);
  }
  expect(runs.filter((each) => each.child.exitCode === null)).toHaveLength(1);
});

test("two starts in the background at the same time find the same daemon", async () => {
  const [first, second] = await Promise.all([
    startDetached(place.path, { command }),
    startDetached(place.path, { command }),
  ]);
  expect(first.pid).toBe(second.pid);
  // The process that lost the race may still wait for the lock; it must not outlive the test as the next owner.
  await expect.poll(() => waitingDaemons(first.pid)).toEqual([]);
});

/** Daemons of this test's directory besides the one that serves. */
function waitingDaemons(serving: number): readonly string[] {
  if (!existsSync("/proc")) return [];
  return readdirSync("/proc").filter((pid) => {
    if (!/^\d+$/.test(pid) || Number(pid) === serving || !isAlive(Number(pid))) return false;
    try {
      return readFileSync(`/proc/${pid}/environ`, "utf8").includes(`HOLDFAST_HOME=${place.path}`);
    } catch {
      return false;
    }
  });
}

test("a stop under load answers or refuses every request, and keeps exactly what it acknowledged", async () => {
  const { endpoint, token, pid } = await startDetached(place.path, { command });
  const acknowledged: string[] = [];
  const state = { isOver: false };
  const worker = async (): Promise<void> => {
    while (!state.isOver) {
      try {
        const response = await fetch(`http://127.0.0.1:${endpoint.port}/v1/queue.add`, {
          method: "POST",
          body: JSON.stringify(note),
          headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
        });
        const body = (await response.json()) as { id: string };
        if (response.status === 200) acknowledged.push(body.id);
        else expect(response.status).toBe(503);
      } catch {
        // The daemon is gone.
        state.isOver = true;
      }
    }
  };
  const workers = Array.from({ length: 8 }, worker);
  await expect.poll(() => acknowledged.length).toBeGreaterThan(100);
  // It throws when the daemon has not ended in its time.
  await stopDaemon(place.path);
  await Promise.all(workers);
  expect(isAlive(pid)).toBe(false);
  await startDetached(place.path, { command });
  const { body } = await call("queue.status", {});
  expect(body.unsent).toBeGreaterThanOrEqual(acknowledged.length);
  // An answer that was lost on the way is the only room between the two numbers, one per worker at most.
  expect(body.unsent).toBeLessThanOrEqual(acknowledged.length + workers.length);
  for (const id of acknowledged.slice(-20)) expect((await call("queue.get", { id })).status).toBe(200);
});

test.each(["SIGTERM", "SIGINT"] as const)(
  "%s ends the process with code 0 and the event streams with it",
  async (name) => {
    const { child, ended } = run();
    await expect.poll(async () => (await daemonStatus(place.path)).state, { timeout: 10_000 }).toBe("running");
    const { endpoint, token } = await findDaemon(place.path);
    const stream = await fetch(`http://127.0.0.1:${endpoint.port}/v1/events`, {
      headers: { authorization: `Bearer ${token}` },
    });
    const read = stream.text();
    child.kill(name);
    expect(await ended).toMatchObject({ code: 0, signal: null });
    expect(await read).toContain("retry:");
  },
);

test("a daemon that cannot start says why, in the error and in the log", async () => {
  writeFileSync(join(place.path, "config.toml"), "[queue]\nconcurency = 3\n");
  const failed = await startDetached(place.path, { command }).catch(
    (error: unknown) => error as Error & { code: string },
  );
  expect(failed).toMatchObject({ code: "daemon_unreachable" });
  expect((failed as Error).message).toContain(
    'config.toml:2: queue.concurency: there is no such key; did you mean "concurrency"?',
  );
  expect(readFileSync(join(place.path, "daemon.log"), "utf8")).toContain("concurency");
});

test("a changed config.toml takes effect while the daemon runs, a broken one changes nothing", async () => {
  const path = join(place.path, "config.toml");
  writeFileSync(path, "[queue]\nconcurrency = 3\n");
  await startDetached(place.path, { command });
  const concurrency = async (): Promise<unknown> => (await call("settings.get", {})).body.concurrency;
  expect(await concurrency()).toBe(3);
  writeFileSync(path, "[queue]\nconcurrency = 5\n");
  await expect.poll(concurrency).toBe(5);
  writeFileSync(path, "[queue]\nconcurrency = 'many'\n");
  await expect.poll(() => readFileSync(join(place.path, "daemon.log"), "utf8")).toContain("was not applied");
  expect(await concurrency()).toBe(5);
  // A file that names what cannot be loaded is not applied in part either.
  writeFileSync(path, 'types = ["nowhere.mjs"]\n[queue]\nconcurrency = 8\n');
  await expect.poll(() => readFileSync(join(place.path, "daemon.log"), "utf8")).toContain("nowhere.mjs is not there");
  expect(await concurrency()).toBe(5);
  await call("settings.set", { concurrency: 9 });
  await stopDaemon(place.path);
  writeFileSync(path, "[queue]\nconcurrency = 5\nretain_count = 7\n");
  await startDetached(place.path, { command });
  // What a person set at run time stays: the file says nothing new about it.
  expect(await concurrency()).toBe(9);
  await stopDaemon(place.path);
  writeFileSync(path, "[queue]\nconcurrency = 6\n");
  await startDetached(place.path, { command });
  expect(await concurrency()).toBe(6);
});

test("what config.toml says of commands and probes takes effect while the daemon runs", async () => {
  const path = join(place.path, "config.toml");
  const asked: (string | undefined)[] = [];
  const health = createServer((request, response) => {
    asked.push(request.url);
    response.end("fine");
  });
  await new Promise<void>((resolve) => health.listen(0, "127.0.0.1", resolve));
  const { port } = health.address() as AddressInfo;
  try {
    await startDetached(place.path, { command: [process.execPath, "--no-warnings", realMain, "daemon", "run"] });
    const run = { type: "command.run", payload: { argv: ["true"], cwd: "/" }, isDraft: true };
    expect((await call("queue.add", run)).body.code).toBe("command_disabled");
    // Nobody listens there, so only the endpoint that the file names can prove that it is reachable.
    const remote = "http://127.0.0.1:9";
    const request = { type: "http.request", payload: { method: "POST", url: `${remote}/notes` } };
    expect((await call("queue.add", request)).status).toBe(200);
    const probe = `[[network.probes]]\nremote = "${remote}"\nurl = "http://127.0.0.1:${port}/health"\n`;
    writeFileSync(path, `[command]\nenabled = true\n\n${probe}`);
    await expect.poll(async () => (await call("queue.add", run)).status).toBe(200);
    await expect
      .poll(
        async () => {
          await call("network.check", { remote });
          return asked;
        },
        { timeout: 20_000, interval: 500 },
      )
      .toContain("/health");
  } finally {
    await stopDaemon(place.path);
    await new Promise((resolve) => health.close(resolve));
  }
});

test("a program that has given up on a daemon that does not answer ends, and does not wait for that one's end", async () => {
  const stuckMs = 15_000;
  const code = `import { startDetached } from ${JSON.stringify(join(import.meta.dirname, "../../src/node/detached.ts"))};
    const command = [process.execPath, "-e", "setTimeout(() => {}, ${stuckMs})"];
    await startDetached(${JSON.stringify(place.path)}, { command, startTimeoutMs: 200 }).catch(({ code }) => console.log(code));`;
  const child = spawn(process.execPath, ["--no-warnings", "--input-type=module", "-e", code]);
  children.push(child);
  let said = "";
  child.stdout.on("data", (chunk: Buffer) => (said += chunk.toString()));
  const began = performance.now();
  await new Promise((resolve) => child.once("exit", resolve));
  expect(said.trim()).toBe("daemon_unreachable");
  expect(performance.now() - began).toBeLessThan(stuckMs);
});
