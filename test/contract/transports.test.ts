// Proves that the real daemon keeps the transports' contract, over its Unix socket and over fetch, and through a restart.
// Leaves the contract to src/testing/transport-contract.ts; what every change has to pass at once is beside the sources.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { offlineFetch } from "../../src/client/fetch.ts";
import { httpTransport } from "../../src/client/http.ts";
import type { Transport } from "../../src/client/transport.ts";
import type { Engine } from "../../src/engine/engine.ts";
import { openEngine } from "../../src/engine/engine.ts";
import type { RunningDaemon } from "../../src/node/daemon.ts";
import { runDaemon } from "../../src/node/daemon.ts";
import type { Log } from "../../src/node/log.ts";
import { openDatabase } from "../../src/node/sqlite.ts";
import { connectDaemon, daemonTransport } from "../../src/node/transport.ts";
import { nodeWorld } from "../../src/node/world.ts";
import { httpRequest } from "../../src/request.ts";
import { contractTypes, transportContract } from "../../src/testing/transport-contract.ts";
import type { HoldfastEvent } from "../../src/verbs.ts";

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

function makeHome(): string {
  const directory = mkdtempSync(path.join(tmpdir(), "hf-"));
  closers.push(() => rmSync(directory, { recursive: true, force: true, maxRetries: 5 }));
  return directory;
}

/** The real daemon over the real engine, in this process. */
async function runReal(directory: string): Promise<RunningDaemon> {
  const world = nodeWorld({ directory, reserveBytes: 0, log: () => {} });
  const open = (): Engine => {
    const engine = openEngine({
      database: openDatabase(path.join(directory, "holdfast.db")),
      world,
      types: contractTypes,
    });
    engine.start();
    const close = (): void => {
      engine.close();
      world.close();
    };
    return { ...engine, close };
  };
  const log: Log = { write: () => {}, setLevel: () => {}, close: () => {} };
  const daemon = await runDaemon({ directory, openEngine: open, version: "0.0.0", log });
  closers.push(() => daemon.stop(0));
  return daemon;
}

describe("the contract over the real daemon:", () => {
  const reach: readonly (readonly [string, (daemon: RunningDaemon) => Promise<Transport> | Transport])[] = [
    ["its Unix socket", ({ home }) => daemonTransport(home.directory)],
    ["fetch", ({ url, token: own }) => httpTransport({ url, token: own })],
  ];
  for (const [name, openTo] of reach) {
    const makeWorld = async () => {
      const daemon = await runReal(makeHome());
      return { engine: daemon.engine, open: () => openTo(daemon), close: () => daemon.stop(0) };
    };
    for (const each of transportContract({ makeWorld })) test(`${name}: ${each.name}`, each.run);
  }

  test("a client waits through a restart of the daemon and hears what it missed", async () => {
    const directory = makeHome();
    const first = await runReal(directory);
    const client = await connectDaemon({ directory });
    closers.push(client.close);
    const heard: HoldfastEvent[] = [];
    client.subscribe((event) => heard.push(event));
    const operation = await client.queue.add({ type: "contract.apply", payload: 1, notBefore: Date.now() + 1_000 });
    const settled = operation.settled({ timeoutMs: 20_000 });
    await first.stop(0);
    await runReal(directory);
    expect((await settled).status).toBe("completed");
    await expect
      .poll(() => heard.filter(({ sequence }) => sequence > 0).map(({ kind }) => kind))
      .toEqual(["enqueued", "settled"]);
  });

  const odd = ['{"n":1000000000000000000}', '{"n":"\\ud800"}', '{"\\ud800":1}', '{"__proto__":1}'];
  test.each(odd)("the drop-in fetch queues the body %s with the bytes that it was given", async (body) => {
    const daemon = await runReal(makeHome());
    daemon.engine.register({ ...httpRequest, run: async () => ({ kind: "applied" }) });
    const client = await connectDaemon({ directory: daemon.home.directory });
    closers.push(client.close);
    const fetch = offlineFetch(client, { queueWhen: "always" });
    const init = { method: "POST", body, headers: { "content-type": "application/json" }, holdfast: true };
    expect((await fetch("http://127.0.0.1:9/notes", init)).status).toBe(202);
    const [operation] = (await client.queue.list()).operations;
    expect(operation?.payload).toMatchObject({ body: { text: body } });
  });
});
