// Owns what a person is told when the data directory is in trouble: real processes, real damage, no wait for what cannot come.
// Leaves every look and word to the scripted tests beside it, and damage of the store itself to test/crash.
import { spawn } from "node:child_process";
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, expect, it } from "vitest";

const main = path.resolve("src/cli/main.ts");
const scratch = mkdtempSync(path.join(tmpdir(), "holdfast-trouble-"));
const home = path.join(scratch, "home");
const at = (name: string): string => path.join(home, name);

type Ran = { readonly exit: number | null; readonly out: string; readonly err: string };

function run(...argv: readonly string[]): Promise<Ran> {
  const env = { ...process.env, HOLDFAST_HOME: home, FORCE_COLOR: "", NO_COLOR: "" };
  const child = spawn(process.execPath, [main, ...argv], { cwd: scratch, env, stdio: ["ignore", "pipe", "pipe"] });
  let out = "";
  let err = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (out += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (err += text));
  return new Promise((resolve, reject) =>
    child.once("error", reject).once("close", (exit) => resolve({ exit, out, err })),
  );
}

type Finding = { readonly check: string; readonly level: string; readonly message: string; readonly hint: string };

/** What doctor finds besides what is well. */
async function complaints(): Promise<readonly Finding[]> {
  const { out } = await run("doctor", "--json");
  return (JSON.parse(out) as { readonly findings: readonly Finding[] }).findings.filter(({ level }) => level !== "ok");
}

afterAll(async () => {
  await run("daemon", "stop", "--force");
  rmSync(scratch, { recursive: true, force: true });
});

it("a daemon whose token is gone is named at once, with the way out, and --force takes it", async () => {
  expect((await run("status")).exit).toBe(0);
  rmSync(at("token"));
  const startedAt = performance.now();
  const status = await run("status");
  expect(performance.now() - startedAt).toBeLessThan(10_000);
  expect([status.exit, status.err]).toEqual([3, expect.stringMatching(/token file .*token is gone.*process \d+/)]);
  expect(status.err).toContain("holdfast daemon stop --force");
  expect((await run("daemon", "status")).out).toContain("does not answer");
  expect((await run("daemon", "stop")).err).toContain("token file");
  expect((await complaints()).map(({ check }) => check)).toEqual(["daemon"]);
  expect((await run("daemon", "stop", "--force")).exit).toBe(0);
  expect((await run("status")).exit).toBe(0);
});

it("a daemon writes its port file again when somebody has removed it", async () => {
  const before = readFileSync(at("daemon.json"), "utf8");
  rmSync(at("daemon.json"));
  for (let tries = 0; tries < 100 && !existsSync(at("daemon.json")); tries += 1) await sleep(50);
  expect(readFileSync(at("daemon.json"), "utf8")).toBe(before);
  expect((await run("daemon", "stop")).exit).toBe(0);
  expect(existsSync(at("daemon.json"))).toBe(false);
});

it("doctor names the line of a damaged configuration, and the file of types that cannot be loaded", async () => {
  writeFileSync(at("config.toml"), '[queue]\nmax_operations = "many"\n');
  const [config, daemon] = await complaints();
  expect(config).toMatchObject({
    check: "config",
    level: "problem",
    message: expect.stringContaining("config.toml:2: "),
  });
  expect(daemon?.check).toBe("daemon");
  // What the daemon said has several lines: all of them stand below the first.
  const said = (await run("doctor")).out.split("\n");
  expect(said.filter((line) => !/^([✓!✗] | {12}|$|\d+ problem)/.test(line))).toEqual([]);
  writeFileSync(at("config.toml"), "");
  expect((await run("status")).exit).toBe(0);
  // The daemon runs on with what it had; only doctor reads the file anew.
  writeFileSync(at("config.toml"), 'types = ["./nope.mjs"]\n');
  expect(await complaints()).toMatchObject([{ check: "config", message: expect.stringContaining("nope.mjs") }]);
  rmSync(at("config.toml"));
});

it("doctor minds a configuration that others can write, not one that they could read in a closed directory", async () => {
  writeFileSync(at("config.toml"), "");
  chmodSync(at("config.toml"), 0o644);
  expect(await complaints()).toEqual([]);
  chmodSync(at("config.toml"), 0o666);
  expect(await complaints()).toMatchObject([{ check: "directory", level: "problem" }]);
  chmodSync(at("config.toml"), 0o600);
});

it("doctor minds secrets that others can read", async () => {
  writeFileSync(at("credentials.json"), "[]", { mode: 0o644 });
  chmodSync(at("credentials.json"), 0o644);
  const findings = await complaints();
  expect(findings.find(({ check }) => check === "directory")).toMatchObject({
    level: "problem",
    hint: `chmod 600 ${at("credentials.json")}`,
  });
  rmSync(at("credentials.json"));
});

it("an unclean end that cost nothing is no warning", async () => {
  const { pid } = JSON.parse((await run("daemon", "status", "--json")).out) as { readonly pid: number };
  process.kill(pid, "SIGKILL");
  await sleep(200);
  expect(await complaints()).toEqual([]);
});

it("changes of records without a server are told as that, not as a type that somebody forgot", async () => {
  await run("collections", "declare", "notes");
  await run("records", "put", "notes", "n1", "--data", "{}");
  expect(await complaints()).toMatchObject([
    { check: "sync", message: "1 change of records waits: no sync server is named" },
  ]);
});

it("a default is told in the type that the file would have", async () => {
  const value = async (key: string) =>
    (JSON.parse((await run("config", "get", key, "--json")).out) as { value: unknown }).value;
  expect([await value("daemon.port"), await value("queue.max_size"), await value("types")]).toEqual([0, "1 GiB", []]);
});

it("a folder in the place of a file is named", async () => {
  const url = "http://127.0.0.1:9/notes";
  for (const argv of [
    ["request", "POST", url, "--data", `@${scratch}`],
    ["queue", "import", scratch],
    ["records", "import", "notes", scratch],
  ]) {
    const refused = await run(...argv);
    expect([refused.exit, refused.err.split("\n")[0]]).toEqual([2, `✗ ${scratch} is a directory`]);
  }
});

it("an export never takes the place of what is there, and names the folder that is not", async () => {
  const wanted = [
    [path.join(scratch, "nowhere", "x.jsonl"), `there is no folder ${path.join(scratch, "nowhere")}`, 4],
    [scratch, `${scratch} is no file`, 5],
  ] as const;
  for (const [target, message, exit] of wanted) {
    const refused = await run("queue", "export", "-o", target, "--force");
    expect([refused.exit, refused.err.split("\n")[0]]).toEqual([exit, `✗ ${message}`]);
  }
  // Unreadable is there all the same.
  writeFileSync(path.join(scratch, "kept.jsonl"), "kept");
  chmodSync(path.join(scratch, "kept.jsonl"), 0o000);
  expect((await run("queue", "export", "-o", "kept.jsonl")).exit).toBe(5);
  chmodSync(path.join(scratch, "kept.jsonl"), 0o600);
  expect(readFileSync(path.join(scratch, "kept.jsonl"), "utf8")).toBe("kept");
});

it("a wrong key for config set is a wrong word, not a fault of the file", async () => {
  const unknown = await run("config", "set", "network.probe", "x");
  expect([unknown.exit, unknown.err]).toEqual([
    4,
    "✗ there is no configuration key network.probe\n→ did you mean network.probes?\n",
  ]);
  const wrong = await run("config", "set", "daemon.port", "many");
  expect([wrong.exit, wrong.err.split("\n")[0]]).toEqual([2, "✗ daemon.port: expected a number"]);
});

it("a daemon that stands still is named as that, and Ctrl-C leaves who waits for it at once", async () => {
  const { pid } = JSON.parse((await run("daemon", "start", "--json")).out) as { readonly pid: number };
  await run("network", "offline");
  const env = { ...process.env, HOLDFAST_HOME: home };
  const words = ["request", "POST", "https://api.example.com/notes", "--data", "x", "--wait"];
  const waiting = spawn(process.execPath, [main, ...words], { cwd: scratch, env, stdio: ["ignore", "pipe", "pipe"] });
  const ended = new Promise((resolve) => waiting.once("close", resolve));
  await new Promise<void>((resolve) =>
    waiting.stderr.setEncoding("utf8").on("data", (text: string) => {
      if (text.includes("to see what it waits for")) setTimeout(resolve, 1_500);
    }),
  );
  process.kill(pid, "SIGSTOP");
  try {
    await sleep(1_500);
    const pressedAt = performance.now();
    waiting.kill("SIGINT");
    expect(await ended).toBe(1);
    expect(performance.now() - pressedAt).toBeLessThan(1_500);
    const { exit, err } = await run("status");
    expect(exit).toBe(3);
    expect(err).toContain(`✗ a daemon (process ${pid}) holds ${home} and does not answer\n`);
    expect(err).toContain("holdfast daemon stop --force");
  } finally {
    process.kill(pid, "SIGCONT");
  }
  // Before it goes online: what is on the wire cannot be cleared.
  expect((await run("queue", "clear", "--all", "--yes")).exit).toBe(0);
  await run("network", "online");
});

it("a command that comes while the daemon stops waits for its end and starts the next one", async () => {
  const before = JSON.parse((await run("daemon", "start", "--json")).out) as { readonly pid: number };
  // Ends by itself, while the stop waits for it, later than a new daemon waits for the directory.
  expect((await run("exec", "--", "sleep", "4")).exit).toBe(0);
  await sleep(500);
  const stopping = run("daemon", "stop");
  await sleep(700);
  const status = await run("status", "--json");
  expect([status.exit, status.err]).toEqual([0, ""]);
  expect((JSON.parse(status.out) as { daemon: { pid: number } }).daemon.pid).not.toBe(before.pid);
  await stopping;
});

it("who only watches does not start a daemon that a person has stopped, and goes on with the next one", async () => {
  await run("daemon", "start");
  const env = { ...process.env, HOLDFAST_HOME: home };
  const words = [main, "queue", "watch", "--json"];
  const watching = spawn(process.execPath, words, { cwd: scratch, env, stdio: ["ignore", "pipe", "pipe"] });
  const told = { out: "", err: "" };
  watching.stdout.setEncoding("utf8").on("data", (text: string) => (told.out += text));
  watching.stderr.setEncoding("utf8").on("data", (text: string) => (told.err += text));
  try {
    await sleep(1_500);
    expect((await run("daemon", "stop")).exit).toBe(0);
    await sleep(4_000);
    expect((await run("daemon", "status")).exit).toBe(3);
    await run("daemon", "start");
    // It looks once a second, so the first changes may come before it listens again.
    for (let tries = 0; tries < 20 && !told.out.includes("paused"); tries += 1) {
      await run("queue", "pause", "--lane", `lane${tries}`);
      await sleep(300);
    }
    expect(told.out).toContain("paused");
  } finally {
    watching.kill("SIGKILL");
  }
});
