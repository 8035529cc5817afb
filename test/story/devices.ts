// Owns devices and sync servers for stories: the commands as persons type them, each with a home of its own, ended with the stage.
// Leaves what happens to the tests beside.
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect } from "vitest";
import type { Started } from "../support/processes.ts";
import { freePort, kill, processesOf, removeFolder, runCommand, startCommand, until } from "../support/processes.ts";

export type SyncServer = { readonly url: string; readonly token: string; readonly kill: () => Promise<void> };

export type Device = {
  readonly home: string;
  /** Runs a command, expects its exit code, gives what it printed. */
  readonly run: (words: string, exit?: number, input?: string) => Promise<string>;
  readonly ask: <T>(words: string, exit?: number) => Promise<T>;
};

export type Stage = {
  readonly startServer: (name?: string) => Promise<SyncServer>;
  /** A device that syncs with a server, or with none yet. */
  readonly device: (name: string, server: SyncServer | null) => Promise<Device>;
  readonly close: () => Promise<void>;
};

const settings =
  '[network]\nprobe_interval = "100ms"\nreconnect_jitter = "50ms"\n[retry.default]\npreset = "default"\ninitial = "100ms"\nmax = "1s"\n';

export function openStage(): Stage {
  const folder = mkdtempSync(path.join(tmpdir(), "holdfast-devices-"));
  return {
    startServer: (name = "server") => startServer(folder, name),
    device: (name, server) => openDevice(folder, name, server),
    close: async () => {
      await removeFolder(folder);
    },
  };
}

async function startServer(folder: string, name: string): Promise<SyncServer> {
  const port = await freePort();
  const words = ["server", "run", "--data", path.join(folder, name), "--port", String(port)];
  const server: Started = startCommand(words, { home: path.join(folder, `${name}-home`), cwd: folder });
  let said = "";
  for (const stream of [server.child.stdout, server.child.stderr])
    stream?.on("data", (chunk: Buffer) => {
      said += chunk.toString();
    });
  await until(() => /listens on/.test(said) && /hf_[\w-]+\n/.test(said), "the server listens");
  const { pid = 0 } = server.child;
  return {
    url: `http://127.0.0.1:${port}`,
    token: /hf_[\w-]+/.exec(said)?.[0] ?? "",
    kill: async () => {
      kill(pid);
      await until(() => !processesOf(folder).some((each) => each.pid === pid), "the server is dead");
    },
  };
}

async function openDevice(folder: string, name: string, server: SyncServer | null): Promise<Device> {
  const home = path.join(folder, name);
  mkdirSync(home, { mode: 0o700 });
  const sync = server === null ? "" : `[sync]\nurl = "${server.url}"\nspace = "main"\ncredential = "sync"\n`;
  writeFileSync(path.join(home, "config.toml"), settings + sync);
  const run: Device["run"] = async (words, exit = 0, input = "") => {
    const ended = await runCommand(words.split(" "), { home, cwd: folder, input });
    expect(ended.code, `${name}$ holdfast ${words}\n${ended.stdout}${ended.stderr}`).toBe(exit);
    return ended.stdout;
  };
  if (server !== null) await run(`credentials set sync --origin ${server.url}`, 0, `${server.token}\n`);
  return { home, run, ask: async (words, exit) => JSON.parse(await run(`${words} --json`, exit)) };
}
