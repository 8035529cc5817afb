/**
 * Owns completion: the scripts for the shells and the candidates they ask for. Ids, lanes, types and remotes come from the
 * running queue; completing never starts a daemon, and gives up quickly. `@bomb.sh/tab` knows the shells and lives only here.
 */

import type { RootCommand } from "@bomb.sh/tab";
import tab from "@bomb.sh/tab";
import type { Command } from "commander";
import { choices, conflictKinds, conflictStatuses } from "../conflict.ts";
import type { ExitCode } from "../errors.ts";
import { reasons, statuses, strategies } from "../operation.ts";
import { recordStates } from "../record.ts";
import { retryPresets } from "../retry.ts";
import type { Output } from "../verbs.ts";
import { bashScript } from "./bash-script.ts";
import { groupParts } from "./conflicts.ts";
import type { Handler } from "./context.ts";
import type { Host } from "./host.ts";
import { parseChoice } from "./parse.ts";
import { pathOf } from "./run.ts";
import type { Operation } from "./session.ts";
import { plain, shortId, truncate } from "./text.ts";
import { buildTree, everyCommand } from "./tree.ts";

const shells = ["bash", "zsh", "fish"] as const;
const liveTimeoutMs = 400;
const liveLimit = 100;

export const runCompletion: Handler<[string], object> = async (context, [shell]) => {
  const chosen = parseChoice(shell, "completion", shells);
  const script = chosen === "bash" ? bashScript : await capture(() => tab.setup("holdfast", "holdfast", chosen));
  context.answer({ shell: chosen, script }, () => script);
  return 0;
};

/** Answers `holdfast complete -- words…` in the form that the scripts read. */
export async function complete(argv: readonly string[], host: Host): Promise<ExitCode> {
  const words = argv[0] === "--" ? argv.slice(1) : argv;
  const root = buildTree(host, { context: undefined, exit: 0 });
  const live = await readLive(host, homeOf(words));
  // Behind -- stands a command of somebody else's.
  const place = { isFile: words.slice(0, -1).includes("--") };
  fill(tab, root, { ...live, names: await namesFor(words) }, place);
  const said = await capture(() => tab.parse([...words]));
  host.stdout.write(`${place.isFile ? said.replace(noFiles, anyFile) : said}\n`);
  return 0;
}

/** What the last line tells the shell when it has no candidate: to offer nothing, or files. The library always says the first. */
const noFiles = /:4$/;
const anyFile = ":0";

/** Learnt while the library looks for what may stand where the person is: whether a file may. */
type Place = { isFile: boolean };

type Conflict = Output<"conflicts.list">["conflicts"][number];
type Live = {
  /** Keys of the configuration, or settings, where one of them is to be named. */
  readonly names: readonly string[];
  readonly operations: readonly Operation[];
  readonly conflicts: readonly Conflict[];
  readonly remotes: readonly string[];
  readonly collections: readonly string[];
};

function homeOf(words: readonly string[]): string | undefined {
  const joined = words.find((word) => word.startsWith("--home="));
  const at = words.indexOf("--home");
  return joined?.slice("--home=".length) ?? (at === -1 ? undefined : words[at + 1]);
}

async function readLive(host: Host, home: string | undefined): Promise<Live> {
  const nothing: Live = { names: [], operations: [], conflicts: [], remotes: [], collections: [] };
  const end = new AbortController();
  const read = async (): Promise<Live> => {
    const session = await host.openSession({ home, canStart: false, timeoutMs: liveTimeoutMs });
    try {
      const { operations } = await session.call("queue.list", { order: "newest", limit: liveLimit });
      const { remotes } = await session.call("network.status", {});
      // A daemon that was started before records were known still has a queue to tell of.
      const { collections } = await session.call("collections.list", {}).catch(() => ({ collections: [] }));
      const { conflicts } = await session.call("conflicts.list", { limit: liveLimit }).catch(() => ({ conflicts: [] }));
      return {
        ...nothing,
        operations,
        conflicts,
        remotes: remotes.map(({ remote }) => remote),
        collections: collections.map(({ spec }) => spec.name),
      };
    } finally {
      await session.close();
    }
  };
  const giveUp = host.sleep(liveTimeoutMs, end.signal).then(() => nothing);
  // A shell waits for the answer: whatever goes wrong, there are just no live candidates.
  const live = await Promise.race([read().catch(() => nothing), giveUp]);
  end.abort();
  return live;
}

/** Loaded only for who asks: they come with the schemas, which would make every other completion slower. */
async function namesFor(words: readonly string[]): Promise<readonly string[]> {
  if (words.includes("settings")) return Object.keys((await import("../shapes.ts")).defaultSettings);
  if (!words.includes("config")) return [];
  return (await import("../config.ts")).configKeys.map(({ key }) => key).filter((key) => !key.includes("<"));
}

type Candidate = { readonly value: string; readonly description: string };
type Offer = (complete: (value: string, description: string) => void) => void;

/** Tells the completer about every command with its options, arguments and live values. */
function fill(completer: RootCommand, root: Command, live: Live, place: Place): void {
  const file: Offer = () => {
    place.isFile = true;
  };
  const nothing: Offer = () => {};

  for (const command of everyCommand(root)) {
    const path = pathOf(command);
    const entry = path === "" ? completer : completer.command(path, command.summary() || command.description());
    for (const option of [...command.options, ...(path === "" ? [] : root.options)]) {
      const name = option.long?.slice(2);
      if (name === undefined) continue;
      const short = option.short?.slice(1);
      const takesValue = option.required || option.optional;
      const other = /<(file|dir)>/.test(option.flags) ? file : nothing;
      const offer = takesValue ? (offerFor(path, name, live) ?? other) : undefined;
      if (offer === undefined) entry.option(name, option.description, short);
      else entry.option(name, option.description, offer, short);
    }
    for (const argument of command.registeredArguments) {
      const other = argument.name() === "file" ? file : nothing;
      entry.argument(argument.name(), offerFor(path, argument.name(), live) ?? other, argument.variadic);
    }
  }
}

/** The values of an option or argument; where a command has its own, its path stands before the name. */
const fixed: Readonly<Record<string, readonly string[]>> = {
  method: ["GET", "POST", "PUT", "PATCH", "DELETE"],
  protocol: ["tus", "put"],
  expect: ["json", "any"],
  status: statuses,
  reason: reasons,
  retry: Object.keys(retryPresets),
  "on-failure": ["hold", "skip"],
  "on-crash": ["resend", "ask"],
  conflict: strategies,
  choose: ["local", "remote", "merge"],
  "conflicts resolve choose": choices,
  "conflicts list status": conflictStatuses,
  "conflicts resolve status": conflictStatuses,
  "conflicts groups by": groupParts,
  "sync resolve": ["local", "remote", "merge"],
  state: recordStates,
  kind: conflictKinds,
  strategy: strategies,
  dependents: ["hold", "cancel", "detach"],
  "queue list order": ["run", "oldest", "newest"],
  shell: shells,
};

function offerFor(path: string, name: string, live: Live): Offer | undefined {
  const known = fixed[`${path} ${name}`] ?? fixed[name];
  const values = known?.map((value) => ({ value, description: "" })) ?? liveCandidates(path, name, live);
  if (values === undefined) return undefined;
  return (complete) => {
    for (const { value, description } of values) complete(value, description);
  };
}

function liveCandidates(path: string, name: string, live: Live): readonly Candidate[] | undefined {
  const { operations, conflicts, remotes, collections } = live;
  // A sequence, and no operation.
  if (path === "queue watch" && name === "after") return undefined;
  if (path.startsWith("server ")) return undefined;
  const isName = (path.startsWith("config ") && name === "key") || (path.startsWith("settings ") && name === "name");
  if (isName) return named(live.names, "");
  if (path.startsWith("conflicts ") && (name === "id" || name === "ids"))
    return conflicts.map((each) => ({
      value: shortId(each.id),
      description: truncate(`${each.status} ${plain(`${each.collection} ${each.key}`)}`, 60),
    }));
  switch (name) {
    case "id":
    case "ids":
    case "after":
    case "before":
    case "from":
      return operations.map((each) => ({
        value: shortId(each.id),
        description: truncate(`${each.status} ${plain(each.title)}`, 60),
      }));
    case "collection":
      return named(collections, "collection");
    case "lane":
      return named(
        operations.flatMap(({ lane }) => lane ?? []),
        "lane",
      );
    case "type":
      return named([...builtInTypes, ...operations.map(({ type }) => type)], "type");
    case "remote":
      return named(remotes, "remote");
    default:
      return undefined;
  }
}

const builtInTypes = ["http.request", "file.upload", "command.run"] as const;

/** Names that every shell takes as one word as they are, each once: others write to the queue, and shells put in what is offered unquoted. */
function named(values: readonly string[], description: string): readonly Candidate[] {
  return [...new Set(values)]
    .filter((value) => /^[\p{L}\p{N}_.,:@%+/][\p{L}\p{N}_.,:@%+/=-]*$/u.test(value))
    .map((value) => ({ value, description }));
}

/** The library prints; what it prints belongs to our own stream. */
async function capture(print: () => void): Promise<string> {
  const lines: string[] = [];
  const { log } = console;
  console.log = (...parts: unknown[]) => void lines.push(parts.map(String).join(" "));
  try {
    print();
  } finally {
    console.log = log;
  }
  return lines.join("\n");
}
