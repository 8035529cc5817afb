// Owns the sync server of a simulated run: its machine, one or two processes that come and go, copies of it that are restored, and the
// log of all that it ever answered. What it stores in is server-base.ts; what lies between it and the clients is line.ts.
import { createHash } from "node:crypto";
import { isCode } from "../../src/errors.ts";
import type { ServerCollection } from "../../src/server/collections.ts";
import type { SyncServer } from "../../src/server/server.ts";
import { openServer } from "../../src/server/server.ts";
import type { ServerStore } from "../../src/server/store.ts";
import { addToken, suspendAccount } from "../../src/server/tokens.ts";
import type { Random } from "../../src/testing/random.ts";
import type { Scheduler } from "../../src/testing/scheduler.ts";
import type { VirtualMachine } from "../../src/testing/virtual-machine.ts";
import { newVirtualMachine } from "../../src/testing/virtual-machine.ts";
import type { VirtualProcess } from "../../src/testing/virtual-world.ts";
import { bootProcess, isDeath } from "../../src/testing/virtual-world.ts";
import type { PushRequest } from "../../src/wire.ts";
import { protocolVersion, routes } from "../../src/wire.ts";
import type { Reach } from "./programs.ts";
import { raiseNote, reaches, someTasks } from "./programs.ts";
import type { ServerBase } from "./server-base.ts";

export const space = "reef";
export const serverName = "https://sync.test";

/** An answer as it leaves the server; `null` when nobody listens there. */
export type Served = { readonly status: number; readonly headers: Headers; readonly text: string } | null;

/** What a client shows at the door, and how much it may read with it where it is let in. */
export type Pass = "valid" | "expired" | "suspended";
export type Credentials = { readonly pass: Pass; readonly reach: Reach };

export type ServerHost = {
  readonly base: ServerBase;
  /** Hands a request to a running process; never resolves when that process dies over it. */
  readonly handle: (route: string, text: string, credentials: Credentials) => Promise<Served>;
  readonly isUp: () => boolean;
  /** Ends a process at its next commit, before or after it, or at once. */
  readonly kill: (moment: "before" | "after" | "now") => void;
  /** Starts what does not run. */
  readonly boot: () => Promise<void>;
  readonly jumpClock: (byMs: number) => void;
  readonly onPoke: (listener: (head: number) => void) => () => void;
  readonly compact: () => Promise<void>;
  /** Forgets receipts below the floors that clients named: the contract lets a server do that at any time. */
  readonly forgetReceipts: () => Promise<void>;
  /** From the next start of its processes on, the server has the second version of the schema. */
  readonly upgrade: () => void;
  readonly schemaVersion: () => 1 | 2;
  /** Keeps a copy of everything; `restore` goes back to it: with a new history, as `holdfast server restore` does, or as whoever copies the file back. */
  readonly copy: () => Promise<void>;
  readonly restore: (kind: "new history" | "same history") => Promise<boolean>;
  /** The version up to which a restore would keep everything; null: there is no copy. */
  readonly copiedHead: () => number | null;
  readonly head: () => Promise<number>;
  /** How often it was set back under the same history: versions of before name others than those of after. */
  readonly era: () => number;
  /** Whom it takes a push from; the others are asked to come again. */
  admits: (request: PushRequest) => boolean;
  /** How often each operation was pushed, and what was answered last. */
  readonly pushed: Map<string, { times: number; last: string }>;
  /** How many requests were refused for who sent them, by minute of the run. */
  readonly refused: Map<number, number>;
  /** Answers "applied" that left the server in this history, by idempotency key. */
  readonly applied: Map<string, number>;
  /** Called after every request that was handled, and after commits that others may hide before that. */
  onHandled: () => Promise<void>;
};

export function serverCollections(version: 1 | 2): readonly ServerCollection[] {
  return [
    {
      name: "notes",
      version,
      ...(version === 2 ? { upcast: raiseNote } : {}),
      unique: [["slug"]],
      rules: [
        ({ after }) =>
          typeof after?.a === "string" && after.a.startsWith("forbidden")
            ? { code: "word_forbidden", message: "this word is not allowed", field: "a", hint: "take another one" }
            : null,
      ],
    },
    {
      name: "tasks",
      access: {
        "*": { write: true },
        everything: { read: true },
        "some tasks": { read: () => ({ $key: { in: [...someTasks] } }) },
      },
    },
    { name: "meters" },
    { name: "boxes", keys: "server" },
  ];
}

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

type Living = { readonly process: VirtualProcess; readonly server: SyncServer; readonly store: ServerStore };

export type HostParts = {
  readonly scheduler: Scheduler;
  readonly random: Random;
  readonly processes: number;
  readonly base: ServerBase;
};

export async function openServerHost({ scheduler, random, processes, base }: HostParts): Promise<ServerHost> {
  const machine = newVirtualMachine({ scheduler, random: random.fork("machine"), hash: sha256 });
  const listeners = new Set<(head: number) => void>();
  const state: HostState = { version: 1, tokens: new Map(), copiedHead: null, era: 0 };
  const onCommit = (): Promise<void> => host.onHandled();
  const fleet = openFleet({ base, scheduler, machine, processes, listeners, state, onCommit });
  const host: ServerHost = {
    base,
    applied: new Map(),
    pushed: new Map(),
    refused: new Map(),
    onHandled: async () => {},
    admits: () => true,
    isUp: () => fleet.living().length > 0,
    handle: (route, text, credentials) => {
      const up = fleet.living();
      const slot = up[up.length > 1 ? random.below(up.length) : 0];
      const push = route === routes.push ? (JSON.parse(text) as PushRequest) : null;
      if (push !== null && !host.admits(push)) return Promise.resolve(patience(push));
      const asked = requestOf(route, text, state.tokens.get(tokenName(credentials)) ?? "");
      if (slot === undefined) return Promise.resolve(null);
      const minute = Math.floor(scheduler.elapsed() / 60_000);
      return serveOne(host, fleet, { slot, asked, route, minute });
    },
    kill: (moment) => {
      const up = fleet.living();
      const slot = up[random.below(Math.max(1, up.length))];
      if (slot !== undefined) fleet.kill(slot, moment);
    },
    boot: () => through(scheduler, fleet.boot()),
    jumpClock: (byMs) => machine.wallClock.jump(byMs),
    onPoke: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    compact: () => through(scheduler, compactOne(fleet)),
    forgetReceipts: () => through(scheduler, base.change(forgetBelowFloors)),
    upgrade: () => {
      state.version = 2;
    },
    schemaVersion: () => state.version,
    copy: async () => {
      state.copiedHead = await host.head();
      await base.copy();
    },
    copiedHead: () => state.copiedHead,
    head: () => base.look(async (all) => Number((await all(headOf, space))[0]?.head ?? 0)),
    era: () => state.era,
    restore: async (kind) => {
      if (!base.hasCopy()) return false;
      for (const slot of fleet.slots.keys()) fleet.kill(slot, "now");
      await scheduler.settle();
      if (kind === "same history") state.era += 1;
      const newId = (): string => random.fork(`history ${fleet.boots()}`).next().toString(36);
      await base.restore(kind === "new history" ? newId : null);
      host.applied.clear();
      await host.boot();
      return true;
    },
  };
  await host.boot();
  return host;
}

// ---- processes ------------------------------------------------------------------------------------------------------

/** Waits for what is under way; where that waits for something in virtual time, time goes on until it is done. */
async function through<T>(scheduler: Scheduler, work: Promise<T>): Promise<T> {
  let isDone = false;
  const end = (): void => {
    isDone = true;
  };
  work.then(end, end);
  await scheduler.settle();
  while (!isDone && (await scheduler.runNext()));
  return work;
}

type HostState = { version: 1 | 2; readonly tokens: Map<string, string>; copiedHead: number | null; era: number };

const headOf = "SELECT head FROM hf_space WHERE name = ?";

type FleetParts = {
  readonly base: ServerBase;
  readonly scheduler: Scheduler;
  readonly machine: VirtualMachine;
  readonly processes: number;
  readonly listeners: ReadonlySet<(head: number) => void>;
  readonly state: HostState;
  readonly onCommit: () => Promise<void>;
};

/** The server's processes by the slots that they run in; a restart takes the slot over. */
type Fleet = {
  readonly slots: (Living | null)[];
  readonly living: () => readonly number[];
  readonly boot: () => Promise<void>;
  readonly boots: () => number;
  /** Clears a slot of what its process leaves behind in this one: timers. */
  readonly drop: (slot: number) => void;
  readonly kill: (slot: number, moment: "before" | "after" | "now") => void;
};

function openFleet(parts: FleetParts): Fleet {
  const { base, machine, processes, listeners, state } = parts;
  const slots: (Living | null)[] = Array.from({ length: processes }, () => null);
  let boots = 0;
  const drop = (slot: number): void => {
    const living = slots[slot] ?? null;
    if (living === null) return;
    void living.server.close();
    base.abandon(living.process);
    slots[slot] = null;
  };
  const start = async (slot: number): Promise<void> => {
    if (slots[slot]?.process.isAlive() === true) return;
    drop(slot);
    boots += 1;
    const process = bootProcess(machine, `server ${boots}`);
    const store = await base.open(process, parts);
    store.onPoke((_space, head) => {
      for (const listener of listeners) listener(head);
    });
    try {
      const server = await openServer({
        store,
        collections: serverCollections(state.version),
        now: process.world.now,
        newId: process.world.newId,
        hash: sha256,
        // Clocks jump by months here, and a receipt has to outlive the operation: what may be forgotten is forgotten below the floors.
        limits: { requestsPerSecond: 1_000_000, burst: 1_000_000, receiptMs: 1e13 },
      });
      if (state.tokens.size === 0) await makeTokens(store, state.tokens, process.world.now());
      slots[slot] = { process, server, store };
    } catch (error) {
      if (!isDeath(error) && process.isAlive()) throw error;
      base.abandon(process);
    }
  };
  return {
    slots,
    living: () => [...slots.keys()].filter((slot) => slots[slot]?.process.isAlive() === true),
    boot: async () => {
      for (const slot of slots.keys()) await start(slot);
    },
    boots: () => boots,
    drop,
    kill: (slot, moment) => {
      const { process } = slots[slot] ?? {};
      if (moment === "now") {
        process?.kill();
        drop(slot);
      } else process?.killAtCommit(moment);
    },
  };
}

const patience = ({ items }: PushRequest): Served => {
  const problem = { code: "busy", message: "come again" };
  const answers = items.map(({ id }) => ({ id, outcome: "retry", problem, afterMs: 2_000 }));
  return { status: 200, headers: new Headers(), text: JSON.stringify({ answers, now: 0 }) };
};

type Serving = { readonly slot: number; readonly asked: Request; readonly route: string; readonly minute: number };

async function serveOne(host: ServerHost, fleet: Fleet, { slot, asked, route, minute }: Serving): Promise<Served> {
  const serving = fleet.slots[slot] ?? null;
  if (serving === null) return null;
  const { process, server } = serving;
  try {
    const response = await server.fetch(asked);
    const body = await response.text();
    if (response.status === 401 || response.status === 403)
      host.refused.set(minute, (host.refused.get(minute) ?? 0) + 1);
    await host.onHandled();
    if (process.isAlive()) {
      if (route === routes.push && response.status === 200) countAnswers(host, body);
      return { status: response.status, headers: response.headers, text: body };
    }
  } catch (error) {
    if (!isDeath(error) && process.isAlive()) throw error;
  }
  if (fleet.slots[slot] === serving) fleet.drop(slot);
  // The connection of a process that died stays silent until the caller gives up.
  return new Promise<never>(() => {});
}

async function compactOne(fleet: Fleet): Promise<void> {
  const [slot] = fleet.living();
  const serving = slot === undefined ? null : fleet.slots[slot];
  if (slot === undefined || serving === null || serving === undefined) return;
  await serving.server.compact().catch((error: unknown) => {
    // Nobody knows what became of it when the connection was lost with the commit on its way.
    if (isCode(error, "io_failed")) return;
    if (!isDeath(error) && serving.process.isAlive()) throw error;
    fleet.drop(slot);
  });
}

function requestOf(route: string, text: string, token: string): Request {
  const headers = {
    "content-type": "application/json",
    "holdfast-protocol": String(protocolVersion),
    authorization: `Bearer ${token}`,
  };
  return new Request(`${serverName}${route}`, { method: "POST", headers, body: text });
}

const forgetBelowFloors = `DELETE FROM hf_receipt WHERE number <
  coalesce((SELECT floor FROM hf_client WHERE hf_client.space = hf_receipt.space AND hf_client.client = hf_receipt.client), 0)`;

const tokenName = ({ pass, reach }: Credentials): string => (pass === "valid" ? reach : pass);

async function makeTokens(store: ServerStore, tokens: Map<string, string>, now: number): Promise<void> {
  const minter = { now: () => now, hash: sha256 };
  const give = async (name: string, subject: string, expiresAt?: number): Promise<void> => {
    const spaces = [{ space, roles: [name] }];
    const made = await addToken(store, { subject, spaces, ...(expiresAt === undefined ? {} : { expiresAt }) }, minter);
    tokens.set(name, made.token);
  };
  for (const reach of reaches) await give(reach, "crew");
  // Earlier than any clock of a run can go back.
  await give("expired", "crew", 1);
  await give("suspended", "stranger");
  await suspendAccount(store, { subject: "stranger", reason: "unpaid" }, now);
}

function countAnswers({ applied, pushed }: ServerHost, body: string): void {
  const { answers } = JSON.parse(body) as { readonly answers: readonly { id: string; outcome: string }[] };
  for (const answer of answers) {
    if (answer.outcome === "applied") applied.set(answer.id, (applied.get(answer.id) ?? 0) + 1);
    const id = answer.id.slice(0, uuidLength);
    pushed.set(id, { times: (pushed.get(id)?.times ?? 0) + 1, last: JSON.stringify(answer) });
  }
}

/** An idempotency key is the operation's id, with a number behind it once its body has changed. */
export const uuidLength = 36;
