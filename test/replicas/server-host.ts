// Owns the sync server of a simulated run: its machine, its database, the processes that come and go, and the log of all that was ever committed.
// What lies between it and the clients is line.ts; what the clients do is replica.ts.
import { createHash } from "node:crypto";
import type { Database } from "../../src/database.ts";
import { openDatabase } from "../../src/node/sqlite.ts";
import type { ServerCollection } from "../../src/server/collections.ts";
import { openEmbeddedStore } from "../../src/server/embedded.ts";
import type { SyncServer } from "../../src/server/server.ts";
import { openServer } from "../../src/server/server.ts";
import { addToken } from "../../src/server/tokens.ts";
import { mortalDatabase } from "../../src/testing/mortal-database.ts";
import type { Random } from "../../src/testing/random.ts";
import type { Scheduler } from "../../src/testing/scheduler.ts";
import { newVirtualMachine } from "../../src/testing/virtual-machine.ts";
import type { VirtualProcess } from "../../src/testing/virtual-world.ts";
import { bootProcess, isDeath } from "../../src/testing/virtual-world.ts";
import { protocolVersion } from "../../src/wire.ts";

export const space = "reef";
export const serverName = "https://sync.test";

/** An answer as it leaves the server; `null` when nobody listens there. */
export type Served = { readonly status: number; readonly headers: Headers; readonly text: string } | null;

export type ServerHost = {
  readonly database: Database;
  readonly token: string;
  /** Hands a request to the running process; never resolves when that process dies over it. */
  readonly handle: (route: string, text: string) => Promise<Served>;
  readonly isUp: () => boolean;
  /** Ends the process at its next commit, before or after it, or at once. */
  readonly kill: (moment: "before" | "after" | "now") => void;
  readonly boot: () => Promise<void>;
  readonly jumpClock: (byMs: number) => void;
  readonly onPoke: (listener: (head: number) => void) => () => void;
  readonly compact: () => Promise<void>;
};

export const serverCollections: readonly ServerCollection[] = [
  {
    name: "notes",
    unique: [["slug"]],
    rules: [
      ({ after }) =>
        typeof after?.a === "string" && after.a.startsWith("forbidden")
          ? { code: "word_forbidden", message: "this word is not allowed", field: "a", hint: "take another one" }
          : null,
    ],
  },
  { name: "tasks" },
  { name: "meters" },
];

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

export async function openServerHost(scheduler: Scheduler, random: Random): Promise<ServerHost> {
  const database = openDatabase(":memory:", { synchronous: "OFF" });
  const machine = newVirtualMachine({ scheduler, random: random.fork("machine"), hash: sha256 });
  const listeners = new Set<(head: number) => void>();
  let boots = 0;
  let living: { readonly process: VirtualProcess; readonly server: SyncServer } | null = null;
  let token = "";

  const boot = async (): Promise<void> => {
    if (living !== null) return;
    boots += 1;
    const process = bootProcess(machine, `server ${boots}`);
    const store = openEmbeddedStore(mortalDatabase(database, machine, process));
    store.onPoke((_space, head) => {
      for (const listener of listeners) listener(head);
    });
    try {
      const server = await openServer({
        store,
        collections: serverCollections,
        now: process.world.now,
        newId: process.world.newId,
        hash: sha256,
        limits: { requestsPerSecond: 1_000_000, burst: 1_000_000 },
      });
      if (token === "") {
        const grant = { subject: "crew", spaces: [{ space, roles: ["writer"] }], note: "simulation" };
        token = (await addToken(store, grant as never, { now: process.world.now, hash: sha256 })).token;
      }
      living = { process, server };
    } catch (error) {
      if (!isDeath(error) && process.isAlive()) throw error;
    }
  };
  await boot();

  /** What a process leaves behind in this one: its timers. */
  const drop = (process: VirtualProcess): void => {
    if (living?.process !== process) return;
    void living.server.close();
    living = null;
  };
  return {
    database,
    get token() {
      return token;
    },
    isUp: () => living?.process.isAlive() === true,
    handle: async (route, text) => {
      const serving = living;
      if (serving === null || !serving.process.isAlive()) return null;
      const { process, server } = serving;
      const request = new Request(`${serverName}${route}`, {
        method: "POST",
        headers: {
          "content-type": "application/json",
          "holdfast-protocol": String(protocolVersion),
          authorization: `Bearer ${token}`,
        },
        body: text,
      });
      try {
        const response = await server.fetch(request);
        const body = await response.text();
        if (process.isAlive()) return { status: response.status, headers: response.headers, text: body };
      } catch (error) {
        if (!isDeath(error) && process.isAlive()) throw error;
      }
      drop(process);
      // The connection of a process that died stays silent until the caller gives up.
      return new Promise<never>(() => {});
    },
    kill: (moment) => {
      if (living === null) return;
      const { process } = living;
      if (moment === "now") {
        process.kill();
        drop(process);
      } else process.killAtCommit(moment);
    },
    boot: async () => {
      if (living !== null && !living.process.isAlive()) drop(living.process);
      await boot();
    },
    jumpClock: (byMs) => machine.wallClock.jump(byMs),
    onPoke: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    compact: async () => {
      const serving = living;
      if (serving === null) return;
      await serving.server.compact().catch((error: unknown) => {
        if (!isDeath(error) && serving.process.isAlive()) throw error;
        drop(serving.process);
      });
    },
  };
}
