/**
 * Owns the proof of the Node world with real files, processes and servers: clocks, witness, wake-ups, lock, reserve, probe.
 * What the engine does with them is proven by the engine.
 */
import { fork } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import type { RequestListener, Server } from "node:http";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import type { NodeWorld, NodeWorldOptions } from "./world.ts";
import { nodeWorld } from "./world.ts";

const ends: (() => void)[] = [];
afterEach(() => {
  for (const end of ends.splice(0).reverse()) end();
});

function newDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), "holdfast-world-"));
  ends.push(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

function newWorld(directory: string, options: Partial<NodeWorldOptions> = {}): NodeWorld {
  const world = nodeWorld({ directory, log: () => {}, ...options });
  ends.push(world.close);
  return world;
}

async function newServer(listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  ends.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return listen(server);
}

async function listen(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const pauseMs = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Runs `source` in a process of its own with `world` open on `directory`; resolves with what it sent first. */
function startProcess(directory: string, source: string) {
  const script = join(directory, `child-${Math.random().toString(36).slice(2)}.mts`);
  const worldFile = new URL("./world.ts", import.meta.url).href;
  const preamble = `import { nodeWorld } from ${JSON.stringify(worldFile)};\nconst world = nodeWorld({ directory: ${JSON.stringify(directory)} });\n`;
  writeFileSync(script, preamble + source);
  const child = fork(script, { stdio: ["ignore", "inherit", "inherit", "ipc"], execArgv: [] });
  ends.push(() => child.kill("SIGKILL"));
  const first = new Promise<unknown>((resolve, reject) => {
    child.once("message", resolve);
    child.once("exit", (status) => reject(new Error(`the process ended with ${status}`)));
  });
  return { child, first };
}

describe("clock, ids, hash and timers", () => {
  test("ids are UUIDv7, distinct and in order", () => {
    const world = newWorld(newDirectory());
    const ids = Array.from({ length: 2_000 }, () => world.newId());
    expect(new Set(ids).size).toBe(ids.length);
    expect([...ids].sort()).toEqual(ids);
    expect(ids[0]).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  });

  test("the hash is SHA-256 of the UTF-8 bytes", () => {
    const world = newWorld(newDirectory());
    expect(world.hash("abc")).toBe("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    expect(world.hash("é")).toBe("4a99557e4033c3539de2eb65472017cad5f9557f7a0625a09f1c3f6e2ba69c4c");
  });

  test("a delay beyond 2^31 ms does not fire at once and can be cancelled", async () => {
    const world = newWorld(newDirectory());
    let fired = 0;
    const cancel = world.setTimer(2 ** 31 + 5_000, () => {
      fired += 1;
    });
    world.setTimer(5, () => {
      fired += 10;
    });
    await pauseMs(40);
    expect(fired).toBe(10);
    cancel();
  });

  test("a process that only enqueues is not kept alive by timers, one that drains is", async () => {
    const idle = startProcess(
      newDirectory(),
      `world.setTimer(60_000, () => {}); process.send("up"); process.disconnect();`,
    );
    await idle.first;
    expect(await new Promise((resolve) => idle.child.once("exit", resolve))).toBe(0);
    const draining = startProcess(
      newDirectory(),
      `world.drainer.tryLock(); world.setTimer(60_000, () => {}); process.send("up"); process.disconnect();`,
    );
    await draining.first;
    await pauseMs(300);
    expect(draining.child.exitCode).toBeNull();
  });
});

describe("witness", () => {
  test("keeps the highest sequence and never falls back", () => {
    const directory = newDirectory();
    const first = newWorld(directory);
    expect(first.witness.read()).toBe(0);
    for (const sequence of [1, 2, 9, 4]) first.witness.write(sequence);
    expect(first.witness.read()).toBe(9);
    first.close();
    expect(newWorld(directory).witness.read()).toBe(9);
  });

  test("a torn mark leaves the one before it", () => {
    const directory = newDirectory();
    const world = newWorld(directory);
    world.witness.write(41);
    world.witness.write(42);
    world.close();
    const path = join(directory, "holdfast.witness");
    const content = readFileSync(path);
    const at = content.indexOf(Buffer.from([0, 0, 0, 42]));
    content[at + 3] = 99;
    writeFileSync(path, content);
    expect(newWorld(directory).witness.read()).toBe(41);
  });

  test("a garbled witness reads as 0, with a warning", () => {
    const directory = newDirectory();
    writeFileSync(join(directory, "holdfast.witness"), "no witness at all");
    const warnings: string[] = [];
    const world = newWorld(directory, { log: (level, message) => warnings.push(`${level} ${message}`) });
    expect(world.witness.read()).toBe(0);
    expect(warnings.join()).toMatch(/warn .*holdfast\.witness: the witness is damaged/);
    world.witness.write(7);
    expect(world.witness.read()).toBe(7);
  });

  test("survives kill -9 of the writer", async () => {
    const directory = newDirectory();
    const { child, first } = startProcess(
      directory,
      `world.witness.write(1234); process.send("wrote"); setInterval(() => {}, 1000);`,
    );
    await first;
    child.kill("SIGKILL");
    await new Promise((resolve) => child.once("exit", resolve));
    expect(newWorld(directory).witness.read()).toBe(1234);
  });

  test("forty worlds on one store each keep their own mark", () => {
    const directory = newDirectory();
    const worlds = Array.from({ length: 40 }, () => newWorld(directory));
    for (let round = 0; round < 5; round += 1) {
      for (const [index, world] of worlds.entries()) world.witness.write(round * 40 + index + 1);
    }
    expect(worlds[0]?.witness.read()).toBe(200);
  });
});

describe("watch", () => {
  test("a write by another process wakes this one, nearly always within 250 ms", async () => {
    const directory = newDirectory();
    const world = newWorld(directory);
    const source = `let n = 0; process.on("message", () => { world.witness.write(++n); process.send(Date.now()); }); process.send("up");`;
    const { child, first } = startProcess(directory, source);
    await first;
    let wokenAt = 0;
    ends.push(
      world.watch(() => {
        wokenAt = Date.now();
      }),
    );
    const took: number[] = [];
    for (let round = 0; round < 10; round += 1) {
      wokenAt = 0;
      const wrote = new Promise<number>((resolve) => child.once("message", (at) => resolve(at as number)));
      child.send("write");
      const wroteAt = await wrote;
      await expect.poll(() => wokenAt, { interval: 5 }).toBeGreaterThan(0);
      took.push(wokenAt - wroteAt);
      await pauseMs(15);
    }
    // A machine may be busy now and then; were it the poll that wakes, most would take longer than that.
    expect(took.filter((each) => each >= 250).length).toBeLessThanOrEqual(1);
  });

  test("own writes are not reported", async () => {
    const world = newWorld(newDirectory());
    let woken = 0;
    ends.push(
      world.watch(() => {
        woken += 1;
      }),
    );
    for (let sequence = 1; sequence <= 20; sequence += 1) {
      world.witness.write(sequence);
      await pauseMs(2);
    }
    await pauseMs(60);
    expect(woken).toBe(0);
  });

  test("a witness that was deleted is found again", async () => {
    const directory = newDirectory();
    const world = newWorld(directory);
    let woken = 0;
    ends.push(
      world.watch(() => {
        woken += 1;
      }),
    );
    rmSync(join(directory, "holdfast.witness"));
    const other = newWorld(directory);
    other.witness.write(3);
    await expect.poll(() => woken).toBe(1);
    other.witness.write(4);
    await expect.poll(() => woken).toBe(2);
  });
});

describe("drainer's lock", () => {
  test("one process holds it; kill -9 frees it", async () => {
    const directory = newDirectory();
    const { child, first } = startProcess(
      directory,
      `process.send(world.drainer.tryLock()); setInterval(() => {}, 1000);`,
    );
    expect(await first).toBe(true);
    const world = newWorld(directory);
    expect(world.drainer.tryLock()).toBe(false);
    child.kill("SIGKILL");
    await new Promise((resolve) => child.once("exit", resolve));
    expect(world.drainer.tryLock()).toBe(true);
    expect(world.drainer.tryLock()).toBe(true);
    world.drainer.unlock();
    expect(newWorld(directory).drainer.tryLock()).toBe(true);
  });

  test("two worlds in one process exclude each other too", () => {
    const directory = newDirectory();
    const [first, second] = [newWorld(directory), newWorld(directory)];
    expect(first.drainer.tryLock()).toBe(true);
    expect(second.drainer.tryLock()).toBe(false);
    expect(first.drainer.name).not.toBe(second.drainer.name);
  });
});

describe("disk", () => {
  test("the reserve holds real blocks, is given back and laid again", () => {
    const directory = newDirectory();
    const world = newWorld(directory);
    const path = join(directory, "reserve");
    expect(statSync(path).size).toBe(262_144);
    expect(statSync(path).blocks * 512).toBeGreaterThanOrEqual(262_144);
    expect(world.disk.freeBytes()).toBeGreaterThan(1_000_000);
    expect(world.disk.releaseReserve()).toBe(true);
    expect(world.disk.releaseReserve()).toBe(false);
    expect(world.disk.restoreReserve()).toBe(true);
    expect(statSync(path).size).toBe(262_144);
  });
});

describe("probe", () => {
  const signal = new AbortController().signal;

  test("any answer of the origin is proof, even a refusal", async () => {
    const origin = await newServer((_request, response) => response.writeHead(404).end());
    expect(await newWorld(newDirectory()).probe(origin, signal)).toEqual({
      isReachable: true,
      reason: `${origin} answered 404`,
    });
  });

  test("a server that hangs up on HEAD is asked with GET", async () => {
    const origin = await newServer((request, response) => {
      if (request.method === "HEAD") request.socket.destroy();
      else response.end("here");
    });
    expect((await newWorld(newDirectory()).probe(origin, signal)).isReachable).toBe(true);
  });

  test("a redirect to another origin is a portal, one within the origin is not", async () => {
    const portal = await newServer((_request, response) =>
      response.writeHead(302, { location: "http://login.invalid/" }).end(),
    );
    const found = await newWorld(newDirectory()).probe(portal, signal);
    expect(found).toEqual({ isReachable: false, reason: "redirected to login.invalid: a captive portal?" });
    const own = await newServer((_request, response) => response.writeHead(302, { location: "/home" }).end());
    expect((await newWorld(newDirectory()).probe(own, signal)).isReachable).toBe(true);
  });

  test("a page that lacks the expected body or the nonce does not pass, one of several endpoints is enough", async () => {
    const portal = await newServer((_request, response) => response.end("<html>please sign in</html>"));
    const echo = await newServer((request, response) => response.end(`nonce ${request.headers["holdfast-nonce"]}`));
    const makeWorld = (urls: readonly string[]) =>
      newWorld(newDirectory(), { probe: { endpoints: { api: urls.map((url) => ({ url, hasNonce: true })) } } });
    expect((await makeWorld([portal]).probe("api", signal)).reason).toMatch(/another page: a captive portal\?/);
    expect((await makeWorld([portal, echo]).probe("api", signal)).isReachable).toBe(true);
  });

  test("a dead origin, a silent one and an abort are reasons, never rejections", async () => {
    const closed = createServer();
    const origin = await listen(closed);
    await new Promise((resolve) => closed.close(resolve));
    const dead = await newWorld(newDirectory()).probe(origin, signal);
    expect(dead).toEqual({ isReachable: false, reason: "no answer: ECONNREFUSED" });
    const silent = await newServer(() => {});
    const hasty = newWorld(newDirectory(), { probe: { timeoutMs: 80 } });
    expect(await hasty.probe(silent, signal)).toEqual({ isReachable: false, reason: "no answer within 80 ms" });
    const aborted = await hasty.probe(silent, AbortSignal.abort(new Error("stopping")));
    expect(aborted).toEqual({ isReachable: false, reason: "stopping" });
  });
});
