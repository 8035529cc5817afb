/**
 * Owns one run of the command: words in, exit code out. Usage errors get the same form as every other error.
 * The process around it (streams, signals, exit) is `main.ts`.
 */
import type { Command } from "commander";
import { CommanderError } from "commander";
import type { ExitCode } from "../errors.ts";
import { HoldfastError, isCode } from "../errors.ts";
import { inputHint, verbKinds } from "../verb-names.ts";
import type { Verb } from "../verbs.ts";
import { makeContext } from "./context.ts";
import type { Host } from "./host.ts";
import { noteOffline } from "./network-note.ts";
import { nearest } from "./parse.ts";
import { reportError } from "./report.ts";
import type { Run } from "./tree.ts";
import { buildTree, everyCommand } from "./tree.ts";

/** Runs the command with the words after its name and returns the exit code. */
export async function runCli(argv: readonly string[], host: Host): Promise<ExitCode> {
  if (argv[0] === "complete") return (await import("./completion.ts")).complete(argv.slice(1), host);
  const run: Run = { context: undefined, exit: 0 };
  const root = buildTree(host, run);
  for (const command of everyCommand(root)) {
    command.configureOutput({
      writeOut: (text) => host.stdout.write(text),
      // Help that was not asked for, and errors: both are told below in the form of every other error.
      writeErr: () => {},
      getOutHelpWidth: () => (host.stdout.isTty ? host.stdout.columns : 100),
      getErrHelpWidth: () => (host.stderr.isTty ? host.stderr.columns : 100),
    });
  }
  try {
    if (argv.length === 0 || argv[0] === "help") {
      findByPath(root, argv.slice(1)).outputHelp();
      return 0;
    }
    await root.parseAsync([...argv], { from: "user" });
    if (run.context !== undefined) await noteOffline(run.context);
    return run.exit;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return 0;
    const context = run.context ?? makeContext(host, guessGlobals(argv));
    return reportError(
      context,
      error instanceof CommanderError ? usageError(error, root, argv) : inWordsOfTheCommand(error, root, argv),
    );
  } finally {
    await run.context?.close().catch(() => {});
  }
}

/** The command that `holdfast help queue why` names. */
function findByPath(root: Command, words: readonly string[]): Command {
  let found = root;
  for (const word of words.filter((each) => !each.startsWith("-"))) {
    const names = found.commands.map((each) => each.name());
    const next = found.commands.find((each) => each.name() === word);
    if (next === undefined) {
      const near = nearest(word, names);
      const meant = near === undefined ? `there are ${names.join(", ")}` : `did you mean ${near}?`;
      throw new HoldfastError("invalid_input", `there is no command ${`${pathOf(found)} ${word}`.trim()}`, meant);
    }
    found = next;
  }
  return found;
}

/** Options that shape an error, read by hand where the words could not be parsed. */
function guessGlobals(argv: readonly string[]): {
  readonly json: boolean;
  readonly color: boolean;
  readonly verbose: boolean;
} {
  const own = argv.includes("--") ? argv.slice(0, argv.indexOf("--")) : argv;
  return {
    json: own.includes("--json"),
    color: !own.includes("--no-color"),
    verbose: own.includes("--verbose") || own.includes("-v"),
  };
}

function usageError(error: CommanderError, root: Command, argv: readonly string[]): HoldfastError {
  const command = commandOf(root, argv);
  const path = pathOf(command);
  const help = `holdfast help${path === "" ? "" : ` ${path}`}`;
  if (error.code === "commander.help") {
    const choices = command.commands.map((each) => each.name()).filter((name) => name !== "help");
    return new HoldfastError("invalid_input", `holdfast ${path}: which one? ${choices.join(", ")}`, `see \`${help}\``);
  }
  const [first = "", ...rest] = error.message.replace(/^error: /, "").split("\n");
  const meant = rest
    .join(" ")
    .replace(/^\(|\)$/g, "")
    .trim();
  return new HoldfastError(
    "invalid_input",
    first,
    meant === "" ? `see \`${help}\`` : `${meant.charAt(0).toLowerCase()}${meant.slice(1)} See \`${help}\``,
  );
}

/** A verb's complaint about its input names the verb, which nobody typed: here it names the command. */
function inWordsOfTheCommand(error: unknown, root: Command, argv: readonly string[]): unknown {
  if (!isCode(error, "invalid_input")) return error;
  const [verb = ""] = error.message.split(": ", 1);
  if (!Object.hasOwn(verbKinds, verb)) return error;
  const { cause, details } = error;
  return new HoldfastError(
    "invalid_input",
    error.message.slice(verb.length + 2),
    error.hint === inputHint(verb as Verb) ? `see \`holdfast help ${pathOf(commandOf(root, argv))}\`` : error.hint,
    { cause, ...(details === undefined ? {} : { details }) },
  );
}

/** The command that the words lead to, as far as they lead. */
function commandOf(root: Command, argv: readonly string[]): Command {
  let found = root;
  for (const word of argv) {
    if (word === "--") break;
    const next = found.commands.find((each) => each.name() === word);
    if (next !== undefined) found = next;
  }
  return found;
}

export function pathOf(command: Command): string {
  return command.parent === null ? "" : `${pathOf(command.parent)} ${command.name()}`.trim();
}
