// Owns `npm run demo`: the story of one outage with real processes, checked step by step; exit code 1 when a step is not as told.
// Leaves receiving to scripts/receiver.ts; everything else is the command as anybody would type it.
import { spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { Heard } from "./receiver.ts";
import { startReceiver } from "./receiver.ts";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");
const main = path.join(root, "src/cli/main.ts");
const scratch = mkdtempSync(path.join(tmpdir(), "holdfast-demo-"));
const home = path.join(scratch, "home");
const heard: Heard[] = [];

class Untrue extends Error {}

function must(isTrue: boolean, claim: string): void {
  if (!isTrue) throw new Untrue(claim);
  process.stdout.write(`   ✓ ${claim}\n`);
}

function chapter(title: string): void {
  process.stdout.write(`\n${title}\n`);
}

type Ran = { readonly exit: number; readonly out: string };

/** Runs the command; what it prints is shown, indented, unless it is only looked at. */
async function holdfast(argv: readonly string[], isShown = true): Promise<Ran> {
  if (isShown)
    process.stdout.write(
      `   $ holdfast ${argv.map((word) => (/[^\w./:@=-]/.test(word) ? `'${word}'` : word)).join(" ")}\n`,
    );
  const env = { ...process.env, HOLDFAST_HOME: home, NO_COLOR: "1", COLUMNS: "90" };
  const child = spawn(process.execPath, [main, ...argv], { cwd: scratch, env, stdio: ["ignore", "pipe", "pipe"] });
  let out = "";
  const show = (text: string): void => void (isShown && process.stdout.write(text.replace(/^(?=.)/gm, "     ")));
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    out += text;
    show(text);
  });
  child.stderr.setEncoding("utf8").on("data", show);
  const exit = await new Promise<number>((resolve, reject) =>
    child.once("error", reject).once("close", (code) => resolve(code ?? 1)),
  );
  return { exit, out };
}

async function ask<T>(...argv: readonly string[]): Promise<T> {
  return JSON.parse((await holdfast([...argv, "--json"], false)).out) as T;
}

type Status = { readonly counts: Readonly<Record<string, number>>; readonly daemon: { readonly pid: number } };

type Props = { readonly url: string; readonly file: string; readonly proof: string };

async function tell(url: string): Promise<void> {
  const file = path.join(scratch, "reef.bin");
  writeFileSync(file, randomBytes(3_000_000));
  const proof = path.join(scratch, "ran.txt");

  await workOffline({ url, file, proof });
  await killAndRestart();
  await comeBack({ url, file, proof });
}

async function workOffline({ url, file, proof }: Props): Promise<void> {
  chapter("1. The network is gone.");
  await holdfast(["network", "offline"]);

  chapter("2. Work goes on: a request, an upload, a command.");
  const queued = [
    await holdfast(["request", "POST", `${url}/notes`, "--data", '{"text":"kelp"}', "--lane", "notes"]),
    await holdfast(["upload", file, `${url}/files`]),
    await holdfast(
      [
        "exec",
        "--name",
        "write a line",
        "--",
        process.execPath,
        "-e",
        `require("node:fs").appendFileSync(${JSON.stringify(proof)}, "ran\\n")`,
      ],
      false,
    ),
  ];
  process.stdout.write("   $ holdfast exec --name 'write a line' -- node -e …\n");
  must(
    queued.every(({ exit }) => exit === 0),
    "all three are acknowledged: they are on the disk",
  );
  must(heard.length === 0 && !existsSync(proof), "and nothing has left this device");
}

async function killAndRestart(): Promise<void> {
  chapter("3. The daemon is killed with -9.");
  const before = await ask<Status>("status");
  process.stdout.write(`   $ kill -9 ${before.daemon.pid}\n`);
  process.kill(before.daemon.pid, "SIGKILL");
  await untilGone(before.daemon.pid);
  must(true, `process ${before.daemon.pid} is gone`);

  chapter("4. The next command starts it again. Nothing is missing.");
  await holdfast(["queue", "list"]);
  const after = await ask<Status>("status");
  must(after.daemon.pid !== before.daemon.pid, `a new daemon runs: process ${after.daemon.pid}`);
  must(after.counts.pending === 3, "three operations are pending, as before");
}

async function comeBack({ file, proof }: Props): Promise<void> {
  chapter("5. The network is back. The first answer gets lost on its way, as answers do.");
  await holdfast(["network", "online"]);
  const sync = await holdfast(["sync", "--wait", "--timeout", "30s"]);
  if (sync.exit) {
    for (const a of [["status"], ["queue", "list", "--all"], ["queue", "status"]]) await holdfast(a);
    for (const id of (await holdfast(["queue", "list", "-q"], false)).out.trim().split("\n")) {
      await holdfast(["queue", "history", id]);
      await holdfast(["queue", "why", id]);
    }
    await holdfast(["sync", "--status", "--json"]);
  }
  must(sync.exit === 0, "everything has landed");

  chapter("6. Once each?");
  const requests = heard.filter((each) => each.kind === "request");
  const uploads = heard.filter((each) => each.kind === "upload");
  must(requests.length === 2, "the receiver got the request twice: the first answer was lost, so it was sent again");
  must(new Set(requests.map(({ key }) => key)).size === 1, "both times with the same Idempotency-Key");
  must(requests.filter(({ isNew }) => isNew).length === 1, "so the note was written once");
  must(
    uploads.length === 1 && uploads[0]?.sha256 === createHash("sha256").update(readFileSync(file)).digest("hex"),
    "the file arrived once, byte for byte",
  );
  must(existsSync(proof) && readFileSync(proof, "utf8") === "ran\n", "the command ran once");
  const end = await ask<Status>("status");
  must(
    end.counts.completed === 3 && end.counts.pending === 0 && end.counts.failed === 0,
    "and the queue says the same",
  );
}

async function untilGone(pid: number): Promise<void> {
  for (let tries = 0; tries < 100; tries++) {
    try {
      process.kill(pid, 0);
    } catch {
      return;
    }
    await sleep(50);
  }
  throw new Untrue(`process ${pid} survives kill -9`);
}

mkdirSync(home, { mode: 0o700 });
const receiver = await startReceiver({
  directory: path.join(scratch, "received"),
  losesFirstAnswer: true,
  hear: (each) => void heard.push(each),
});
const startedAt = performance.now();
try {
  process.stdout.write("Holdfast: one outage, told by real processes.\n");
  await tell(receiver.url);
  process.stdout.write(`\nAll as told, in ${((performance.now() - startedAt) / 1_000).toFixed(1)} s.\n`);
} catch (error) {
  process.exitCode = 1;
  process.stdout.write(
    `   ✗ ${error instanceof Untrue ? `not as told: ${error.message}` : String(error)}\n\nHow it stands:\n`,
  );
  for (const look of [["status"], ["queue", "list", "--all"], ["sync", "--status"]]) await holdfast(look);
} finally {
  await holdfast(["daemon", "stop"], false);
  await receiver.close();
  rmSync(scratch, { recursive: true, force: true });
}
