/**
 * Owns the words of the commands that queue work and of `status`: arguments, options, help. What they do is in `enqueue.ts`,
 * `upload.ts` and `status.ts`.
 */
import type { Command } from "commander";
import { examples } from "./help.ts";
import { collect, parseList } from "./parse.ts";
import type { Bind } from "./tree.ts";

export function addEnqueueCommands(root: Command, bind: Bind): void {
  const status = root
    .command("status")
    .summary("one screen: online?, pending, oldest unsent, next attempt, failures")
    .description(
      "Shows on one screen how things stand: network, unsent operations, the oldest of them, the next attempt, failures.",
    )
    .addHelpText("after", examples("holdfast status", "holdfast status --json | jq .light"));
  bind(status, async () => (await import("./status.ts")).runStatus);
  addRequest(root, bind);
  addExec(root, bind);
  addUpload(root, bind);
}

function addRequest(root: Command, bind: Bind): void {
  const request = root
    .command("request")
    .summary("queue an HTTP request")
    .description(
      "Queues an HTTP request. It is safe on the disk when the command returns, and is sent once the remote answers.",
    )
    .argument("<method>", "GET, POST, PUT, PATCH, DELETE …")
    .argument("<url>", "where it goes; path segments may be local ids")
    .option("--data <data>", "body: text, @file, or - for stdin")
    .option("--json-body", "the body is JSON; refuse it here when it is not")
    .option("--header <line>", 'header, "Name: value"; repeatable', collect)
    .option("--credential <name>", "credential that is put in when it is sent; never stored with the request")
    .option("--attempt-timeout <duration>", "how long one attempt may take, e.g. 30s")
    .option("--success <statuses>", "statuses that mean success, e.g. 200,201,404", parseList)
    .option("--id-from <place>", "where the answer has the server's id: /data/id (JSON Pointer) or location")
    .option("--expect <kind>", "json: only JSON is an answer; any: pages are answers too");
  addOrderOptions(request);
  addWaitOptions(request).addHelpText(
    "after",
    examples(
      "holdfast request POST https://api.example.com/notes --data @note.json --lane notes",
      'holdfast request POST https://api.example.com/projects --data \'{"name":"Reef"}\' --creates local-1',
      "holdfast request PUT https://api.example.com/projects/local-1/cover --data @cover.json",
      "holdfast request DELETE https://api.example.com/notes/7 --at 18:30 --expires 2d",
      "echo '{\"done\":true}' | holdfast request PATCH https://api.example.com/tasks/7 --data - --wait",
    ),
  );
  bind(request, async () => (await import("./enqueue.ts")).runRequest);
}

function addExec(root: Command, bind: Bind): void {
  const exec = root
    .command("exec")
    .summary("queue a command until it succeeds")
    .description("Queues a command (no shell in between) and runs it until it succeeds. Write it after --.")
    .argument("<argv...>", "the command and its arguments, after --")
    .option("--name <name>", "title that lists show")
    .option("--retry-on <codes>", "exit codes that mean: try again, e.g. 1,75", parseList)
    .option("--cwd <dir>", "working directory (default: here)")
    .option("--env <name[=value]>", "variable for the command; repeatable", collect)
    .option("--attempt-timeout <duration>", "how long one attempt may take, e.g. 10m");
  addOrderOptions(exec);
  addWaitOptions(exec).addHelpText(
    "after",
    examples(
      "holdfast exec -- git push origin main",
      "holdfast exec --name backup --retry-on 1,75 --env BACKUP_TARGET -- ./backup.sh --all",
    ),
  );
  bind(exec, async () => (await import("./enqueue.ts")).runExec);
}

function addUpload(root: Command, bind: Bind): void {
  const upload = root
    .command("upload")
    .summary("queue a file upload, resumed where it was cut")
    .description("Queues a file. Its content is kept as it is now; a cut transfer goes on where it stopped.")
    .argument("<file>", "the file")
    .argument("<url>", "tus endpoint, or the target of a PUT")
    .option("--protocol <protocol>", "tus (resumable) or put", "tus")
    .option("--reference", "do not keep a copy: read the file when it is sent, and stop if it changed")
    .option("--link", "keep a hard link instead of a copy, where the disk can")
    .option("--header <line>", 'header, "Name: value"; repeatable', collect)
    .option("--credential <name>", "credential that is put in when it is sent")
    .option("--metadata <name=value>", "tus metadata; repeatable", collect);
  addOrderOptions(upload);
  addWaitOptions(upload).addHelpText(
    "after",
    examples(
      "holdfast upload big.bin https://files.example.com/files --wait",
      "holdfast upload report.pdf https://files.example.com/reports/7.pdf --protocol put --lane reports",
    ),
  );
  bind(upload, async () => (await import("./upload.ts")).runUpload);
}

/** What every new operation can be told. */
export function addOrderOptions(command: Command): Command {
  return command
    .option("--lane <lane>", "operations of one lane go out one after the other")
    .option("--priority <n>", "higher goes first; 0 is normal, 100 for what everybody waits for")
    .option("--after <id>", "send only after these have landed; repeatable or with commas", parseList)
    .option("--at <time>", "not before: 2026-12-31T18:30, or 18:30 for the next 18:30")
    .option("--in <duration>", "not before this much time has passed, e.g. 5m")
    .option("--expires <time>", "give it up after 2d, or at a time")
    .option("--creates <local-id>", "local id that this operation creates on the server")
    .option("--group <name>", "sent in order; one refused member holds the rest")
    .option("--dedupe <key[:replace]>", "keep the first with this key, or with :replace the newest")
    .option("--draft", "keep it as a draft until `holdfast queue release`")
    .option("--subject <name>", "whose operation it is")
    .option("--retry <preset>", "default, lock, transfer or progressive, or a policy as JSON")
    .option("--on-failure <rule>", "hold (default) or skip: what its lane does when it is refused")
    .option("--on-crash <rule>", "resend (default) or ask, for effects that must never repeat")
    .option("--conflict <strategy>", "local_wins, remote_wins, merge or manual")
    .option("--title <text>", "title that lists show")
    .option("--id <uuid>", "your own UUID; makes the enqueue itself repeatable");
}

export function addWaitOptions(command: Command): Command {
  return command
    .option("--wait", "follow it until it lands; exit 0 when it did, 1 when it failed")
    .option("--timeout <duration>", "stop waiting after this; the operation stays queued");
}
