// Owns `npm run demo`: the story of one outage with real processes, checked step by step; exit code 1 when a step is not as told.
// Leaves the story of two devices to scripts/demo-replicas.ts and receiving to scripts/receiver.ts; everything else is the command as anybody would type it.
import { createHash, randomBytes } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { replicas, stopReplicas } from "./demo-replicas.ts";
import { ask, chapter, holdfast, must, Untrue, untilGone } from "./demo-stage.ts";
import type { Heard } from "./receiver.ts";
import { startReceiver } from "./receiver.ts";

const scratch = mkdtempSync(path.join(tmpdir(), "holdfast-demo-"));
const home = path.join(scratch, "home");
const desk = { home };
const heard: Heard[] = [];

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
  await holdfast(desk, ["network", "offline"]);

  chapter("2. Work goes on: a request, an upload, a command.");
  const queued = [
    await holdfast(desk, ["request", "POST", `${url}/notes`, "--data", '{"text":"kelp"}', "--lane", "notes"]),
    await holdfast(desk, ["upload", file, `${url}/files`]),
    await holdfast(
      desk,
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
  const before = await ask<Status>(desk, "status");
  process.stdout.write(`   $ kill -9 ${before.daemon.pid}\n`);
  process.kill(before.daemon.pid, "SIGKILL");
  await untilGone(before.daemon.pid);
  must(true, `process ${before.daemon.pid} is gone`);

  chapter("4. The next command starts it again. Nothing is missing.");
  await holdfast(desk, ["queue", "list"]);
  const after = await ask<Status>(desk, "status");
  must(after.daemon.pid !== before.daemon.pid, `a new daemon runs: process ${after.daemon.pid}`);
  must(after.counts.pending === 3, "three operations are pending, as before");
}

async function comeBack({ file, proof }: Props): Promise<void> {
  chapter("5. The network is back. The first answer gets lost on its way, as answers do.");
  await holdfast(desk, ["network", "online"]);
  const sync = await holdfast(desk, ["sync", "--wait", "--timeout", "30s"]);
  if (sync.exit) {
    for (const a of [["status"], ["queue", "list", "--all"], ["queue", "status"]]) await holdfast(desk, a);
    for (const id of (await holdfast(desk, ["queue", "list", "-q"], false)).out.trim().split("\n")) {
      await holdfast(desk, ["queue", "history", id]);
      await holdfast(desk, ["queue", "why", id]);
    }
    await holdfast(desk, ["sync", "--status", "--json"]);
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
  const end = await ask<Status>(desk, "status");
  must(
    end.counts.completed === 3 && end.counts.pending === 0 && end.counts.failed === 0,
    "and the queue says the same",
  );
}

mkdirSync(home, { mode: 0o700 });
const receiver = await startReceiver({
  directory: path.join(scratch, "received"),
  losesFirstAnswer: true,
  hear: (each) => void heard.push(each),
});
const startedAt = performance.now();
try {
  process.stdout.write("Holdfast: one outage and two devices, told by real processes.\n");
  await tell(receiver.url);
  await replicas(scratch);
  process.stdout.write(`\nAll as told, in ${((performance.now() - startedAt) / 1_000).toFixed(1)} s.\n`);
} catch (error) {
  process.exitCode = 1;
  process.stdout.write(
    `   ✗ ${error instanceof Untrue ? `not as told: ${error.message}` : String(error)}\n\nHow it stands:\n`,
  );
  for (const look of [["status"], ["queue", "list", "--all"], ["sync", "--status"]]) await holdfast(desk, look);
} finally {
  await holdfast(desk, ["daemon", "stop"], false);
  await stopReplicas();
  await receiver.close();
  rmSync(scratch, { recursive: true, force: true });
}
