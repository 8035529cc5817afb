// Owns the stage of a story: a data directory, a remote, and the command as a person types it, with everything cleaned up after.
// Leaves the story to the tests beside.
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect } from "vitest";
import { daemonStatus } from "../../src/node/detached.ts";
import { readPortFile } from "../../src/node/home.ts";
import { connectDaemon } from "../../src/node/transport.ts";
import type { Output } from "../../src/verbs.ts";
import type { Ended, Started } from "../support/processes.ts";
import { isAlive, kill, removeFolder, runCommand, startCommand, until } from "../support/processes.ts";
import type { Remote } from "../support/story-remote.ts";
import { makeRemote } from "../support/story-remote.ts";

export type Operation = Output<"queue.get">;

export type Stage = {
  readonly folder: string;
  readonly home: string;
  readonly remote: Remote;
  /** Runs a command and expects this exit code. */
  readonly run: (words: readonly string[], exit?: number) => Promise<Ended>;
  /** The same with `--json`, its answer parsed. */
  readonly ask: <T = Record<string, never>>(words: readonly string[], exit?: number) => Promise<T>;
  readonly start: (words: readonly string[]) => Started;
  readonly get: (id: string) => Promise<Operation>;
  /** Waits until an operation has this status. */
  readonly reach: (id: string, status: Operation["status"]) => Promise<Operation>;
  /** kill -9 for the daemon. */
  readonly killDaemon: () => Promise<void>;
  readonly at: (home: string) => Stage;
  readonly close: () => Promise<void>;
};

/** Short waits, so that a story is quick; everything else is as it comes. */
const settings =
  '[network]\nprobe_interval = "100ms"\nreconnect_jitter = "50ms"\n[retry.default]\npreset = "default"\ninitial = "100ms"\nmax = "1s"\n';

export async function openStage(): Promise<Stage> {
  const folder = mkdtempSync(path.join(tmpdir(), "holdfast-story-"));
  return stageAt(folder, path.join(folder, "home"), await makeRemote());
}

function stageAt(folder: string, home: string, remote: Remote): Stage {
  mkdirSync(home, { recursive: true, mode: 0o700 });
  writeFileSync(path.join(home, "config.toml"), settings);
  const options = { home, cwd: folder };
  const run: Stage["run"] = async (words, exit = 0) => {
    const ended = await runCommand(words, options);
    expect(ended.code, `holdfast ${words.join(" ")}\n${ended.stdout}${ended.stderr}`).toBe(exit);
    return ended;
  };
  const ask: Stage["ask"] = async (words, exit = 0) => {
    const [before, after] = words.includes("--")
      ? [words.slice(0, words.indexOf("--")), words.slice(words.indexOf("--"))]
      : [words, []];
    return JSON.parse((await run([...before, "--json", ...after], exit)).stdout);
  };
  const get = (id: string): Promise<Operation> => ask(["queue", "show", id]);
  return {
    folder,
    home,
    remote,
    run,
    ask,
    get,
    start: (words) => startCommand(words, options),
    reach: async (id, status) => {
      // Looking through the client, because a command for each look would take most of a story's time.
      await until(async () => (await daemonStatus(home)).state === "running", "the daemon runs");
      await using client = await connectDaemon({ directory: home });
      await until(async () => (await client.queue.get({ id })).status === status, `${id} is ${status}`).catch(
        async (cause: unknown) => {
          const seen = [
            await client.queue.why({ id }),
            await client.network.status(),
            await client.queue.history({ id }),
          ];
          throw new Error(`${String(cause)}\n${JSON.stringify(seen, null, 1)}`);
        },
      );
      return await client.queue.get({ id });
    },
    killDaemon: async () => {
      const pid = readPortFile(path.join(home, "daemon.json"))?.pid ?? 0;
      expect(isAlive(pid)).toBe(true);
      kill(pid);
      await until(() => !isAlive(pid), "the daemon is dead");
    },
    at: (other) => stageAt(folder, path.join(folder, other), remote),
    close: async () => {
      await remote.stop();
      await removeFolder(folder);
    },
  };
}
