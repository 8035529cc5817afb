// Owns bar S1: pushes per second through one, two and four server processes on one PostgreSQL, into many spaces and into one.
// Leaves the servers and the writers to support/sync-servers.ts.
import { spreadOf } from "./support/measure.ts";
import { pushRate, startSite } from "./support/sync-servers.ts";
import type { Measure } from "./support/types.ts";

const batch = 20;
const writers = 16;
const processes = [1, 2, 4] as const;
const spread = 16;

export const measure: Measure = async (scope) => {
  const site = await startSite(4);
  const rates = new Map<string, number[]>();
  const durationMs = scope.isQuick ? 500 : 1_200;
  try {
    for (let round = -1; round < (scope.isQuick ? 2 : 5); round += 1) {
      for (const spaces of [spread, 1]) {
        for (const count of processes) {
          const servers = site.servers.slice(0, count);
          const rate = await pushRate({ servers, token: site.token, writers, spaces, batch, durationMs });
          const key = `${spaces}/${count}`;
          if (round >= 0) rates.set(key, [...(rates.get(key) ?? []), rate]);
        }
      }
    }
  } finally {
    await site.stop();
  }
  const ratesOf = (spaces: number, count: number): readonly number[] => rates.get(`${spaces}/${count}`) ?? [];
  const ratio = (spaces: number, count: number) =>
    spreadOf(ratesOf(spaces, count).map((rate, round) => rate / (ratesOf(spaces, 1)[round] ?? Number.NaN)));
  const named = (spaces: number): string => (spaces === 1 ? "one space" : `${spaces} spaces`);
  return {
    figures: [spread, 1].flatMap((spaces) =>
      processes.slice(1).map((count) => ({
        key: "S1",
        label: `${count} processes / one, ${named(spaces)}`,
        ratio: ratio(spaces, count),
      })),
    ),
    rows: [spread, 1].flatMap((spaces) =>
      processes.map((count) => ({
        label: `operations acknowledged, ${count} ${count === 1 ? "process" : "processes"}, ${named(spaces)}`,
        spread: spreadOf(ratesOf(spaces, count)),
        unit: "/s" as const,
      })),
    ),
    notes: [
      `${writers} writers, pushes of ${batch} operations of one record each, fsync on`,
      "the writers, the servers and PostgreSQL share the cores of this machine, so more processes can only win what one leaves idle",
    ],
  };
};
