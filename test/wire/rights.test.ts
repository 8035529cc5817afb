// Owns what devices show when the rights of their users change at a real server: what comes into reach and goes out of it, over HTTP.
// Leaves views and rests to src/server/views.test.ts and src/engine/views.test.ts.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, expect, test, vi } from "vitest";
import { connect } from "../../src/client/client.ts";
import { directTransport } from "../../src/client/direct.ts";
import type { Engine } from "../../src/engine/engine.ts";
import { openEngine } from "../../src/node/engine.ts";
import { startServer } from "../../src/node/server-host.ts";
import { openServerStore, sha256 } from "../../src/node/server-store.ts";
import { addToken } from "../../src/server/tokens.ts";

const ends: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

const soon = { timeout: 20_000, interval: 50 };
const place = { kind: "embedded", directory: "" } as const;

function newDirectory(): string {
  const directory = mkdtempSync(path.join(tmpdir(), "holdfast-rights-"));
  ends.push(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** A server with a record of each of three teams; clerks read those of team a, auditors and the boss everything. */
async function openServer() {
  const directory = newDirectory();
  const answers = { boss: true };
  const access = {
    "*": { write: true },
    clerk: { read: { team: "a" } },
    scribe: { read: { team: { eq: "a" } } },
    auditor: { read: true },
    boss: { read: () => answers.boss },
  };
  const server = await startServer({
    ...{ place: { ...place, directory }, isDevelopment: false, host: "127.0.0.1", port: 0, log: () => {} },
    config: { collections: [{ name: "notes", access }, { name: "tasks" }], limits: { pageBytes: 1 } },
  });
  ends.push(server.stop);
  const store = await openServerStore({ ...place, directory });
  ends.push(() => store.close());
  const tokenOf = async (...roles: string[]): Promise<string> => {
    const made = { subject: "ada", spaces: [{ space: "main", roles }] };
    return (await addToken(store, made, { now: Date.now, hash: sha256 })).token;
  };
  const writer = await openDevice(server.url, await tokenOf("auditor"));
  for (const team of ["a", "b", "c"])
    for (const collection of ["notes", "tasks"])
      writer.engine.handle("records.write", { kind: "put", collection, key: team, value: { team } });
  await vi.waitFor(() => expect(writer.engine.handle("queue.status", {}).unsent).toBe(0), soon);
  return { url: server.url, tokenOf, answers };
}

async function openDevice(url: string, first: string) {
  let token = first;
  const engine: Engine = await openEngine({
    directory: newDirectory(),
    sync: { url, space: "main", token: () => token },
  });
  for (const name of ["notes", "tasks"]) engine.handle("collections.declare", { name });
  engine.start();
  ends.push(async () => {
    await engine.stop(0);
    engine.close();
  });
  const client = connect({ transport: directTransport(engine) });
  ends.push(client.close);
  const pages: string[][] = [];
  client.collection({ name: "notes" }).subscribe({}, ({ records }) => pages.push(records.map(({ key }) => key)));
  const readings: unknown[] = [];
  engine.subscribe(({ kind, detail }) => {
    if (kind === "collection" && JSON.stringify(detail).includes('"resync"')) readings.push(detail);
  });
  return {
    engine,
    pages,
    readings,
    /** From now on the device has this token, and pulls as it would by itself some minutes later. */
    take: async (next: string) => {
      token = next;
      await client.collection({ name: "notes" }).sync();
    },
  };
}

const again = [{ collection: "notes", state: "resync", reason: "view" }];

test("another role in the token brings what it reads, once, and the reader hears of it; the same rows under another name bring nothing", {
  timeout: 60_000,
}, async () => {
  const { url, tokenOf } = await openServer();
  const ada = await openDevice(url, await tokenOf("clerk"));
  await vi.waitFor(() => expect(ada.pages.at(-1)).toEqual(["a"]), soon);
  await ada.take(await tokenOf("scribe"));
  expect(ada.readings).toEqual([]);
  await ada.take(await tokenOf("scribe", "auditor"));
  await vi.waitFor(() => expect(ada.pages.at(-1)).toEqual(["a", "b", "c"]), soon);
  await ada.take(await tokenOf("auditor"));
  expect(ada.readings).toEqual(again);
});

test("a role that is taken away takes its records with it, as does a rule that answers otherwise; what is unsent is sent", {
  timeout: 60_000,
}, async () => {
  const { url, tokenOf, answers } = await openServer();
  const [ada, bob] = [await openDevice(url, await tokenOf("auditor")), await openDevice(url, await tokenOf("boss"))];
  for (const { pages } of [ada, bob]) await vi.waitFor(() => expect(pages.at(-1)).toEqual(["a", "b", "c"]), soon);
  ada.engine.handle("queue.pause", { scope: { kind: "type", name: "record.write" } });
  ada.engine.handle("records.write", { kind: "update", collection: "notes", key: "b", fields: { n: 1 } });
  await ada.take(await tokenOf("clerk"));
  await vi.waitFor(() => expect(ada.pages.at(-1)).toEqual(["a", "b"]), soon);
  ada.engine.handle("queue.resume", { scope: { kind: "type", name: "record.write" } });
  await vi.waitFor(() => expect(ada.pages.at(-1)).toEqual(["a"]), soon);
  expect(ada.engine.handle("queue.status", {})).toMatchObject({ unsent: 0 });
  expect(ada.engine.handle("conflicts.list", {}).conflicts).toEqual([]);
  answers.boss = false;
  bob.engine.handle("collections.sync", {});
  await vi.waitFor(() => expect(bob.pages.at(-1)).toEqual([]), soon);
  expect([ada.readings, bob.readings]).toEqual([again, again]);
  expect(bob.engine.handle("records.query", { collection: "tasks" }).records).toHaveLength(3);
});
