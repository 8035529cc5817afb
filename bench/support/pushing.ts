// Owns the two sides of a push: a receiver in its own process, and draining a queue until everything has landed.
// Leaves what is sent to the bars.
import { fork } from "node:child_process";
import { join } from "node:path";
import type { Engine } from "../../src/engine/engine.ts";
import { note } from "./stores.ts";

export type Receiver = { readonly url: string; readonly close: () => void };

/** A receiver that stores what it takes in `file`, or one that only answers. */
export async function startReceiver(file?: string): Promise<Receiver> {
  // The slow disk is ours alone, so the receiver runs without the shim.
  const { LD_PRELOAD: _, ...env } = process.env;
  const execArgv = ["--disable-warning=ExperimentalWarning"];
  const child = fork(join(import.meta.dirname, "receiver.ts"), file === undefined ? [] : [file], { env, execArgv });
  const port = await new Promise<number>((resolve) => child.once("message", (message) => resolve(Number(message))));
  return { url: `http://127.0.0.1:${port}`, close: () => child.disconnect() };
}

export async function fill(engine: Engine, count: number, input: (index: number) => unknown): Promise<void> {
  for (let done = 0; done < count; done += 500) {
    const size = Math.min(500, count - done);
    const operations = Array.from({ length: size }, (_, index) => input(done + index));
    engine.handle("queue.addMany", { operations: operations as never });
  }
}

/** The status is looked at this often; looking more often would be work of its own. */
const lookEveryMs = 10;

/** Starts draining and resolves when every operation has landed and its landing is durable. */
export async function drain(engine: Engine): Promise<void> {
  const landed = new Promise<void>((resolve) => {
    const look = (): void => {
      if (engine.handle("queue.status", {}).unsent === 0) resolve();
      else setTimeout(look, lookEveryMs);
    };
    setTimeout(look, lookEveryMs);
  });
  engine.start();
  await landed;
  await engine.stop(0);
}

/** Sends without any queue: `inFlight` workers take turns until `count` requests have been answered. */
export async function sendPlainly(count: number, inFlight: number, send: () => Promise<unknown>): Promise<void> {
  let left = count;
  const work = async (): Promise<void> => {
    while (left > 0) {
      left -= 1;
      await send();
    }
  };
  await Promise.all(Array.from({ length: inFlight }, work));
}

export const noteOf = (index: number) => ({ ...note, index });
