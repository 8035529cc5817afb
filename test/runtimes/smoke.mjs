// Owns what is tried on every Node version that the package supports, with nothing but the installed package.
// Leaves the choice of versions to test/runtimes/runtimes.test.ts.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import * as front from "holdfast";
import * as node from "holdfast/node";
import * as server from "holdfast/server";
import * as testing from "holdfast/testing";

for (const [door, names] of Object.entries({ front, node, server, testing })) {
  assert.ok(Object.keys(names).length > 0, `the door ${door} is empty`);
}

const directory = mkdtempSync(path.join(tmpdir(), "holdfast-smoke-"));
try {
  await drainAfterReopening(directory);
  await syncTwoDevices(directory);
  await speakWithTheDaemon(path.join(directory, "daemon"));
} finally {
  rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
}
console.log(`smoke ok on ${process.version}`);

/** Queue and close; open again with the type that runs, and drain: an own type beside a real request. */
async function drainAfterReopening(folder) {
  const got = [];
  const receiver = createServer(async (request, response) => {
    let text = "";
    for await (const chunk of request) text += chunk;
    got.push({ key: request.headers["idempotency-key"], body: JSON.parse(text) });
    response.writeHead(201, { "content-type": "application/json" }).end('{"id":"srv-1"}');
  });
  await new Promise((resolve) => receiver.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${receiver.address().port}/notes`;

  const first = await node.openEngine({ directory: folder, types: [{ type: "note.save" }] });
  const own = first.handle("queue.add", { type: "note.save", payload: { text: "kept" }, lane: "notes" });
  const sent = first.handle("queue.add", {
    type: "http.request",
    payload: { method: "POST", url, body: { json: { n: 1 } } },
  });
  assert.equal(first.handle("queue.status", {}).unsent, 2);
  first.close();

  const ran = [];
  const save = front.operation({
    type: "note.save",
    input: { "~standard": { version: 1, vendor: "smoke", validate: (value) => ({ value }) } },
    run: async (input, { idempotencyKey }) => {
      ran.push({ input, idempotencyKey });
      return front.applied({ saved: true });
    },
  });
  const second = await node.openEngine({ directory: folder, types: [save] });
  const client = front.connect({ engine: second });
  second.start();
  const ends = await Promise.all([own.id, sent.id].map((id) => client.settled(id, { timeoutMs: 30_000 })));
  assert.deepEqual(
    ends.map(({ status }) => status),
    ["completed", "completed"],
  );
  assert.deepEqual(ran, [{ input: { text: "kept" }, idempotencyKey: own.id }]);
  assert.deepEqual(got, [{ key: sent.id, body: { n: 1 } }]);
  assert.equal(second.handle("engine.check", {}).isSound, true);
  await client.close();
  await second.stop();
  second.close();
  receiver.closeAllConnections();
  await new Promise((resolve) => receiver.close(resolve));
}

/** A sync server and two devices: a record each way, fields that merge, a conflict that is decided, and SQL that can only read. */
async function syncTwoDevices(folder) {
  const place = { kind: "embedded", directory: path.join(folder, "server") };
  const syncServer = await node.startServer({
    ...{ place, config: {}, isDevelopment: true, host: "127.0.0.1", port: 0, log: () => {} },
  });
  const sync = { url: syncServer.url, space: "main", token: syncServer.token };
  const notes = front.collection({
    name: "notes",
    schema: { "~standard": { version: 1, vendor: "smoke", validate: (value) => ({ value }) } },
    indexes: ["title"],
    merge: { stars: { rule: "counter" } },
  });
  const open = async (name) => {
    const engine = await node.openEngine({ directory: path.join(folder, name), collections: [notes], sync });
    engine.start();
    const client = front.connect({ engine });
    return { engine, client, notes: client.collection(notes) };
  };
  const [ada, bea] = [await open("ada"), await open("bea")];
  await ada.notes.put("n1", { title: "Tides", stars: 1 });
  await until(async () => (await bea.notes.get("n1"))?.state === "synced", "the record has come over");
  await bea.client.network.offline();
  await bea.notes.update("n1", { title: "Ebb", stars: 2 });
  await ada.notes.update("n1", { title: "Flood", stars: 2 });
  await until(async () => (await ada.notes.get("n1")).state === "synced", "one change has landed");
  await bea.client.network.online();
  await until(async () => (await bea.client.conflicts.list({})).open === 1, "the title is in dispute");
  await bea.client.conflicts.resolve({ filter: { collection: "notes" }, choose: "merge" });
  for (const { notes: each } of [ada, bea])
    await until(async () => {
      const { state, value } = await each.get("n1");
      return state === "synced" && value.title === "Ebb" && value.stars === 3;
    }, "both have the decision, and what each has counted");
  const sql = (text) => ada.client.records.sql({ sql: text });
  assert.equal((await sql("SELECT title FROM notes")).rows.length, 1);
  for (const text of [
    "DELETE FROM notes",
    "UPDATE record SET value = NULL",
    "DROP TABLE op",
    "SELECT * FROM op",
    "PRAGMA journal_mode = DELETE",
    "ATTACH 'other.db' AS other",
    "WITH gone AS (SELECT 1) DELETE FROM record",
  ])
    await assert.rejects(sql(text), { code: "invalid_input" }, text);
  assert.equal((await ada.notes.get("n1")).value.title, "Ebb");
  for (const { client, engine } of [ada, bea]) {
    assert.equal((await client.engine.check()).isSound, true);
    await client.close();
    await engine.stop();
    engine.close();
  }
  await syncServer.stop();
}

async function until(isTrue, what) {
  for (const giveUpAt = Date.now() + 30_000; !(await isTrue()); ) {
    if (Date.now() > giveUpAt) throw new Error(`waited in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** The installed command on this very Node: help, version, a daemon that it starts, a client that finds it. */
async function speakWithTheDaemon(home) {
  const main = path.join(import.meta.dirname, "node_modules/holdfast/dist/cli/main.js");
  const { version } = JSON.parse(
    readFileSync(path.join(import.meta.dirname, "node_modules/holdfast/package.json"), "utf8"),
  );
  const env = { ...process.env, HOLDFAST_HOME: home };
  const holdfast = (...words) => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...words], {
      env,
      encoding: "utf8",
      timeout: 45_000,
    });
    assert.equal(status, 0, `holdfast ${words.join(" ")} ended with ${status}: ${stderr}`);
    return stdout;
  };
  assert.match(holdfast("--help"), /usage:? +holdfast/i);
  assert.equal(holdfast("--version").trim(), version);
  const receipt = JSON.parse(holdfast("queue", "add", "--type", "nobody.knows", "--payload", "{}", "--json"));
  const client = await node.connectDaemon({ directory: home });
  assert.equal((await client.queue.get({ id: receipt.id })).type, "nobody.knows");
  assert.equal((await client.engine.info()).version, version);
  await client.close();
  holdfast("daemon", "stop");
}
