/**
 * Owns the words of `credentials`, `settings`, `config`, `doctor`, `daemon` and `completion`: arguments, options, help.
 * What they do is in the files of their names.
 */
import type { Command } from "commander";
import { examples } from "./help.ts";
import { collect } from "./parse.ts";
import type { Bind } from "./tree.ts";

export function addStoreCommands(root: Command, bind: Bind): void {
  addCredentials(root, bind);
  addSettings(root, bind);
  addConfig(root, bind);
  addDaemon(root, bind);
  const doctor = root
    .command("doctor")
    .summary("check everything and say what to do")
    .description(
      "Checks Node, the data directory, the disk, the daemon, the store, the clock and the remotes; every finding says what to do.",
    )
    .addHelpText("after", examples("holdfast doctor", "holdfast doctor --json"));
  bind(doctor, async () => (await import("./doctor.ts")).runDoctor);
  const completion = root
    .command("completion")
    .argument("<shell>", "bash, zsh or fish")
    .summary("completion script for bash, zsh or fish")
    .description("Prints a completion script. Ids and lanes are completed from the running queue.")
    .addHelpText(
      "after",
      examples(
        "source <(holdfast completion bash)",
        "source <(holdfast completion zsh)",
        "holdfast completion fish | source",
      ),
    );
  bind(completion, async () => (await import("./completion.ts")).runCompletion);
}

function addCredentials(root: Command, bind: Bind): void {
  const credentials = root
    .command("credentials")
    .summary("secrets that requests use by name")
    .description(
      "Keeps secrets that requests name with --credential. They are put in when a request is sent, never stored with it, never shown.",
    )
    .addHelpText("after", examples("holdfast credentials list"));
  const set = credentials
    .command("set")
    .argument("<name>", "the name that requests use")
    .option(
      "--origin <origin>",
      "send it only to this origin, e.g. https://*.example.com; repeatable; default: the sync server's",
      collect,
    )
    .option("--basic <username>", "the value is the password of this user (HTTP Basic)")
    .option("--header <name>", "send the value in this header instead of as a bearer token")
    .option("--subject <name>", "only for this subject's operations")
    .description(
      "Stores a secret. Its value comes from a prompt or stdin, never from an argument: arguments are visible to every user.",
    )
    .addHelpText(
      "after",
      examples(
        "holdfast credentials set api --origin https://api.example.com",
        "pass show api-token | holdfast credentials set api --origin https://api.example.com",
        "holdfast credentials set sync",
      ),
    );
  bind(set, async () => (await import("./credentials.ts")).runSet);
  const list = credentials
    .command("list")
    .description("Lists names and where they may go; never values.")
    .addHelpText("after", examples("holdfast credentials list"));
  bind(list, async () => (await import("./credentials.ts")).runList);
  const remove = credentials
    .command("remove")
    .argument("<name>", "the name")
    .option("--subject <name>", "this subject's own")
    .description("Forgets a secret.")
    .addHelpText("after", examples("holdfast credentials remove api"));
  bind(remove, async () => (await import("./credentials.ts")).runRemove);
}

function addSettings(root: Command, bind: Bind): void {
  const settings = root
    .command("settings")
    .summary("settings that change while it runs")
    .description(
      "Settings that are kept in the store and change while it runs: strategies, limits, retention, sync mode.",
    )
    .addHelpText("after", examples("holdfast settings get", "holdfast settings set syncMode periodic"));
  const get = settings
    .command("get")
    .argument("[name]", "one setting, e.g. syncMode")
    .description("Shows the settings in force.")
    .addHelpText("after", examples("holdfast settings get", "holdfast settings get retainCount"));
  bind(get, async () => (await import("./settings.ts")).runGet);
  const set = settings
    .command("set")
    .argument("<name>", "the setting, e.g. conflict or conflictByType.http.request")
    .argument("<value>", "its value; JSON where it is no plain word")
    .description("Changes a setting.")
    .addHelpText(
      "after",
      examples(
        "holdfast settings set conflict local_wins",
        "holdfast settings set conflictByType.http.request manual",
        "holdfast settings set maxOperations 200000",
      ),
    );
  bind(set, async () => (await import("./settings.ts")).runSet);
}

function addConfig(root: Command, bind: Bind): void {
  const config = root
    .command("config")
    .summary("the configuration file")
    .description(
      "Reads and writes config.toml in the data directory. A running daemon takes up a change at once, all but where it listens.",
    )
    .addHelpText("after", examples("holdfast config list", "holdfast config path"));
  const get = config
    .command("get")
    .argument("<key>", "dotted key, e.g. daemon.port")
    .description("Shows one value and where it comes from.")
    .addHelpText("after", examples("holdfast config get daemon.port"));
  bind(get, async () => (await import("./config.ts")).runGet);
  const set = config
    .command("set")
    .argument("<key>", "dotted key")
    .argument("<value>", "its value; JSON where it is no plain word")
    .description("Writes one value; the rest of the file stays.")
    .addHelpText("after", examples("holdfast config set daemon.port 4780"));
  bind(set, async () => (await import("./config.ts")).runSet);
  const list = config
    .command("list")
    .description("Shows every value in force and where it comes from.")
    .addHelpText("after", examples("holdfast config list"));
  bind(list, async () => (await import("./config.ts")).runList);
  const path = config
    .command("path")
    .description("Prints where the file is.")
    .addHelpText("after", examples('$EDITOR "$(holdfast config path)"'));
  bind(path, async () => (await import("./config.ts")).runPath);
}

function addDaemon(root: Command, bind: Bind): void {
  const daemon = root
    .command("daemon")
    .summary("the process that sends")
    .description("The process that keeps the queue and sends it. Other commands start it when they need it.")
    .addHelpText("after", examples("holdfast daemon status", "holdfast daemon logs --follow"));
  const options = (command: Command): Command =>
    command
      .option("--port <n>", "TCP port on the loopback (default: any free one)")
      .option("--host <address>", "loopback address to listen on");
  const run = options(
    daemon.command("run").description("Runs in the foreground until it is told to stop."),
  ).addHelpText("after", examples("holdfast daemon run"));
  bind(run, async () => (await import("./daemon.ts")).runRun);
  const start = options(
    daemon.command("start").description("Starts it in the background; does nothing when it runs."),
  ).addHelpText("after", examples("holdfast daemon start"));
  bind(start, async () => (await import("./daemon.ts")).runStart);
  const stop = daemon
    .command("stop")
    .option("--force", "end it when it does not stop by itself; nothing that was acknowledged is lost")
    .description("Stops it gracefully; what is queued stays.")
    .addHelpText("after", examples("holdfast daemon stop"));
  bind(stop, async () => (await import("./daemon.ts")).runStop);
  const status = daemon
    .command("status")
    .description("Tells whether it runs and where; exit 3 when it does not.")
    .addHelpText("after", examples("holdfast daemon status"));
  bind(status, async () => (await import("./daemon.ts")).runStatus);
  const logs = daemon
    .command("logs")
    .option("-f, --follow", "go on with what comes")
    .option("-n, --lines <n>", "how many lines from the end", "50")
    .description("Shows its log; secrets are not in it.")
    .addHelpText("after", examples("holdfast daemon logs -n 200", "holdfast daemon logs --follow"));
  bind(logs, async () => (await import("./daemon.ts")).runLogs);
}
