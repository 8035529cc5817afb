// Owns docs/cli.md as a text made of the command's own tree; reference.test.ts holds the committed file against it.
// Leaves the words to src/cli/tree-*.ts: what helps at the prompt is what stands in the document.
import type { Command } from "commander";
import { pathOf } from "../../src/cli/run.ts";
import { everyCommand } from "../../src/cli/tree.ts";
import { errorTable } from "../../src/errors.ts";

const globalOptions = new Set(["json", "home", "no-color", "quiet", "verbose", "version"]);

/** The whole document. */
export function renderReference(root: Command): string {
  const commands = everyCommand(root).filter((command) => command !== root);
  const leaves = commands.filter((command) => command.commands.length === 0);
  const nouns = root.commands;
  return `${[
    "# The command line",
    "Made from the command itself; `npx vitest run --project cli -u` writes it anew. Every command takes the options of every command; `holdfast help …` says the same in the terminal.",
    "```text\nholdfast request POST https://api.example.com/notes --data @note.json\nholdfast status\n```",
    "## Options of every command",
    optionTable(root),
    "## Exit codes",
    exitTable(),
    "## Short ids and times",
    "People see the last 8 hex digits of an id; every command takes a whole id, or its beginning or end (4 characters or more) where that is unique. Durations are written `500ms`, `30s`, `5m`, `2h`, `1h30m`, `2d`, `1w`; times `2026-12-31T18:30`, `2026-12-31T18:30Z`, or `18:30` for the next 18:30.",
    "## JSON",
    "With `--json` a command prints one JSON document: the answer of its verb. `queue watch` prints one event per line, `queue export` one operation per line, `daemon logs` one log entry per line. An error is one JSON document on stderr with `code`, `message` and `hint`.",
    "## Commands",
    nouns
      .map(
        (noun) => `- [\`holdfast ${noun.name()}\`](#holdfast-${noun.name()}): ${noun.summary() || noun.description()}`,
      )
      .join("\n"),
    ...nouns.map((noun) => section(noun, leaves)),
  ].join("\n\n")}\n`;
}

function section(noun: Command, leaves: readonly Command[]): string {
  if (noun.commands.length === 0) return `## holdfast ${noun.name()}\n\n${body(noun)}`;
  const own = leaves.filter((leaf) => leaf.parent === noun);
  return [
    `## holdfast ${noun.name()}`,
    // A noun that does something by itself has options of its own.
    ownOptions(noun).length > 0 ? body(noun) : noun.description(),
    ...own.map((leaf) => `### holdfast ${pathOf(leaf)}\n\n${body(leaf)}`),
  ].join("\n\n");
}

function body(command: Command): string {
  const words = command.registeredArguments.map((each) =>
    each.required ? `<${each.name()}${each.variadic ? "..." : ""}>` : `[${each.name()}${each.variadic ? "..." : ""}]`,
  );
  const usage = [
    "holdfast",
    pathOf(command),
    ...words,
    ...(ownOptions(command).length === 0 ? [] : ["[options]"]),
  ].join(" ");
  const parts = [command.description(), `\`${usage}\``];
  if (words.length > 0)
    parts.push(command.registeredArguments.map((each) => `- \`${each.name()}\`: ${each.description}`).join("\n"));
  if (ownOptions(command).length > 0) parts.push(optionTable(command));
  parts.push(`\`\`\`text\n${examplesOf(command).join("\n")}\n\`\`\``);
  return parts.join("\n\n");
}

function ownOptions(command: Command): Command["options"] {
  return command.options.filter((option) => command.parent === null || !globalOptions.has(option.long?.slice(2) ?? ""));
}

function optionTable(command: Command): string {
  const rows = ownOptions(command).map((option) => {
    const standard =
      option.defaultValue === undefined || option.negate ? "" : ` (default \`${String(option.defaultValue)}\`)`;
    return `| \`${option.flags.replaceAll("|", "\\|")}\` | ${option.description.replaceAll("|", "\\|")}${option.mandatory ? "; required" : ""}${standard} |`;
  });
  return ["| option | meaning |", "|---|---|", ...rows].join("\n");
}

/** The examples as the help prints them. */
export function examplesOf(command: Command): readonly string[] {
  let text = "";
  command.configureOutput({ writeOut: (part) => (text += part) });
  command.outputHelp();
  return text
    .split("\n")
    .filter((line) => line.startsWith("  $ "))
    .map((line) => line.slice(4));
}

function exitTable(): string {
  const meaning = ["done, or safely queued", "failed", "usage", "daemon unreachable", "not found", "refused by state"];
  const codesOf = (exit: number): string =>
    Object.entries(errorTable)
      .filter(([, traits]) => traits.exit === exit)
      .map(([code]) => `\`${code}\``)
      .join(", ");
  return [
    "| code | meaning | error codes |",
    "|---|---|---|",
    ...meaning.map((words, exit) => `| ${exit} | ${words} | ${codesOf(exit)} |`),
  ].join("\n");
}
