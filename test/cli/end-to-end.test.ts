// Owns the command as a person runs it: real processes, a real data directory, a real receiver, kill -9 between commands.
// Leaves every look and word to the scripted tests beside it.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Heard, Receiver } from "../../scripts/receiver.ts";
import { startReceiver } from "../../scripts/receiver.ts";

const main = path.resolve("src/cli/main.ts");
const scratch = mkdtempSync(path.join(tmpdir(), "holdfast-cli-"));
const home = path.join(scratch, "home");
const heard: Heard[] = [];
let receiver: Receiver;

type Ran = { readonly exit: number | null; readonly out: string; readonly err: string };

function start(argv: readonly string[]) {
  const env = { ...process.env, HOLDFAST_HOME: home, FORCE_COLOR: "", NO_COLOR: "" };
  return spawn(process.execPath, [main, ...argv], { cwd: scratch, env, stdio: ["pipe", "pipe", "pipe"] });
}

function run(argv: readonly string[], stdin = ""): Promise<Ran> {
  const child = start(argv);
  let out = "";
  let err = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (out += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (err += text));
  child.stdin.on("error", () => {}).end(stdin);
  return new Promise((resolve, reject) =>
    child.once("error", reject).once("close", (exit) => resolve({ exit, out, err })),
  );
}

async function json<T>(...argv: readonly string[]): Promise<T> {
  const { out, err, exit } = await run([...argv, "--json"]);
  expect(exit, `${argv.join(" ")}: ${err}`).toBe(0);
  return JSON.parse(out) as T;
}

async function killDaemon(): Promise<number> {
  const { pid } = await json<{ readonly pid: number }>("daemon", "status");
  process.kill(pid, "SIGKILL");
  return pid;
}

beforeAll(async () => {
  receiver = await startReceiver({ directory: path.join(scratch, "received"), hear: (each) => void heard.push(each) });
});
afterAll(async () => {
  await run(["daemon", "stop", "--force"]);
  await receiver.close();
  rmSync(scratch, { recursive: true, force: true });
});

describe("a data directory that was never used", () => {
  it("is only looked at by what only looks", async () => {
    expect((await run(["daemon", "status"])).exit).toBe(3);
    expect((await run(["complete", "--", "queue", "why", ""])).exit).toBe(0);
    expect(statSync(home, { throwIfNoEntry: false })).toBeUndefined();
  });

  it("is made by the first command, for its owner alone, with a daemon", async () => {
    const { exit, out } = await run(["status"]);
    expect([exit, out.split("\n")[0]]).toEqual([0, "● Everything has landed."]);
    expect(statSync(home).mode & 0o777).toBe(0o700);
    expect(statSync(path.join(home, "token")).mode & 0o777).toBe(0o600);
    expect((await run(["doctor"])).exit).toBe(0);
  });
});

it("--wait ends with 0 and the answer when it has landed, with 1 when nothing will make it land", async () => {
  const landed = await run(["request", "POST", `${receiver.url}/notes`, "--data", '{"text":"kelp"}', "--wait"]);
  expect([landed.exit, landed.out]).toEqual([0, expect.stringMatching(/^✓ Succeeded/)]);
  // The receiver wants an Idempotency-Key, which a tus endpoint does not read: this one is refused for good.
  const refused = await run(["request", "PUT", `${receiver.url}/files/nothing`, "--data", "x", "--wait", "--json"]);
  expect([refused.exit, JSON.parse(refused.out).status]).toEqual([1, "failed"]);
  await run(["queue", "cancel", JSON.parse(refused.out).id]);
});

it("what was queued offline survives kill -9 between any two commands and lands once", async () => {
  heard.length = 0;
  const file = path.join(scratch, "photo.bin");
  const proof = path.join(scratch, "ran.txt");
  writeFileSync(file, Buffer.alloc(300_000, 7));
  await json("network", "offline");
  const queued: string[] = [];
  const commands = [
    ["request", "POST", `${receiver.url}/notes`, "--data", "-", "--lane", "notes", "--creates", "local-1", "-q"],
    ["request", "PUT", `${receiver.url}/notes/local-1`, "--data", "{}", "--lane", "notes", "-q"],
    ["upload", file, `${receiver.url}/files`, "-q"],
    ["exec", "-q", "--", process.execPath, "-e", `fs.appendFileSync(${JSON.stringify(proof)}, "x")`],
  ];
  for (const argv of commands) {
    const ran = await run(argv, '{"text":"kelp"}');
    expect([ran.exit, ran.err]).toEqual([0, ""]);
    queued.push(ran.out.trim());
    await killDaemon();
  }
  expect(heard).toEqual([]);
  const list = await json<{ readonly operations: readonly { readonly id: string; readonly status: string }[] }>(
    "queue",
    "list",
    "--order",
    "oldest",
  );
  expect(list.operations.map(({ id, status }) => [id, status])).toEqual(queued.map((id) => [id, "pending"]));
  const why = await run(["queue", "why", queued[1]?.slice(-8) ?? ""]);
  expect(why.out).toMatch(/network online|lane/);
  await json("network", "online");
  const sync = await run(["sync", "--wait", "--timeout", "40s"]);
  expect([sync.exit, sync.err]).toEqual([0, expect.any(String)]);
  const requests = heard.filter((each) => each.kind === "request");
  expect(requests.map(({ line, isNew }) => [line.replace(/\d+$/, "ID"), isNew])).toEqual([
    ["POST /notes", true],
    ["PUT /notes/ID", true],
  ]);
  expect(heard.filter(({ kind }) => kind === "upload")).toMatchObject([{ name: "photo.bin", sizeBytes: 300_000 }]);
  expect(readFileSync(proof, "utf8")).toBe("x");
}, 180_000);

it("an export comes back by import, from a file and from a pipe", async () => {
  await json("network", "offline");
  await run(["request", "POST", `${receiver.url}/later`, "--data", "x", "-q"]);
  const file = path.join(scratch, "saved.jsonl");
  expect((await run(["queue", "export", "--status", "pending", "-o", file])).exit).toBe(0);
  expect((await run(["queue", "export", "-o", file])).err).toContain("is there already");
  expect((await run(["queue", "clear", "--all"])).exit).toBe(5);
  const taken = await run(["queue", "clear", "--all", "--yes", "--export", file]);
  expect([taken.exit, taken.err]).toEqual([5, expect.stringContaining("nothing was cleared; choose another file")]);
  expect((await run(["queue", "clear", "--all", "--yes"])).exit).toBe(0);
  expect(await json("queue", "import", file)).toMatchObject({ imported: [expect.any(String)], skipped: [] });
  const piped = await run(["queue", "import", "-", "--json"], readFileSync(file, "utf8"));
  expect(JSON.parse(piped.out)).toMatchObject({ imported: [], skipped: [expect.any(String)] });
  await json("network", "online");
  expect((await run(["sync", "--wait", "--timeout", "30s"])).exit).toBe(0);
});

it("a reader that goes away is no error", async () => {
  const child = start(["queue", "list", "--all"]);
  child.stdout.destroy();
  let err = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (err += text));
  child.stdin.end();
  const exit = await new Promise((resolve) => child.once("close", resolve));
  expect([exit, err.replace(/\n?● .*\n/, "")]).toEqual([0, ""]);
});

describe("an output that cannot be written", () => {
  const into = (shell: string): number | null =>
    spawnSync("/bin/sh", ["-c", `ulimit -c 0; ${shell}`, "sh", process.execPath, main], { env: process.env }).status;

  it("ends with 1 and says so", ({ skip }) => {
    if (!existsSync("/dev/full")) return skip("this system has no /dev/full");
    const file = path.join(scratch, "said");
    expect(into(`"$1" "$2" help > /dev/full 2> "${file}"`)).toBe(1);
    expect(readFileSync(file, "utf8")).toMatch(/^✗ the output cannot be written: ENOSPC/);
  });

  it("is never cut off unseen: a file takes all of it, or the command fails", () => {
    const file = path.join(scratch, "short");
    expect(into(`ulimit -f 1; "$1" "$2" help > "${file}"`)).not.toBe(0);
    expect(into(`"$1" "$2" help > "${file}"`)).toBe(0);
    expect(readFileSync(file, "utf8")).toMatch(/5 refused by state\n$/);
  });
});

it("events come as JSON Lines, and Ctrl-C ends them with 0", async () => {
  await json("network", "online");
  const child = start(["queue", "watch", "--json"]);
  let out = "";
  child.stdin.end();
  const first = new Promise<void>((resolve) => {
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      out += text;
      if (out.includes('"settled"')) resolve();
    });
  });
  // Once the watch has begun it hears what comes; nothing says when that is, so requests come until one is heard.
  const isHeard = { value: false };
  void first.then(() => {
    isHeard.value = true;
  });
  for (let tries = 0; tries < 20 && !isHeard.value; tries++) {
    await run(["request", "POST", `${receiver.url}/watched`, "--data", "x", "-q"]);
  }
  await first;
  child.kill("SIGINT");
  expect(await new Promise((resolve) => child.once("close", resolve))).toBe(0);
  for (const line of out.trim().split("\n")) expect(JSON.parse(line)).toHaveProperty("kind");
});

it("Ctrl-C while waiting ends with 1, the id, and leaves it queued", async () => {
  await json("network", "offline");
  const child = start(["request", "POST", `${receiver.url}/notes`, "--data", "x", "--wait"]);
  let out = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (out += text));
  child.stdin.end();
  const isWaiting = new Promise<void>((resolve) => {
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      if (text.includes("to see what it waits for")) setTimeout(resolve, 500);
    });
  });
  await isWaiting;
  child.kill("SIGINT");
  expect(await new Promise((resolve) => child.once("close", resolve))).toBe(1);
  const { status } = await json<{ readonly status: string }>("queue", "show", out.trim());
  expect(status).toBe("pending");
});

it("the configuration and credentials are kept without a daemon", async () => {
  await json("daemon", "stop");
  expect(await json("config", "set", "queue.concurrency", "4")).toMatchObject({ value: 4, source: "file" });
  expect(await json("config", "get", "queue.concurrency")).toMatchObject({ value: 4 });
  expect((await run(["config", "set", "queue.concurency", "4"])).err).toContain("concurrency");
  const set = await run(["credentials", "set", "api", "--origin", receiver.url], "s3cret\n");
  expect([set.exit, (set.out + set.err).includes("s3cret")]).toEqual([0, false]);
  expect(await json("credentials", "list")).toMatchObject({ credentials: [{ name: "api", kind: "bearer" }] });
  expect((await run(["credentials", "remove", "api"])).exit).toBe(0);
  expect((await run(["credentials", "remove", "api"])).exit).toBe(4);
  const unnamed = await run(["credentials", "set", "sync"], "s3cret\n");
  expect(unnamed).toMatchObject({ exit: 2, err: expect.stringContaining("credentials set sync --origin") });
  expect((await run(["config", "set", "sync.url", "https://sync.example.com/team"])).exit).toBe(0);
  expect(await run(["credentials", "set", "sync"], "s3cret\n")).toMatchObject({
    exit: 0,
    out: expect.stringContaining("https://sync.example.com\n"),
    err: expect.stringContaining("config set sync.credential sync"),
  });
  expect((await run(["config", "set", "sync.credential", "sync"])).exit).toBe(0);
  expect(await run(["credentials", "set", "api"], "s3cret\n")).toMatchObject({
    exit: 2,
    err: expect.stringContaining("holdfast credentials set sync"),
  });
  expect((await run(["daemon", "status"])).exit).toBe(3);
});
