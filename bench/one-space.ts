// Owns bar S4: pushes per second into one space on PostgreSQL, by the number of its clients and of server processes.
// Leaves the servers and the writers to support/sync-servers.ts, and many spaces to push-processes.ts.
import { spreadOf } from "./support/measure.ts";
import { pushRate, startSite } from "./support/sync-servers.ts";
import type { Measure } from "./support/types.ts";

const clients = [1, 8, 32] as const;
const processes = [1, 2, 4] as const;
/** Operations in one push: a person's single edit, and a device that comes back. */
const batches = [1, 20] as const;

export const measure: Measure = async (scope) => {
  const site = await startSite(4);
  const rates = new Map<string, number[]>();
  const durationMs = scope.isQuick ? 500 : 1_200;
  try {
    for (let round = -1; round < (scope.isQuick ? 2 : 5); round += 1) {
      for (const batch of batches) {
        for (const count of processes) {
          for (const writers of clients) {
            const servers = site.servers.slice(0, count);
            const rate = await pushRate({ servers, token: site.token, writers, spaces: 1, batch, durationMs });
            const key = `${batch}/${count}/${writers}`;
            if (round >= 0) rates.set(key, [...(rates.get(key) ?? []), rate / batch]);
          }
        }
      }
    }
  } finally {
    await site.stop();
  }
  const ratesOf = (batch: number, count: number, writers: number): readonly number[] =>
    rates.get(`${batch}/${count}/${writers}`) ?? [];
  const ratio = (batch: number) =>
    spreadOf(ratesOf(batch, 1, 32).map((rate, round) => rate / (ratesOf(batch, 1, 1)[round] ?? Number.NaN)));
  return {
    figures: batches.map((batch) => ({
      key: "S4",
      label: `32 clients / one, one process, pushes of ${batch}`,
      ratio: ratio(batch),
    })),
    rows: batches.flatMap((batch) =>
      processes.flatMap((count) =>
        clients.map((writers) => ({
          label: `pushes of ${batch} acknowledged, ${writers} ${writers === 1 ? "client" : "clients"}, ${count} ${count === 1 ? "process" : "processes"}`,
          spread: spreadOf(ratesOf(batch, count, writers)),
          unit: "/s" as const,
        })),
      ),
    ),
    notes: ["one space; fsync on; the writers, the servers and PostgreSQL share the cores of this machine"],
  };
};
