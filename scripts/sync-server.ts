// Owns a sync server for the repository's commands: `holdfast server run` as a process, a token, devices that sync through it.
// Leaves what a server does to src/server/, and what the devices do to whoever asks for them.
import type { ChildProcess } from "node:child_process";
import { spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync, readFileSync } from "node:fs";
import { createServer } from "node:net";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { getConfigValue, setConfigValue } from "../src/node/config.ts";
import { makeCredentials } from "../src/node/credentials.ts";

const main = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../src/cli/main.ts");
const startLimitMs = 30_000;
const logTailLines = 4;
export const credentialName = "sync";

export type SyncServer = {
  readonly url: string;
  readonly pid: number;
  /** Makes the data directory one that syncs through this server; what it says already is left alone. */
  readonly connect: (home: string, subject: string) => Promise<void>;
  /** Ends it as Ctrl-C does, or as a crash with `SIGKILL`. */
  readonly stop: (signal?: NodeJS.Signals) => Promise<void>;
};

/** Starts the server on a directory; `port` 0 takes any free one, and so does a port that is taken. */
export async function startSyncServer(directory: string, port: number): Promise<SyncServer> {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const log = path.join(directory, "server.log");
  const logFile = openSync(log, "w", 0o600);
  const child = spawn(
    process.execPath,
    [main, "server", "run", "--data", directory, "--port", String((await isFree(port)) ? port : 0), "--json"],
    {
      cwd: directory,
      // Its log has a place of its own, so that what people read here stays readable.
      stdio: ["ignore", "pipe", logFile],
    },
  );
  closeSync(logFile);
  const { url } = await firstLine(child, log);
  const connect = async (home: string, subject: string): Promise<void> => {
    mkdirSync(home, { recursive: true, mode: 0o700 });
    const config = path.join(home, "config.toml");
    const wanted = { "sync.url": url, "sync.space": "main", "sync.credential": credentialName };
    for (const [key, value] of Object.entries(wanted))
      if (getConfigValue(config, key) === undefined || key === "sync.url") setConfigValue(config, key, value);
    const credentials = makeCredentials({ file: path.join(home, "credentials.json") });
    const known = credentials.list().find(({ name }) => name === credentialName);
    if (known?.origins.includes(url) === true) return;
    const token = await run(["server", "token", "add", subject, "--space", "main", "--data", directory, "--quiet"]);
    await credentials.set(credentialName, { kind: "bearer", token: token.trim(), origins: [url] });
  };
  return { url, pid: child.pid ?? 0, connect, stop: (signal = "SIGTERM") => end(child, signal) };
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer().once("error", () => resolve(false));
    probe.listen(port, "127.0.0.1", () => probe.close(() => resolve(true)));
  });
}

function firstLine(child: ChildProcess, log: string): Promise<{ readonly url: string }> {
  return new Promise((resolve, reject) => {
    let said = "";
    const giveUp = setTimeout(() => reject(new Error(`the sync server does not start, see ${log}`)), startLimitMs);
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      said += text;
      const end = said.indexOf("\n");
      if (end === -1) return;
      clearTimeout(giveUp);
      resolve(JSON.parse(said.slice(0, end)) as { readonly url: string });
    });
    child.once("exit", (code) => {
      clearTimeout(giveUp);
      const said = readFileSync(log, "utf8").trimEnd().split("\n").slice(-logTailLines).join("\n");
      reject(new Error(`the sync server has ended with ${code}, see ${log}${said === "" ? "" : `:\n${said}`}`));
    });
  });
}

function run(words: readonly string[]): Promise<string> {
  const child = spawn(process.execPath, [main, ...words], { stdio: ["ignore", "pipe", "inherit"] });
  let said = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    said += text;
  });
  return new Promise((resolve, reject) =>
    child
      .once("error", reject)
      .once("close", (code) =>
        code === 0 ? resolve(said) : reject(new Error(`holdfast ${words[0]} ended with ${code}`)),
      ),
  );
}

function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => {
    child.once("exit", () => resolve());
    child.kill(signal);
  });
}
