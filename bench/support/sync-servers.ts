// Owns what the benches of the sync server share: a PostgreSQL with servers on it, and writers that push as fast as they are answered.
// Leaves what is compared to the bars.
import { randomUUID } from "node:crypto";
import { openPostgres } from "../../src/server/postgres.ts";
import { migrationsFor } from "../../src/server/schema.ts";
import type { ServerStore } from "../../src/server/store.ts";
import { startPostgres } from "../../test/support/postgres.ts";
import type { ServerProcess, Wire } from "../../test/support/servers.ts";
import { creation, newToken, newWire, startServerProcess } from "../../test/support/servers.ts";

export type Site = {
  readonly servers: readonly ServerProcess[];
  readonly store: ServerStore;
  readonly token: string;
  readonly stop: () => Promise<void>;
};

/** A durable PostgreSQL with this many server processes. */
export async function startSite(processes: number): Promise<Site> {
  const cluster = await startPostgres({ isDurable: true });
  const url = await cluster.createDatabase();
  const store = await openPostgres({ url, connections: 2 });
  await store.migrate(migrationsFor(store.dialect));
  const token = await newToken(store);
  const place = { kind: "postgres", url } as const;
  const servers = await Promise.all(Array.from({ length: processes }, () => startServerProcess(place)));
  const stop = async (): Promise<void> => {
    await Promise.all(servers.map((server) => server.kill()));
    await store.close();
    await cluster.stop();
  };
  return { servers, store, token, stop };
}

export type Load = {
  readonly servers: readonly ServerProcess[];
  readonly token: string;
  readonly writers: number;
  /** How many spaces the writers share; writer n writes to space n modulo this. */
  readonly spaces: number;
  /** Operations in one push. */
  readonly batch: number;
  readonly durationMs: number;
};

/** Operations per second that were acknowledged. */
export async function pushRate(load: Load): Promise<number> {
  const endsAt = performance.now() + load.durationMs;
  const startedAt = performance.now();
  const counts = await Promise.all(
    Array.from({ length: load.writers }, (_, index) => {
      const url = load.servers[index % load.servers.length]?.url ?? "";
      return pushUntil(
        newWire(() => url, load.token),
        { ...load, space: `s${index % load.spaces}`, endsAt },
      );
    }),
  );
  return counts.reduce((sum, count) => sum + count, 0) / ((performance.now() - startedAt) / 1_000);
}

async function pushUntil(
  wire: Wire,
  { space, batch, endsAt }: { readonly space: string; readonly batch: number; readonly endsAt: number },
): Promise<number> {
  const client = randomUUID();
  let number = 0;
  while (performance.now() < endsAt) {
    const items = Array.from({ length: batch }, () => {
      number += 1;
      return creation(randomUUID(), number, [randomUUID()]);
    });
    await wire.push({ space, client, floor: items[0]?.number ?? 0, items });
  }
  return number;
}

/** Resident memory of a server process. */
export function memoryOf({ child }: ServerProcess): Promise<number> {
  return new Promise((resolve) => {
    child.once("message", (told) => resolve((told as { rss: number }).rss));
    child.send("memory");
  });
}
