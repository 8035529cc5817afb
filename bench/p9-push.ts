// Owns pushing beside bar P9: records that were written before are pushed over HTTP, by ours to the sync server and by RxDB and PouchDB to a
// plain server that stores, with plain fetch as the base. Leaves the clients to support/push-clients.ts; there is no limit to be held to.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { newWire } from "../test/support/servers.ts";
import { missingPeers } from "./support/install.ts";
import { spreadOf } from "./support/measure.ts";
import { collection } from "./support/pull-rows.ts";
import type { PushClient, Pushed, PushTask } from "./support/push-clients.ts";
import type { Source } from "./support/replication.ts";
import { peerNames, runClient, startOurs, startPlain } from "./support/replication.ts";
import { newDirectory } from "./support/stores.ts";
import type { Measured, Row, Scope } from "./support/types.ts";

const warmUp = 1_000;

type Taken = ReadonlyMap<PushClient, readonly number[]>;

/** Rows to be shown beside the figures of pulling. */
export async function measurePush(scope: Scope): Promise<Pick<Measured, "rows" | "notes">> {
  const rows = scope.isQuick ? 2_000 : 10_000;
  const directory = newDirectory(scope.directory, "p9-push");
  mkdirSync(join(directory, "server"));
  const plain = await startPlain("push-target.ts", [join(directory, "target.db")]);
  const ours = await startOurs(join(directory, "server"));
  try {
    const taken = await measureAll(scope, rows, (client) => (client === "holdfast" ? ours : plain));
    return {
      rows: rowsOf(taken, rows),
      notes: [
        `P9-push: ${rows.toLocaleString("en")} records written before, each by itself; both servers sync before they answer`,
      ],
    };
  } finally {
    await plain.stop();
    await ours.stop();
  }
}

/** Turns round by round; the first round warms up with few records and is thrown away. */
async function measureAll(scope: Scope, all: number, serverOf: (client: PushClient) => Source): Promise<Taken> {
  const hasPeers = !scope.isSlowDisk && missingPeers() === null;
  const clients: readonly PushClient[] = hasPeers ? ["plain", "holdfast", "rxdb", "pouchdb"] : ["plain", "holdfast"];
  const taken = new Map<PushClient, number[]>(clients.map((client) => [client, []]));
  for (let round = -1; round < (scope.isQuick ? 2 : 3); round += 1) {
    const rows = round < 0 ? warmUp : all;
    for (const client of clients) {
      const server = serverOf(client);
      // A space of its own for each: what is pushed is new to the server. CouchDB's databases begin with a letter.
      const space = `db-${client}-${round + 1}`;
      const { url, token } = server;
      const task: Omit<PushTask, "directory"> = { client, url, token, space, rows };
      const { ms } = await runClient<Pushed>("push-clients.ts", scope, task);
      await checkArrived(server, space, rows);
      if (round >= 0) taken.get(client)?.push(ms);
    }
  }
  return taken;
}

/** A client whose records are not all at the server has no time to show. */
async function checkArrived({ url, token }: Source, space: string, rows: number): Promise<void> {
  const count =
    token === ""
      ? ((await (await fetch(`${url}/${space}/count`)).json()) as { readonly rows: number }).rows
      : (await newWire(() => url, token).pull({ space, history: "", wants: [{ collection, after: 0 }], limit: 1 }))
          .head;
  if (count !== rows) throw new Error(`${count} of ${rows} records arrived in ${space}`);
}

function rowsOf(taken: Taken, rows: number): readonly Row[] {
  const base = taken.get("plain") ?? [];
  return [...taken].flatMap(([client, times]): readonly Row[] => {
    const name = client === "plain" ? "plain fetch" : client === "holdfast" ? client : peerNames[client];
    const ratios = times.map((ms, round) => (base[round] ?? Number.NaN) / ms);
    return [
      { label: `P9-push: ${name}, ${rows}`, spread: spreadOf(times), unit: "ms" },
      ...(client === "plain"
        ? []
        : [{ label: `P9-push: plain fetch / ${name}`, spread: spreadOf(ratios), unit: "x" as const }]),
    ];
  });
}
