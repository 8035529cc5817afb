/**
 * Owns the words of `holdfast queue …`: arguments, options, help. What they do is in `queue-read.ts`, `queue-change.ts`,
 * `queue-transfer.ts` and `queue-watch.ts`.
 */
import type { Command } from "commander";
import { examples } from "./help.ts";
import { parseList } from "./parse.ts";
import type { Bind } from "./tree.ts";
import { addOrderOptions, addWaitOptions } from "./tree-enqueue.ts";

const idHelp = "whole id, or its beginning or end where unique (4 characters or more)";

export function addQueueCommands(root: Command, bind: Bind): void {
  const queue = root
    .command("queue")
    .summary("look into the queue, change it, rescue it")
    .description(
      "Looks into the queue, explains it, changes it, rescues it. Nothing unsent is deleted without a question.",
    )
    .addHelpText(
      "after",
      examples("holdfast queue list", "holdfast queue why 0f3a9c21", "holdfast queue retry 0f3a9c21"),
    );
  addReading(queue, bind);
  addAdding(queue, bind);
  addChanging(queue, bind);
  addReordering(queue, bind);
  addRemoving(queue, bind);
  addPausing(queue, bind);
  addTransfer(queue, bind);
}

function addFilters(command: Command): Command {
  return command
    .option(
      "--status <statuses>",
      "draft, pending, in_progress, completed, failed, cancelled, expired; with commas",
      parseList,
    )
    .option("--lane <lane>", "only this lane")
    .option("--type <type>", "only this type, e.g. http.request")
    .option("--remote <origin>", "only this remote, e.g. https://api.example.com")
    .option("--reason <reason>", "only what waits for this reason, e.g. network, conflict, rejected")
    .option("--subject <name>", "only this subject's")
    .option("--group <name>", "only this group");
}

function addReading(queue: Command, bind: Bind): void {
  const status = queue
    .command("status")
    .description("Counts, what goes next, and what to do about failures.")
    .addHelpText("after", examples("holdfast queue status", "holdfast queue status --json | jq .counts"));
  bind(status, async () => (await import("./queue-read.ts")).runQueueStatus);
  const list = addFilters(
    queue
      .command("list")
      .description("Lists operations; by default those that are not finished, in the order in which they go out."),
  )
    .option("--all", "finished ones too")
    .option("--order <order>", "run (as they will be sent), oldest or newest")
    .option("--limit <n>", "how many at most; 0 for all", "50")
    .addHelpText(
      "after",
      examples(
        "holdfast queue list",
        "holdfast queue list --status failed --reason conflict",
        "holdfast queue list --all --order newest --limit 200",
        "holdfast queue list --lane notes --json",
      ),
    );
  bind(list, async () => (await import("./queue-read.ts")).runList);
  const show = queue
    .command("show")
    .argument("<id>", idHelp)
    .description("Shows one operation in full.")
    .addHelpText("after", examples("holdfast queue show 0f3a9c21"));
  bind(show, async () => (await import("./queue-read.ts")).runShow);
  const why = queue
    .command("why")
    .argument("<id>", idHelp)
    .description("Explains in one sentence what an operation waits for, since when, and when it will next move.")
    .addHelpText("after", examples("holdfast queue why 0f3a9c21"));
  bind(why, async () => (await import("./queue-read.ts")).runWhy);
  const history = queue
    .command("history")
    .argument("<id>", idHelp)
    .option("--limit <n>", "how many entries at most", "100")
    .description("Shows everything that happened to an operation.")
    .addHelpText("after", examples("holdfast queue history 0f3a9c21"));
  bind(history, async () => (await import("./queue-read.ts")).runHistory);
  const watch = addFilters(
    queue.command("watch").description("Shows the queue live in a terminal; prints one event per line elsewhere."),
  )
    .option("--after <sequence>", "begin with the events after this one (--json and pipes)")
    .addHelpText(
      "after",
      examples("holdfast queue watch", "holdfast queue watch --json | jq -c 'select(.kind == \"settled\")'"),
    );
  bind(watch, async () => (await import("./queue-watch.ts")).runWatch);
}

function addAdding(queue: Command, bind: Bind): void {
  const add = queue
    .command("add")
    .description("Queues an operation of any type.")
    .requiredOption("--type <type>", "operation type, also one of your own")
    .requiredOption("--payload <json>", "payload as JSON: text, @file, or - for stdin")
    .option("--remote <origin>", "what it is sent to; its reachability gates it");
  addOrderOptions(add);
  addWaitOptions(add).addHelpText(
    "after",
    examples("holdfast queue add --type note.save --payload @note.json --lane notes"),
  );
  bind(add, async () => (await import("./enqueue.ts")).runAdd);
}

function addChanging(queue: Command, bind: Bind): void {
  const edit = queue
    .command("edit")
    .argument("<id>", idHelp)
    .description("Changes an operation that is not being sent. Without options it opens the payload in $EDITOR.")
    .option("--payload <json>", "new payload as JSON: text, @file, or - for stdin")
    .option("--priority <n>", "new priority")
    .option("--at <time>", "not before this time; `now` takes the time away")
    .option("--expires <time>", "give it up after 2d or at a time; `never` takes it away")
    .option("--retry <preset>", "new retry preset, or a policy as JSON")
    .option("--conflict <strategy>", "new strategy; `default` takes it away")
    .option("--title <text>", "new title")
    .option("--revision <n>", "refuse when somebody edited it since this revision")
    .option("--force", "edit the payload although an earlier attempt may have landed")
    .addHelpText(
      "after",
      examples(
        "holdfast queue edit 0f3a9c21 --payload @fixed.json",
        "holdfast queue edit 0f3a9c21 --priority 50 --expires 2h",
      ),
    );
  bind(edit, async () => (await import("./queue-edit.ts")).runEdit);
  const retry = addFilters(
    queue
      .command("retry")
      .argument("[ids...]", idHelp)
      .description("Tries failed operations again, or waiting ones now."),
  )
    .option("--all", "everything that failed")
    .addHelpText(
      "after",
      examples(
        "holdfast queue retry 0f3a9c21",
        "holdfast queue retry --all",
        "holdfast queue retry --remote https://api.example.com --status failed",
      ),
    );
  bind(retry, async () => (await import("./queue-change.ts")).runRetry);
}

function addReordering(queue: Command, bind: Bind): void {
  const move = queue
    .command("move")
    .argument("<id>", idHelp)
    .description("Reorders an operation within its lane or moves it to another.")
    .option("--first", "to the head of its lane")
    .option("--last", "to the end of its lane")
    .option("--before <id>", "in front of another one")
    .option("--after <id>", "behind another one")
    .option("--lane <lane>", "to another lane; an empty name takes it out of its lane")
    .addHelpText(
      "after",
      examples("holdfast queue move 0f3a9c21 --first", "holdfast queue move 0f3a9c21 --after 77aa01bc"),
    );
  bind(move, async () => (await import("./queue-change.ts")).runMove);
  const detach = queue
    .command("detach")
    .argument("<id>", idHelp)
    .option("--from <ids>", "only from these; with commas", parseList)
    .description("Frees an operation from what it depends on.")
    .addHelpText("after", examples("holdfast queue detach 0f3a9c21"));
  bind(detach, async () => (await import("./queue-change.ts")).runDetach);
  const release = queue
    .command("release")
    .argument("<ids...>", idHelp)
    .description("Submits drafts.")
    .addHelpText("after", examples("holdfast queue release 0f3a9c21"));
  bind(release, async () => (await import("./queue-change.ts")).runRelease);
  const resolve = queue
    .command("resolve")
    .argument("<ids...>", idHelp)
    .description("Decides parked conflicts: send ours, keep the remote's, or send a merged payload.")
    .requiredOption("--choose <side>", "local, remote or merge")
    .option("--payload <json>", "the merged payload as JSON: text, @file, or - for stdin")
    .addHelpText(
      "after",
      examples(
        "holdfast queue resolve 0f3a9c21 --choose remote",
        "holdfast queue resolve 0f3a9c21 --choose merge --payload @merged.json",
      ),
    );
  bind(resolve, async () => (await import("./queue-change.ts")).runResolve);
}

function addRemoving(queue: Command, bind: Bind): void {
  const cancel = queue
    .command("cancel")
    .argument("<ids...>", idHelp)
    .option("--dependents <rule>", "hold (default), cancel or detach what waits for it")
    .description("Gives operations up; they stay visible as cancelled.")
    .addHelpText(
      "after",
      examples("holdfast queue cancel 0f3a9c21", "holdfast queue cancel 0f3a9c21 --dependents cancel"),
    );
  bind(cancel, async () => (await import("./queue-change.ts")).runCancel);
  const remove = queue
    .command("remove")
    .argument("<ids...>", idHelp)
    .option("-y, --yes", "also when they are unsent")
    .description("Deletes operations from the store; asks before an unsent one is lost.")
    .addHelpText("after", examples("holdfast queue remove 0f3a9c21"));
  bind(remove, async () => (await import("./queue-clear.ts")).runRemove);
  const clear = addClearOptions(queue.command("clear"))
    .option("--all", "unsent operations too, after a question")
    .description(
      "Deletes completed operations; with --all everything, after saying how many unsent operations would be lost.",
    )
    .addHelpText("after", examples("holdfast queue clear", "holdfast queue clear --all --export saved.jsonl --yes"));
  bind(clear, async () => (await import("./queue-clear.ts")).runClear);
}

/** For what may lose unsent work. */
export function addClearOptions(command: Command): Command {
  return command.option("-y, --yes", "do not ask").option("--export <file>", "save everything to a file first");
}

function addPausing(queue: Command, bind: Bind): void {
  const scope = (command: Command): Command =>
    command
      .option("--lane <lane>", "only this lane")
      .option("--type <type>", "only this type")
      .option("--remote <origin>", "only this remote");
  const pause = scope(queue.command("pause").description("Stops sending a lane, a type, a remote, or everything."))
    .option("--reason <text>", "why, for those who wonder later")
    .addHelpText("after", examples("holdfast queue pause", "holdfast queue pause --lane notes --reason maintenance"));
  bind(pause, async () => (await import("./queue-change.ts")).runPause);
  const resume = scope(queue.command("resume").description("Ends a pause.")).addHelpText(
    "after",
    examples("holdfast queue resume", "holdfast queue resume --lane notes"),
  );
  bind(resume, async () => (await import("./queue-change.ts")).runResume);
}

function addTransfer(queue: Command, bind: Bind): void {
  const save = addFilters(queue.command("export").description("Writes operations as JSON Lines."))
    .option("--redact", "leave out what may be secret: payloads' sensitive fields, headers")
    .option("-o, --output <file>", "to a file instead of stdout")
    .option("--force", "replace the file when it is there")
    .addHelpText(
      "after",
      examples(
        "holdfast queue export -o saved.jsonl",
        "holdfast queue export --status failed --redact > for-support.jsonl",
      ),
    );
  bind(save, async () => (await import("./queue-transfer.ts")).runExport);
  const load = queue
    .command("import")
    .argument("<file>", "exported file, or - for stdin")
    .option("--subject <name>", "give the operations to this subject")
    .description("Reads exported operations; those that are here already are left alone.")
    .addHelpText(
      "after",
      examples("holdfast queue import saved.jsonl", "ssh other holdfast queue export | holdfast queue import -"),
    );
  bind(load, async () => (await import("./queue-transfer.ts")).runImport);
}
