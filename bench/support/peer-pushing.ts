// Owns draining a peer's queue to a receiver, through its own worker: what it takes for each note, and that as rows beside a bar.
// Leaves the receiver to pushing.ts and the peers to plainjob.ts and tanstack.ts.
import { randomUUID } from "node:crypto";
import { rmSync } from "node:fs";
import { spreadOf, timeMs } from "./measure.ts";
import { openPlainjob, plainjobName } from "./plainjob.ts";
import { newDirectory } from "./stores.ts";
import type { Sending } from "./tanstack.ts";
import { openTanstack, tanstackName } from "./tanstack.ts";
import type { Row, Scope } from "./types.ts";

/** Posts a body, as a user's own function to send does; the key is what the receiver tells a repetition by. */
export type Post = (body: unknown, key: string) => Promise<unknown>;

/** Milliseconds for each note, round by round. */
export type PeerTimes = { readonly plainjob: number[]; readonly tanstack: number[] };

export type PeerPush = {
  readonly scope: Scope;
  readonly post: Post;
  /** plainjob has no batches: as many workers as there are requests in flight, each with one job at a time. */
  readonly workers: number;
  /** Notes in one transaction of TanStack's, which sends one transaction at a time. */
  readonly together: number;
};

/** Each settles in a commit of its own, which the slow disk makes slow; a tenth is enough to see it. */
const countFor = ({ isQuick, isSlowDisk }: Scope): number => (isSlowDisk ? 100 : isQuick ? 200 : 1_000);

/** What a round adds: one drain of each peer. The first rounds are enough, since the peers are slow. */
export async function takePeers(push: PeerPush, round: number, times: PeerTimes): Promise<void> {
  if (round >= (push.scope.isQuick ? 1 : 2)) return;
  const taken = { plainjob: await pushThroughPlainjob(push), tanstack: await pushThroughTanstack(push) };
  if (round < 0) return;
  times.plainjob.push(taken.plainjob);
  times.tanstack.push(taken.tanstack);
}

async function pushThroughPlainjob({ scope, post, workers }: PeerPush): Promise<number> {
  const count = countFor(scope);
  const directory = newDirectory(scope.directory, "plainjob");
  const plainjob = await openPlainjob(directory);
  plainjob.addMany(count);
  // Ids of jobs begin anew in each queue, keys must not.
  const run = randomUUID();
  const send = (id: number, data: string): Promise<unknown> => {
    const key = `${run}-${id}`;
    return post({ key, ...JSON.parse(data) }, key);
  };
  const spent = await timeMs(() => plainjob.drain({ count, workers, send }));
  plainjob.close();
  rmSync(directory, { recursive: true, force: true });
  return spent / count;
}

async function pushThroughTanstack({ scope, post, together }: PeerPush): Promise<number> {
  // Queuing slows down with depth, so these are fewer.
  const transactions = together === 1 ? countFor(scope) / 5 : 10;
  const directory = newDirectory(scope.directory, "tanstack");
  const send = ({ transaction, idempotencyKey }: Sending): Promise<unknown> => {
    const items = transaction.mutations.map(({ modified }, at) => ({ key: `${idempotencyKey}-${at}`, ...modified }));
    return post(together === 1 ? items[0] : items, idempotencyKey);
  };
  const tanstack = await openTanstack(directory, { send });
  for (let done = 0; done < transactions; done += 1) await tanstack.addTogether(together);
  const spent = await timeMs(() => tanstack.take(transactions));
  tanstack.close();
  rmSync(directory, { recursive: true, force: true });
  return spent / (transactions * together);
}

/** `baseMs` is what sending without a queue took for each note, round by round. */
export function peerRows(
  server: string,
  base: { readonly name: string; readonly ms: readonly number[] },
  { times, workers, together }: { readonly times: PeerTimes } & Pick<PeerPush, "workers" | "together">,
): readonly Row[] {
  const titles = {
    plainjob: `${plainjobName} with ${workers} workers`,
    tanstack: `${tanstackName}, one transaction${together === 1 ? "" : ` of ${together}`} at a time`,
  };
  return (["plainjob", "tanstack"] as const).flatMap((peer): readonly Row[] => {
    const ratios = times[peer].map((ms, round) => (base.ms[round] ?? Number.NaN) / ms);
    return [
      { label: `${server}: ${titles[peer]}, each`, spread: spreadOf(times[peer].map((ms) => ms * 1e3)), unit: "us" },
      { label: `${server}: ${base.name} / ${titles[peer]}`, spread: spreadOf(ratios), unit: "x" },
    ];
  });
}
