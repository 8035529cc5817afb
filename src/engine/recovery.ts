/**
 * Owns what a new drainer does first: a fresh epoch, which voids every lease of the one before, and the recovery of what was on the
 * wire when that one ended. When a process may drain at all is decided in `loop.ts`.
 */
import { State } from "../operation.ts";
import { record } from "./history.ts";
import { settleInto } from "./lanes.ts";
import { getMeta, setMeta } from "./meta.ts";
import { failOperation, flyingOperations, shiftDelays } from "./queue.ts";
import { park } from "./settle.ts";
import type { Store } from "./store.ts";

/** How far the wall clock may step back before delays are shifted with it. */
export const clockSlackMs = 1_000;

/** Becomes the drainer: returns the new epoch. */
export function takeOver(store: Store): number {
  const epoch = Number(getMeta(store, "epoch") ?? 0) + 1;
  setMeta(store, "epoch", String(epoch));
  setMeta(store, "drainer", store.world.drainer.name);
  rewindDelays(store);
  recover(store);
  return epoch;
}

/**
 * Whether this process is still the drainer. The lock alone cannot tell: when its file is deleted or replaced, somebody else can
 * take a lock of the same name. That one's epoch is in the store, and transactions on the store stand in one line.
 */
export function isDrainer(store: Store): boolean {
  return Number(getMeta(store, "epoch") ?? 0) === store.memory.epoch;
}

/** What was on the wire when the last drainer ended goes out again under the same key, or asks a person where it must not. */
function recover(store: Store): void {
  for (const op of flyingOperations(store)) {
    record(store, {
      op: op.seq,
      id: op.id,
      kind: "recovered",
      status: "pending",
      detail: { attempt: op.attempts, onCrash: op.options.onCrash ?? "resend" },
    });
    const problem = {
      code: "interrupted",
      message: "the process ended while it was on the wire",
      hint: "check the remote; then retry it, or cancel it when it has landed",
    };
    if (op.options.onCrash === "ask") {
      park(store, op, { reason: "unsure", problem, isUnsure: true, settled: null });
      continue;
    }
    const kept = { failures: op.failures, streak: op.streak, remoteVersion: null };
    failOperation(store, op.seq, { ...kept, state: State.waiting, reason: "lane", due: 0, isUnsure: true, problem });
    settleInto(store, op.seq);
  }
}

export type Clock = { readonly wall: number; readonly monotonic: number };

/** A wall clock that went back while a process ran shifts what it waits for; tells whether it did. */
export function shiftWithClock(store: Store, before: Clock, now: Clock): boolean {
  const back = before.wall + (now.monotonic - before.monotonic) - now.wall;
  if (back <= clockSlackMs) return false;
  shiftDelays(store, back);
  store.world.log("warn", "the wall clock went back; delays were kept", { byMs: back });
  return true;
}

/** A clock that went back between two processes would stretch every delay by the jump. */
function rewindDelays(store: Store): void {
  const noted = Number(getMeta(store, "clock") ?? 0);
  const back = noted - store.world.now();
  if (back > clockSlackMs) shiftDelays(store, back);
  setMeta(store, "clock", String(store.world.now()));
}
