/**
 * Owns the words of `holdfast server`: arguments, options, help. What they do is `server.ts`.
 */
import type { Command } from "commander";
import { examples } from "./help.ts";
import { collect } from "./parse.ts";
import type { Bind } from "./tree.ts";

export function addServerCommands(root: Command, bind: Bind): void {
  const server = root
    .command("server")
    .summary("the sync server")
    .description("The server that records sync through: on a database of its own, or on PostgreSQL.")
    .addHelpText("after", examples("holdfast server run", "holdfast server token add ana --space main"));
  const run = placed(server.command("run"))
    .option("--port <n>", "TCP port (default: 4700; 0: any free one)")
    .option("--host <address>", "address to listen on (default: 127.0.0.1)")
    .description(
      "Runs the server in the foreground until it is told to stop. Without a configuration it accepts every collection, for development.",
    )
    .addHelpText(
      "after",
      examples(
        "holdfast server run",
        "holdfast server run --config holdfast.server.ts",
        "HOLDFAST_DATABASE=postgres://holdfast@db/holdfast holdfast server run",
      ),
    );
  bind(run, async () => (await import("./server.ts")).runServer);
  addTokens(server, bind);
  addAccounts(server, bind);
  addBackups(server, bind);
}

/** Where the database lies. */
function placed(command: Command): Command {
  return command
    .option("--database <url>", "PostgreSQL database, e.g. postgres://user@host/name (default: HOLDFAST_DATABASE)")
    .option("--data <dir>", "directory of the embedded database")
    .option("--config <file>", "configuration file (default: holdfast.server.ts, .mjs, .js or .json here)");
}

function addTokens(server: Command, bind: Bind): void {
  const token = server
    .command("token")
    .summary("who may use the server")
    .description("Static tokens. Only their hashes are kept, so a token is shown once.")
    .addHelpText("after", examples("holdfast server token list"));
  const add = placed(token.command("add"))
    .argument("<subject>", "whose token it is")
    .option("--space <name>", "a space that it opens, * for all; repeatable", collect)
    .option("--role <name>", "a role in these spaces; repeatable", collect)
    .option("--name <text>", "what it is for")
    .option("--expires <duration>", "how long it is valid, e.g. 90d")
    .description("Makes a token and prints it.")
    .addHelpText("after", examples("holdfast server token add ana --space main --role writer --expires 90d"));
  bind(add, async () => (await import("./server.ts")).runTokenAdd);
  const list = placed(token.command("list"))
    .description("Lists tokens; never what opens something.")
    .addHelpText("after", examples("holdfast server token list"));
  bind(list, async () => (await import("./server.ts")).runTokenList);
  const revoke = placed(token.command("revoke"))
    .argument("<id>", "its short name in the list")
    .description("Makes a token worthless at once.")
    .addHelpText("after", examples("holdfast server token revoke 3f9a1c22b0de"));
  bind(revoke, async () => (await import("./server.ts")).runTokenRevoke);
}

function addAccounts(server: Command, bind: Bind): void {
  const suspend = placed(server.command("suspend"))
    .argument("<subject>", "the account")
    .option("--reason <text>", "told to its clients")
    .description("Refuses an account, whatever its tokens say. Its clients stop, keep everything and can export it.")
    .addHelpText("after", examples('holdfast server suspend ana --reason "left the company"'));
  bind(suspend, async () => (await import("./server.ts")).runSuspend);
  const suspended = placed(server.command("suspended"))
    .description("Lists the suspended accounts: since when, and the reason that their clients are told.")
    .addHelpText("after", examples("holdfast server suspended"));
  bind(suspended, async () => (await import("./server.ts")).runSuspended);
  const reinstate = placed(server.command("reinstate"))
    .argument("<subject>", "the account")
    .description("Lets a suspended account in again.")
    .addHelpText("after", examples("holdfast server reinstate ana"));
  bind(reinstate, async () => (await import("./server.ts")).runReinstate);
}

function addBackups(server: Command, bind: Bind): void {
  const backup = placed(server.command("backup"))
    .argument("<file>", "a new file")
    .description("Writes a consistent copy of the embedded database while the server runs.")
    .addHelpText("after", examples("holdfast server backup /backups/server-monday.db"));
  bind(backup, async () => (await import("./server.ts")).runBackup);
  const restore = placed(server.command("restore"))
    .argument("[file]", "a file that backup wrote")
    .option("--history", "only give the spaces a new history, after PostgreSQL was restored by its own means")
    .description(
      "Puts a backup in the place of the database of a stopped server. Clients read everything again and keep what is unsent.",
    )
    .addHelpText("after", examples("holdfast server restore /backups/server-monday.db"));
  bind(restore, async () => (await import("./server.ts")).runRestore);
  const compact = placed(server.command("compact"))
    .description("Forgets old removals and receipts now; a running server does it every hour.")
    .addHelpText("after", examples("holdfast server compact"));
  bind(compact, async () => (await import("./server.ts")).runCompact);
}
