// Owns bar P12: queuing through the daemon over loopback HTTP, eight callers at a time, against the same in process. Both engines
// drain, so that the hop is all the difference: eight callers of one client, eight clients, and the client of this machine.
// Leaves the daemon's process to support/daemon.ts.
import { fork } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { connect } from "../src/client/client.ts";
import { connectDaemon } from "../src/node/transport.ts";
import { ratioOf, rowOf, takeTurns } from "./support/measure.ts";
import { sendPlainly } from "./support/pushing.ts";
import { newDirectory, note, openOurs } from "./support/stores.ts";
import type { Measure } from "./support/types.ts";

const callers = 8;
const input = { type: "note", payload: note } as const;

export const measure: Measure = async (scope) => {
  const count = scope.isSlowDisk ? 160 : 400;
  const directory = newDirectory(scope.directory, "p12");
  const home = join(directory, "daemon");
  const { child, url, token } = await startDaemon(home);
  const overFetch = connect({ url, token });
  const apart = Array.from({ length: callers }, () => connect({ url, token }));
  const local = await connectDaemon({ directory: home });
  const engine = await openOurs(join(directory, "here"));
  engine.start();
  const idle = await openOurs(join(directory, "idle"));
  let turn = 0;
  const next = () => apart[turn++ % callers] ?? overFetch;
  const run = (send: () => Promise<unknown>) => () => sendPlainly(count, callers, send);
  const rounds = await takeTurns(
    [
      { name: "in process", run: run(() => engine.submit("queue.add", input)) },
      { name: "not draining", run: run(() => idle.submit("queue.add", input)) },
      { name: "over HTTP", run: run(() => overFetch.queue.add(input)) },
      { name: "eight clients", run: run(() => next().queue.add(input)) },
      { name: "client of this machine", run: run(() => local.queue.add(input)) },
    ],
    { rounds: scope.isQuick ? 5 : 15, calls: 3 },
  );
  for (const client of [overFetch, ...apart]) await client.close();
  await local.close();
  engine.close();
  idle.close();
  child.disconnect();
  return {
    figures: [{ key: "P12", label: "in process / over HTTP", ratio: ratioOf(rounds, "in process", "over HTTP") }],
    rows: [
      { label: "in process without draining, each", spread: rowOf(rounds, "not draining", count * 1e-3), unit: "us" },
      {
        label: "in process without draining / over HTTP",
        spread: ratioOf(rounds, "not draining", "over HTTP"),
        unit: "x",
      },
      { label: "in process, each", spread: rowOf(rounds, "in process", count * 1e-3), unit: "us" },
      {
        label: "one client by fetch to loopback TCP, each",
        spread: rowOf(rounds, "over HTTP", count * 1e-3),
        unit: "us",
      },
      {
        label: "eight clients by fetch to loopback TCP, each",
        spread: rowOf(rounds, "eight clients", count * 1e-3),
        unit: "us",
      },
      { label: "in process / eight clients", spread: ratioOf(rounds, "in process", "eight clients"), unit: "x" },
      { label: "client's own socket, each", spread: rowOf(rounds, "client of this machine", count * 1e-3), unit: "us" },
      {
        label: "in process / client's own socket",
        spread: ratioOf(rounds, "in process", "client of this machine"),
        unit: "x",
      },
    ],
  };
};

async function startDaemon(home: string) {
  mkdirSync(home, { recursive: true, mode: 0o700 });
  // The limit on requests protects against runaway clients; here the runaway client is what is measured.
  writeFileSync(join(home, "config.toml"), "[daemon]\nrequests_per_second = 1000000\n", { mode: 0o600 });
  const execArgv = ["--disable-warning=ExperimentalWarning"];
  const child = fork(join(import.meta.dirname, "support/daemon.ts"), [home], { execArgv });
  const told = await new Promise<{ readonly url: string; readonly token: string }>((resolve) =>
    child.once("message", (message) => resolve(message as never)),
  );
  return { child, ...told };
}
