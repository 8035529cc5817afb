/**
 * Owns the words of `holdfast conflicts` and of what `sync` keeps: arguments, options, help. What they do is in `conflicts.ts`,
 * `conflicts-decide.ts` and `sync-runs.ts`.
 */
import type { Command } from "commander";
import { examples } from "./help.ts";
import { parseList } from "./parse.ts";
import type { Bind } from "./tree.ts";

const idHelp = "id of the conflict: whole, or its beginning or end where unique (4 characters or more)";

export function addConflictCommands(root: Command, bind: Bind): void {
  const conflicts = root
    .command("conflicts")
    .summary("what needs a decision")
    .description("Shows where two sides disagree and decides it. Decisions work offline, and each can be taken back.")
    .addHelpText(
      "after",
      examples(
        "holdfast conflicts list",
        "holdfast conflicts show c0ffee01",
        "holdfast conflicts resolve c0ffee01 --choose local",
      ),
    );
  const list = addFilters(conflicts.command("list"))
    .option("--limit <n>", "how many at most; 0 for all", "50")
    .description("Lists conflicts; by default those that are open.")
    .addHelpText(
      "after",
      examples("holdfast conflicts list", "holdfast conflicts list --status resolved --collection notes"),
    );
  bind(list, async () => (await import("./conflicts.ts")).runConflictList);
  const groups = conflicts
    .command("groups")
    .option("--by <parts>", "only by these: collection, kind, field, author; with commas", parseList)
    .description("Groups the open conflicts by cause: collection, kind, fields, author.")
    .addHelpText("after", examples("holdfast conflicts groups", "holdfast conflicts groups --by collection,field"));
  bind(groups, async () => (await import("./conflicts.ts")).runConflictGroups);
  const show = conflicts
    .command("show")
    .argument("<id>", idHelp)
    .description("Shows base, local and remote side by side, with the fields in dispute marked.")
    .addHelpText("after", examples("holdfast conflicts show c0ffee01"));
  bind(show, async () => (await import("./conflicts.ts")).runConflictShow);
  const resolve = addFilters(conflicts.command("resolve"))
    .argument("[ids...]", idHelp)
    .requiredOption("--choose <side>", "local, remote, merge, or value (with --data)")
    .option("--data <json>", "with --choose value: what it becomes, as JSON: text, @file, - for stdin; null removes")
    .option(
      "--fields <names>",
      "with --choose local or remote: only these, with commas; the other side has the rest",
      parseList,
    )
    .option("--all", "every open conflict that the filters leave; asks first")
    .option("-y, --yes", "do not ask")
    .description("Decides conflicts, one or many. What loses stays in the record's history.")
    .addHelpText(
      "after",
      examples(
        "holdfast conflicts resolve c0ffee01 --choose remote",
        "holdfast conflicts resolve c0ffee01 --choose remote --fields title,stars",
        `holdfast conflicts resolve c0ffee01 --choose value --data '{"title":"Tides"}'`,
        "holdfast conflicts resolve --all --collection notes --choose local",
      ),
    );
  bind(resolve, async () => (await import("./conflicts-decide.ts")).runConflictResolve);
  addPreferring(conflicts, bind);
  const undo = conflicts
    .command("undo")
    .argument("<ids...>", idHelp)
    .description(
      "Takes decisions back: what stood before each is written again; what has changed since is left alone and named.",
    )
    .addHelpText("after", examples("holdfast conflicts undo c0ffee01"));
  bind(undo, async () => (await import("./conflicts-decide.ts")).runConflictUndo);
}

function addPreferring(conflicts: Command, bind: Bind): void {
  const prefer = conflicts
    .command("prefer")
    .argument("<collection>", "name of the collection")
    .argument("<key>", "the record's key")
    .requiredOption("--choose <side>", "local, remote or merge")
    .requiredOption(
      "--seen <version>",
      "the server's version that you have seen or heard of, as `records get` tells it there",
    )
    .description(
      "Decides beforehand, offline too, about a change that is not sent yet. It holds only if the server then has the version you name; else you are asked.",
    )
    .addHelpText("after", examples("holdfast conflicts prefer notes n1 --choose local --seen 42"));
  bind(prefer, async () => (await import("./conflicts-decide.ts")).runConflictPrefer);
}

function addFilters(command: Command): Command {
  return command
    .option("--collection <name>", "only of this collection")
    .option("--kind <kind>", "only of this kind, e.g. version_mismatch, deleted_upstream, unique_violation")
    .option("--field <field>", "only where this field is in dispute")
    .option("--author <name>", "only where this author wrote the remote side")
    .option("--key <key>", "only of this record")
    .option("--status <status>", "open, resolved or undone");
}

/** What `sync` keeps of its runs, below the command that starts one. */
export function addSyncRuns(sync: Command, bind: Bind): void {
  const runs = sync
    .command("runs")
    .option("--limit <n>", "how many at most; 0 for all", "20")
    .description("Lists the runs of synchronisation, newest first: what each moved both ways.")
    .addHelpText("after", examples("holdfast sync runs"));
  bind(runs, async () => (await import("./sync-runs.ts")).runSyncRuns);
  const rollback = sync
    .command("rollback")
    .argument("<run>", "number of the run, as `sync runs` shows it")
    .option("-y, --yes", "do not ask")
    .description("Restores what one run changed here, by new writes; what has changed since is left alone and named.")
    .addHelpText("after", examples("holdfast sync rollback 12"));
  bind(rollback, async () => (await import("./sync-runs.ts")).runSyncRollback);
}
