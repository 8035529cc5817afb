// Owns the way between processes and remotes: requests and answers that are lost, late, doubled, reordered or cut,
// names that do not resolve, networks in between that answer for the remote. What the remotes do is model-server.ts.
import type { Random } from "../../src/testing/random.ts";
import type { Scheduler } from "../../src/testing/scheduler.ts";
import type { VirtualProcess } from "../../src/testing/virtual-world.ts";
import type { ProbeResult, Signal } from "../../src/world.ts";
import type { ModelServer, Reply, Request } from "./model-server.ts";

/** No answer: why, and whether the request may have reached the remote. */
export type Silence = { readonly silence: string; readonly mayHaveLanded: boolean };

/** Probabilities per request, and how long things take. */
export type Conditions = {
  readonly dropRequest: number;
  readonly dropAnswer: number;
  readonly double: number;
  readonly late: number;
  /** Longest way in ordinary conditions. */
  readonly delayMs: number;
};

export type Way = "open" | "cut" | "nameless" | "portal";

export type FaultyNetwork = {
  readonly send: (process: VirtualProcess, request: Request, signal: Signal) => Promise<Reply | Silence>;
  readonly probe: (remote: string) => Promise<ProbeResult>;
  readonly setConditions: (conditions: Conditions) => void;
  readonly setWay: (remote: string, way: Way) => void;
  readonly ways: ReadonlyMap<string, Way>;
};

export const goodConditions: Conditions = { dropRequest: 0, dropAnswer: 0, double: 0, late: 0, delayMs: 50 };

type Parts = {
  readonly scheduler: Scheduler;
  readonly random: Random;
  readonly server: ModelServer;
};

/** Longest that a request stays on the wire: past every timeout, so that it arrives when nobody waits for it any more. */
const longestLateMs = 120_000;

export function newFaultyNetwork(parts: Parts): FaultyNetwork {
  const { scheduler, random, server } = parts;
  const ways = new Map<string, Way>();
  let conditions = goodConditions;
  const way = (): number =>
    1 + (random.chance(conditions.late) ? random.below(longestLateMs) : random.below(conditions.delayMs));

  const travel = (request: Request, answer: (reply: Reply | Silence) => void): void => {
    const state = ways.get(request.remote) ?? "open";
    if (state === "cut") return void scheduler.after(way(), () => answer(silence("no route", false)));
    if (state === "nameless") return void scheduler.after(way(), () => answer(silence("no such name", false)));
    if (state === "portal") return void scheduler.after(way(), () => answer({ status: 0 }));
    if (random.chance(conditions.dropRequest)) {
      return void scheduler.after(way(), () => answer(silence("reset", true)));
    }
    // Only a remote that keeps receipts is asked to bear a doubled delivery. An answer that says that nothing was done is true of both.
    let isCopyTaken = false;
    let isTurnedAway = false;
    if (request.remote === "receipts" && random.chance(conditions.double))
      scheduler.after(way(), () => {
        if (isTurnedAway) return;
        server.handle(request);
        isCopyTaken = true;
      });
    scheduler.after(way(), () => {
      const reply = server.handle(request);
      isTurnedAway = reply.status === 401 || reply.status === 429 || reply.status === 503;
      const isLost = random.chance(conditions.dropAnswer) || (isTurnedAway && isCopyTaken);
      scheduler.after(way(), () => answer(isLost ? silence("the answer was cut off", true) : reply));
    });
  };
  return {
    send: (process, request, signal) =>
      new Promise((resolve) => {
        let isOver = false;
        const end = (reply: Reply | Silence): void => {
          if (isOver) return;
          isOver = true;
          signal.removeEventListener("abort", onAbort);
          process.enter(() => resolve(reply));
        };
        const onAbort = (): void => end(silence("aborted", true));
        signal.addEventListener("abort", onAbort);
        travel(request, end);
      }),
    probe: (remote) => {
      const state = ways.get(remote) ?? "open";
      const found = {
        isReachable: state === "open",
        reason: state === "open" ? "it answers" : `the way is ${state}`,
      };
      return new Promise((resolve) => void scheduler.after(way(), () => resolve(found)));
    },
    setConditions: (next) => {
      conditions = next;
    },
    setWay: (remote, next) => void ways.set(remote, next),
    ways,
  };
}

const silence = (why: string, mayHaveLanded: boolean): Silence => ({ silence: why, mayHaveLanded });
