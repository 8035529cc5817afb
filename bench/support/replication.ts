// Owns what pulling and pushing over HTTP share in bar P9: the servers as processes of their own, and running a client in one.
// Leaves what the servers have and what the clients do to p9-pull.ts and p9-push.ts.
import { fork, spawn } from "node:child_process";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { openServerStore } from "../../src/node/server-store.ts";
import { newToken, startServerProcess } from "../../test/support/servers.ts";
import { newDirectory } from "./stores.ts";
import type { Scope } from "./types.ts";

export type Source = { readonly url: string; readonly token: string; readonly stop: () => Promise<void> };
export type Sources = { readonly plain: Source; readonly ours: Source };

export const peerNames = { rxdb: "RxDB in memory", pouchdb: "PouchDB on LevelDB, not synced" } as const;

/** Our server on its embedded database, with a token and nothing else. */
export async function startOurs(directory: string): Promise<Source> {
  const place = { kind: "embedded", directory } as const;
  const store = await openServerStore(place);
  const token = await newToken(store);
  await store.close();
  const server = await startServerProcess(place);
  return { url: server.url, token, stop: server.kill };
}

/** One of the plain servers of this folder. */
export async function startPlain(file: string, options: readonly string[]): Promise<Source> {
  const child = fork(join(import.meta.dirname, file), options, { execArgv: ["--no-warnings"] });
  const port = await new Promise((resolve, reject) => {
    child.once("message", resolve);
    child.once("exit", (code) => reject(new Error(`the plain server ended with exit code ${code}`)));
  });
  const stop = (): Promise<void> =>
    new Promise((resolve) => {
      child.once("exit", () => resolve());
      child.kill("SIGKILL");
    });
  return { url: `http://127.0.0.1:${port}`, token: "", stop };
}

/** One client of this folder in a process of its own, with a directory that goes with it; what it says at the end. */
export async function runClient<T>(
  file: string,
  scope: Scope,
  task: { readonly client: string; readonly [option: string]: string | number },
): Promise<T> {
  const directory = newDirectory(scope.directory, task.client);
  // With the types stripped and the sources compiled before, a client holds what an installed package would.
  const env = { ...process.env, NODE_COMPILE_CACHE: join(scope.directory, "compiled") };
  const options = ["--no-warnings", join(import.meta.dirname, file), JSON.stringify({ ...task, directory })];
  const child = spawn(process.execPath, options, { env, stdio: ["ignore", "pipe", "inherit"] });
  let said = "";
  child.stdout.on("data", (chunk: Buffer) => {
    said += chunk.toString();
  });
  const code = await new Promise((resolve) => child.once("close", resolve));
  rmSync(directory, { recursive: true, force: true });
  if (code !== 0) throw new Error(`${task.client} ended with exit code ${code}`);
  return JSON.parse(said.trim().split("\n").pop() ?? "") as T;
}
