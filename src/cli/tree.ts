/**
 * Owns the command's tree: its root, the options of every command, how a command is bound to its module.
 * Modules load when their command runs, so `--help` and the wrong word load none of them. The branches are in `tree-*.ts`.
 */
import { Command } from "commander";
import type { ExitCode } from "../errors.ts";
import type { Context, GlobalOptions, Handler } from "./context.ts";
import { makeContext } from "./context.ts";
import type { Host } from "./host.ts";
import { addConflictCommands } from "./tree-conflicts.ts";
import { addEnqueueCommands } from "./tree-enqueue.ts";
import { addQueueCommands } from "./tree-queue.ts";
import { addRecordCommands } from "./tree-records.ts";
import { addServerCommands } from "./tree-server.ts";
import { addStoreCommands } from "./tree-store.ts";
import { addSyncCommands } from "./tree-sync.ts";

/** Where an action leaves its context and exit code for the caller of the tree. */
export type Run = { context: Context | undefined; exit: ExitCode };

/** Binds a command to the function that its module exports. */
export type Bind = <A extends readonly unknown[], O>(command: Command, load: () => Promise<Handler<A, O>>) => Command;

export function buildTree(host: Host, run: Run): Command {
  const root = new Command("holdfast");
  const bind: Bind = (command, load) =>
    command.action(async (...parts: unknown[]) => {
      const options = command.optsWithGlobals();
      run.context = makeContext(host, options as GlobalOptions);
      const handler = await load();
      // What commander hands over is as the command's own declaration says: arguments first, then options and itself.
      run.exit = await handler(
        run.context,
        parts.slice(0, -2) as unknown as Parameters<typeof handler>[1],
        options as Parameters<typeof handler>[2],
      );
    });
  root
    .description(
      "Holds every write on this device until it lands on the server: exactly once, in order, whatever happens in between.",
    )
    .version(host.version, "-V, --version", "print the version")
    .option("--json", "one JSON document (JSON Lines for streams); errors as JSON on stderr")
    .option("--home <dir>", "data directory (default: HOLDFAST_HOME, else the platform's place)")
    .option("--no-color", "no colours (NO_COLOR does the same)")
    .option("-q, --quiet", "only the answer; ids where something was queued")
    .option("-v, --verbose", "stacks with errors")
    .helpCommand("help [command...]", "explain a command, e.g. holdfast help queue why")
    .showSuggestionAfterError()
    .addHelpText("after", rootHelp);
  addEnqueueCommands(root, bind);
  addQueueCommands(root, bind);
  addRecordCommands(root, bind);
  addConflictCommands(root, bind);
  addSyncCommands(root, bind);
  addStoreCommands(root, bind);
  addServerCommands(root, bind);
  for (const each of everyCommand(root)) prepare(each, each === root);
  return root;
}

/** The tree as a list, the root first. */
export function everyCommand(command: Command): readonly Command[] {
  return [command, ...command.commands.flatMap(everyCommand)];
}

function prepare(command: Command, isRoot: boolean): void {
  // Narrower than the library's own limit: on a narrow terminal words would break in the middle.
  command.exitOverride().configureHelp({ showGlobalOptions: true, sortSubcommands: false, minWidthToWrap: 20 });
  if (!isRoot) command.helpCommand(false);
}

const rootHelp = `
Examples:
  $ holdfast request POST https://api.example.com/notes --data @note.json
  $ holdfast upload big.bin https://files.example.com/files --wait
  $ holdfast exec --name deploy -- git push origin main
  $ holdfast status
  $ holdfast queue why 0f3a9c21

Exit codes:
  0 done or safely queued   1 failed      2 usage
  3 daemon unreachable      4 not found   5 refused by state`;
