// Owns `npm start`: a sync server and the daemon on data directories of this clone, a receiver to send to, and what to try next.
// Leaves the daemon to src/cli/main.ts, as anybody runs it, the server to scripts/sync-server.ts, the receiver to scripts/receiver.ts.
import type { ChildProcess } from "node:child_process";
import { spawn } from "node:child_process";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { HoldfastError } from "../src/errors.ts";
import { daemonStatus, stopDaemon } from "../src/node/detached.ts";
import type { Heard } from "./receiver.ts";
import { startReceiver } from "./receiver.ts";
import type { SyncServer } from "./sync-server.ts";
import { startSyncServer } from "./sync-server.ts";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");
const main = path.join(root, "src/cli/main.ts");
const home = path.resolve(process.env.HOLDFAST_HOME || path.join(root, ".tmp/home"));
const otherHome = `${home}-2`;
/** Beside a data directory that was named, so that two people, or a test, share nothing. */
const besides = process.env.HOLDFAST_HOME ? `${home}-` : path.join(root, ".tmp/");
const serverData = `${besides}server`;
const receiverPort = 4580;
const serverPort = 4581;
const startLimitMs = 30_000;

const say = (text: string): void => void process.stdout.write(`${text}\n`);

function tell(heard: Heard): void {
  const at = new Date().toLocaleTimeString("en-GB");
  if (heard.kind === "upload") {
    say(`${at} receiver: ${heard.name} arrived, ${heard.sizeBytes} bytes, SHA-256 ${heard.sha256.slice(0, 12)}…`);
    return;
  }
  const effect = heard.isNew ? "done, receipt kept" : "seen before: same answer again, nothing done twice";
  say(`${at} receiver: ${heard.line} (key …${heard.key.slice(-8)}) ${effect}`);
}

/** Prints the daemon's warnings in words; everything else is in its log. */
function watchOutput(child: ChildProcess): void {
  let rest = "";
  child.stdout?.setEncoding("utf8").on("data", (text: string) => {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) sayLogLine(line);
  });
}

function sayLogLine(line: string): void {
  try {
    const { level, msg } = JSON.parse(line) as { readonly level?: string; readonly msg?: string };
    if (level === "warn" || level === "error") say(`         daemon: ${msg}`);
  } catch {
    say(line);
  }
}

/** As a person types it after `cd` into the clone: short where it is inside, quoted where the shell wants it. */
function typed(file: string): string {
  const inside = path.relative(root, file);
  const short = inside.startsWith("..") || path.isAbsolute(inside) ? file : inside;
  return /^[\w./@:+-]+$/.test(short) ? short : `'${short.replaceAll("'", `'\\''`)}'`;
}

function nextSteps(url: string, pid: number, server: SyncServer): string {
  return `
Holdfast runs.
  data      ${typed(home)}
  receiver  ${url}   (what arrives is printed here)
  server    ${server.url}   (process ${server.pid})
            data in ${typed(serverData)}
  daemon    process ${pid}

Try this in another terminal:

  cd ${/^[\w./@:+-]+$/.test(root) ? root : `"${root}"`}
  export PATH="$PWD/bin:$PATH"
  export HOLDFAST_HOME=${typed(home).startsWith(".tmp") ? `"$PWD/${typed(home)}"` : typed(home)}
  holdfast request POST ${url}/notes --data '{"n":1}' --wait

Then be offline, queue, kill, come back:

  holdfast network offline
  holdfast request POST ${url}/notes --data '{"n":2}'
  holdfast upload package-lock.json ${url}/files
  holdfast exec -- git log -1
  holdfast queue list
  kill -9 ${pid}
  holdfast status             # the next command starts the daemon again
  holdfast network online
  holdfast sync --wait
  holdfast queue list --all

Records on two devices, through the sync server (each --home is one):

  two() { holdfast --home ${typed(otherHome)} "$@"; }
  holdfast collections declare notes
  holdfast records put notes n1 --data '{"title":"Tides","stars":1}'
  two collections declare notes
  two records list notes
  two network offline
  two records update notes n1 --set title=Ebb
  holdfast records update notes n1 --set title=Flood --set stars=5
  two network online
  two conflicts list    # the title is in dispute
  two conflicts resolve --all --choose local --yes
  holdfast records list notes

Ctrl-C here stops everything; what is queued stays in the data directory.
`;
}

/** The daemon as `holdfast daemon run` in the foreground; one that runs already is used as it is. */
async function startDaemon(): Promise<{ readonly pid: number; readonly child: ChildProcess | null }> {
  const found = await daemonStatus(home);
  if (found.state === "running") return { pid: found.pid, child: null };
  const child = spawn(process.execPath, [main, "daemon", "run"], {
    env: { ...process.env, HOLDFAST_HOME: home },
    stdio: ["ignore", "pipe", "inherit"],
  });
  watchOutput(child);
  for (let waited = 0; waited < startLimitMs && child.exitCode === null; waited += 100) {
    const status = await daemonStatus(home);
    if (status.state === "running") return { pid: status.pid, child };
    await sleep(100);
  }
  child.kill();
  throw new Error(
    `the daemon for ${home} does not start; run it alone to see why: ./bin/holdfast --home ${home} daemon run`,
  );
}

const receiver = await startReceiver({ directory: `${besides}received`, port: receiverPort, hear: tell });
const stopping = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => stopping.abort());
let server: SyncServer | null = null;
try {
  server = await startSyncServer(serverData, serverPort);
  await server.connect(home, "one");
  await server.connect(otherHome, "two");
  const { pid, child } = await startDaemon();
  say(nextSteps(receiver.url, pid, server));
  child?.once("exit", (_code, signal) => {
    if (!stopping.signal.aborted)
      say(
        `The daemon has ended${signal === null ? "" : ` by ${signal}`}. What is queued is safe; any holdfast command starts it again.`,
      );
  });
  await new Promise<void>((resolve) => {
    const timer = setInterval(() => {}, 60_000);
    const end = (): void => {
      clearInterval(timer);
      resolve();
    };
    if (stopping.signal.aborted) end();
    else stopping.signal.addEventListener("abort", end);
  });
  say("\nStopping…");
  // It may be another process by now: one that a command started after this one was killed.
  await stopDaemon(home).catch((error: unknown) => say(String(error)));
  if ((await daemonStatus(otherHome)).state === "running")
    await stopDaemon(otherHome).catch((error: unknown) => say(String(error)));
} catch (error) {
  process.exitCode = 1;
  say(`✗ ${error instanceof Error ? error.message : String(error)}`);
  if (error instanceof HoldfastError) say(`→ ${error.hint}`);
} finally {
  await server?.stop();
  await receiver.close();
}
