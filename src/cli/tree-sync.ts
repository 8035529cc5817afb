/**
 * Owns the words of `sync`, `network`, `subject` and `ids`: arguments, options, help. What they do is in the files of their names.
 */
import type { Command } from "commander";
import { examples } from "./help.ts";
import type { Bind } from "./tree.ts";
import { addSyncRuns } from "./tree-conflicts.ts";
import { addClearOptions } from "./tree-queue.ts";

export function addSyncCommands(root: Command, bind: Bind): void {
  const sync = addClearOptions(root.command("sync"))
    .summary("send what is pending now")
    .description("Sends what is pending now. Failed operations remain queued.")
    .option("--wait", "follow it to its end; exit 1 when something failed or remains, 5 when somebody must act first")
    .option("--timeout <duration>", "stop waiting after this")
    .option("--all", "send everything, read every collection again, and wait for both")
    .option(
      "--resolve <side>",
      "with --all: decide every open conflict for local, remote or merge, and send that; asks first",
    )
    .option("--status", "tell what the present or last run did")
    .option("--retry-failed", "try failed operations again too")
    .option("--clear-queue", "discard everything that is queued, after a question")
    .addHelpText(
      "after",
      examples(
        "holdfast sync --wait",
        "holdfast sync --status",
        "holdfast sync --retry-failed --wait",
        "holdfast sync --all --resolve merge",
        "holdfast sync --clear-queue",
        "holdfast sync runs",
      ),
    );
  bind(sync, async () => (await import("./sync.ts")).runSync);
  addSyncRuns(sync, bind);
  addNetwork(root, bind);
  addSubject(root, bind);
  addIds(root, bind);
}

function addNetwork(root: Command, bind: Bind): void {
  const network = root
    .command("network")
    .summary("what is known of the network; work offline")
    .description(
      "Tells what is known of each remote, from real answers and probes; switches working offline on and off.",
    )
    .addHelpText("after", examples("holdfast network status", "holdfast network offline"));
  const status = network
    .command("status")
    .description("Tells what is known of each remote.")
    .addHelpText("after", examples("holdfast network status"));
  bind(status, async () => (await import("./network.ts")).runNetworkStatus);
  const check = network
    .command("check")
    .argument("[remote]", "only this remote, e.g. https://api.example.com")
    .description("Probes the remotes now and says what came back; ends with 1 unless all of them answer.")
    .addHelpText("after", examples("holdfast network check", "holdfast network check https://api.example.com"));
  bind(check, async () => (await import("./network.ts")).runNetworkCheck);
  const offline = network
    .command("offline")
    .description("Works offline until told otherwise, also after a restart: everything is queued, nothing is sent.")
    .addHelpText("after", examples("holdfast network offline"));
  bind(offline, async () => (await import("./network.ts")).runOffline);
  const online = network
    .command("online")
    .description("Ends working offline; what is queued goes out.")
    .addHelpText("after", examples("holdfast network online"));
  bind(online, async () => (await import("./network.ts")).runOnline);
}

function addSubject(root: Command, bind: Bind): void {
  const subject = root
    .command("subject")
    .summary("who is signed in")
    .description(
      "Says whose credentials are fresh. A signed-out subject's operations wait; nothing is deleted, nobody else sends them.",
    )
    .addHelpText("after", examples("holdfast subject list", "holdfast subject sign-in ada"));
  const list = subject
    .command("list")
    .description("Lists who is kept out: signed out here, or refused by a remote. Everybody else may send.")
    .addHelpText("after", examples("holdfast subject list"));
  bind(list, async () => (await import("./subject.ts")).runSubjectList);
  const signIn = subject
    .command("sign-in")
    .argument("<subject>", 'the subject; "" for the owner of the store')
    .description("Says that a subject has fresh credentials; its operations move again.")
    .addHelpText("after", examples("holdfast subject sign-in ada"));
  bind(signIn, async () => (await import("./subject.ts")).runSignIn);
  const signOut = subject
    .command("sign-out")
    .argument("<subject>", 'the subject; "" for the owner of the store')
    .description("Holds a subject's operations.")
    .addHelpText("after", examples("holdfast subject sign-out ada"));
  bind(signOut, async () => (await import("./subject.ts")).runSignOut);
}

function addIds(root: Command, bind: Bind): void {
  const ids = root
    .command("ids")
    .summary("local ids and the server's ids")
    .description("Finds the server's id of a local id, or names it by hand.")
    .addHelpText("after", examples("holdfast ids get local-1"));
  const get = ids
    .command("get")
    .argument("<local-id>", "the local id")
    .description("Finds the server's id of a local id.")
    .addHelpText("after", examples("holdfast ids get local-1"));
  bind(get, async () => (await import("./ids.ts")).runGet);
  const assign = ids
    .command("assign")
    .argument("<local-id>", "the local id")
    .argument("<server-id>", "the server's id")
    .description(
      "Names the server's id by hand when the remote's answer did not; what waits for it is rewritten and moves.",
    )
    .addHelpText("after", examples("holdfast ids assign local-1 8812"));
  bind(assign, async () => (await import("./ids.ts")).runAssign);
}
