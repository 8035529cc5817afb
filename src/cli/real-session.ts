/**
 * Owns the real line to the daemon of a data directory, which is started when it does not run and may be.
 * Finding it and its proof are `src/node/detached.ts`; what travels is `src/node/transport.ts`.
 */
import { resolve } from "node:path";
import { HoldfastError } from "../errors.ts";
import { startDetached } from "../node/detached.ts";
import { homeDirectory, homePaths, readPortFile } from "../node/home.ts";
import { daemonTransport } from "../node/transport.ts";
import type { Session, SessionOptions } from "./session.ts";

/** The program that a daemon is: this command with `daemon run`. */
export function daemonCommand(main: string, more: readonly string[] = []): readonly string[] {
  return [process.execPath, main, "daemon", "run", ...more];
}

export function directoryOf(home: string | undefined): string {
  if (home === undefined) return homeDirectory();
  // An empty variable of a script, most likely: the present folder is not what was meant.
  if (home.trim() === "") throw new HoldfastError("invalid_input", "--home names no directory", "write --home DIR");
  return resolve(home);
}

export async function openSession(options: SessionOptions, main: string): Promise<Session> {
  const directory = directoryOf(options.home);
  const state = { isNew: false };
  const giveUpAt = performance.now() + options.timeoutMs;
  const start = async (): Promise<void> => {
    const startTimeoutMs = Math.max(0, giveUpAt - performance.now());
    await startDetached(directory, { command: daemonCommand(main), startTimeoutMs });
    state.isNew = true;
  };
  const transport = await (options.canStart ? daemonTransport(directory, start) : daemonTransport(directory));
  const found = readPortFile(homePaths(directory).portFile);
  if (found === null) {
    await transport.close();
    throw new HoldfastError(
      "daemon_unreachable",
      `the daemon for ${directory} has just stopped`,
      "run the command again",
    );
  }
  const { pid, port, socket, version, startedAt } = found;
  return {
    info: { home: directory, pid, port, socket, version, startedAt, isNew: state.isNew },
    call: (verb, input) => transport.call(verb, input),
    subscribe: (listener, more = {}) => transport.subscribe(listener, more),
    close: () => transport.close(),
  };
}
