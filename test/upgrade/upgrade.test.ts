// Owns the promise that stores outlive releases: one of each schema version opens with today's code, keeps every row and drains;
// one of a later version is refused untouched; a crash inside a migration leaves a store that opens. The fixtures: make-store.ts.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { copyFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import { gunzipSync } from "node:zlib";
import { afterEach, expect, test } from "vitest";
import type { Engine } from "../../src/engine/engine.ts";
import { migrate, schemaVersion } from "../../src/engine/schema.ts";
import type { OpenEngineOptions } from "../../src/node/engine.ts";
import { openEngine } from "../../src/node/engine.ts";
import { openDatabase } from "../../src/node/sqlite.ts";
import type { Output } from "../../src/verbs.ts";
import type { OperationType } from "../../src/world.ts";

type Operation = Output<"queue.get">;

const versions = Array.from({ length: schemaVersion }, (_, index) => index + 1);
const everyStatus = ["draft", "pending", "in_progress", "completed", "failed", "cancelled", "expired"] as const;
const folders: string[] = [];
const engines: Engine[] = [];
afterEach(() => {
  for (const engine of engines.splice(0)) engine.close();
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

function newFolder(): string {
  const folder = mkdtempSync(path.join(tmpdir(), "holdfast-upgrade-"));
  folders.push(folder);
  return folder;
}

/** A data directory with the store as that release left it. */
function unpack(version: number): string {
  const folder = newFolder();
  writeFileSync(
    path.join(folder, "holdfast.db"),
    gunzipSync(readFileSync(path.join(import.meta.dirname, `../golden/store-${version}.db.gz`))),
  );
  return folder;
}

const expected = (version: number): readonly Operation[] =>
  JSON.parse(readFileSync(path.join(import.meta.dirname, `../golden/store-${version}.json`), "utf8"));

const sent: { readonly id: string; readonly key: string; readonly input: unknown; readonly checkpoint: unknown }[] = [];
const accepting = (type: string, version: number): OperationType => ({
  type,
  version,
  remoteOf: () => "",
  run: async ({ operation, idempotencyKey, input, checkpoint }) => {
    sent.push({ id: operation.id, key: idempotencyKey, input, checkpoint });
    return { kind: "applied", ...(operation.creates === null ? {} : { serverId: `srv-${operation.creates}` }) };
  },
});

async function open(directory: string, more: Partial<OpenEngineOptions> = {}): Promise<Engine> {
  sent.length = 0;
  const types = [accepting("note", 2), accepting("from.the.future", 1)];
  // The fixtures grow older than any retention.
  const settings = { retainMs: 1e12, retainCount: 1_000 };
  const engine = await openEngine({ directory, types, settings, ...more });
  engines.push(engine);
  return engine;
}

const list = (engine: Engine): readonly Operation[] =>
  engine.handle("queue.list", { order: "oldest", limit: 1_000, status: [...everyStatus] }).operations;

const lasting = ({
  id,
  sequence,
  status,
  reason,
  payload,
  title,
  lane,
  priority,
  subject,
  idempotencyKey,
  creates,
  result,
  attempts,
}: Operation) => ({
  id,
  sequence,
  status,
  // Why a pending one waits is told by what is true now; why a failed one failed was true then.
  reason: status === "failed" ? reason : null,
  payload,
  title,
  lane,
  priority,
  subject,
  idempotencyKey,
  creates,
  result,
  attempts,
});

test.each(versions)("a store of schema version %i opens with every operation as it was", async (version) => {
  const engine = await open(unpack(version));
  expect(engine.handle("engine.info", {}).schemaVersion).toBe(schemaVersion);
  expect(list(engine).map(lasting)).toEqual(expected(version).map(lasting));
  expect(new Set(expected(version).map(({ status }) => status))).toEqual(new Set(everyStatus));
  expect(engine.handle("engine.check", {})).toMatchObject({ isSound: true, findings: [] });
  expect(engine.handle("ids.get", { localId: "local-1" }).serverId).toBe("srv-local-1");
});

test.each(versions.filter((version) => version >= 2))(
  "a store of schema version %i keeps its records",
  async (version) => {
    const engine = await open(unpack(version));
    const { record } = engine.handle("records.get", { collection: "notes", key: "kelp" });
    expect(record).toMatchObject({ value: { title: "Kelp", depth: 12 }, state: "local-only" });
    expect(engine.handle("records.history", { collection: "notes", key: "kelp" }).entries).toHaveLength(2);
  },
);

test.each(versions)(
  "a store of schema version %i drains: what was on the wire, waiting, held and parked",
  async (version) => {
    const before = new Map(expected(version).map((operation) => [operation.title, operation]));
    const engine = await open(unpack(version));
    engine.start();
    engine.handle("network.online", {});
    engine.handle("queue.resume", { scope: { kind: "lane", name: "paused" } });
    engine.handle("queue.release", { ids: [before.get("draft")?.id ?? ""] });
    engine.handle("queue.resolve", { ids: [before.get("conflict")?.id ?? ""], choose: "local" });
    engine.handle("queue.retry", { filter: { status: ["failed"] } });
    // However young the fixture is, its times are not waited for.
    for (const { id, notBefore, status } of list(engine)) {
      if (status === "pending" && notBefore !== null) engine.handle("queue.edit", { id, notBefore: null });
    }
    engine.handle("sync.run", {});
    await expect.poll(() => engine.handle("queue.status", {}).unsent, { timeout: 20_000 }).toBe(0);
    const ended = new Set(["expired", "cancelled"]);
    const left = list(engine).filter(({ status }) => status !== "completed" && !ended.has(status));
    expect(left.map(lasting)).toEqual([]);
    expect(list(engine)).toHaveLength(before.size);
    // What may have landed already goes out under the key it had, from where it stood; a refused one gets a new key.
    const flight = sent.find(({ id }) => id === before.get("in flight")?.id);
    expect(flight).toMatchObject({ key: before.get("in flight")?.idempotencyKey, checkpoint: { offset: 512 } });
    expect(sent.find(({ id }) => id === before.get("rejected")?.id)?.key).toBe(`${before.get("rejected")?.id}-1`);
    const mention = sent.find(({ id }) => id === before.get("mentions")?.id);
    expect(mention?.input).toMatchObject({ parent: "srv-local-2", project: "srv-local-1" });
    const place = (title: string): number => sent.findIndex(({ id }) => id === before.get(title)?.id);
    expect(place("behind the flight")).toBeGreaterThan(place("in flight"));
    expect(place("behind the conflict")).toBeGreaterThan(place("conflict"));
    expect(place("depends on the rejected")).toBeGreaterThan(place("rejected"));
    expect(place("member 2")).toBeGreaterThan(place("member 1"));
    expect(engine.handle("engine.check", {})).toMatchObject({ isSound: true, findings: [] });
  },
);

test.each(["wal", "delete"])(
  "a store of a later version is refused and not a byte of it is touched (journal %s)",
  async (mode) => {
    const folder = unpack(schemaVersion);
    const file = path.join(folder, "holdfast.db");
    const raw = new DatabaseSync(file);
    raw.exec(`PRAGMA journal_mode = ${mode}; PRAGMA user_version = ${schemaVersion + 1}`);
    raw.close();
    const hash = (): string => createHash("sha256").update(readFileSync(file)).digest("hex");
    const before = hash();
    await expect(open(folder)).rejects.toMatchObject({
      code: "database_newer",
      message: expect.stringContaining(`schema version ${schemaVersion + 1}`),
    });
    expect(hash()).toBe(before);
    expect(
      readdirSync(folder).filter(
        (name) =>
          /wal|journal$|corrupt|damaged|quarantine/.test(name) &&
          readFileSync(path.join(folder, name)).length > 0 &&
          name.startsWith("holdfast.db"),
      ),
    ).toEqual([]);
  },
);

test("a SQLite file that is no store is kept beside, byte for byte", async () => {
  const folder = newFolder();
  const file = path.join(folder, "holdfast.db");
  const raw = new DatabaseSync(file);
  raw.exec("CREATE TABLE recipe (name TEXT); INSERT INTO recipe VALUES ('soup')");
  raw.close();
  const before = readFileSync(file);
  const engine = await open(folder);
  expect(list(engine)).toEqual([]);
  const kept = readdirSync(folder).filter((name) => readFileSync(path.join(folder, name)).equals(before));
  expect(kept).toHaveLength(1);
});

/** The texts that bring a store from one version to the next, as `migrate` runs them. */
function migrationTexts(): readonly string[] {
  const database = openDatabase(":memory:");
  const texts: string[] = [];
  migrate({
    ...database,
    exec: (sql) => {
      if (sql.includes("PRAGMA user_version")) texts.push(sql);
      database.exec(sql);
    },
  });
  database.close();
  return texts;
}

/** Statements one by one; those inside a trigger end with the trigger. */
function statementsOf(text: string): readonly string[] {
  return text
    .split(/;\s*(?=CREATE |INSERT INTO counter \(id, n\) VALUES \(0|PRAGMA |ALTER |DROP |UPDATE op SET )/)
    .map((each) => `${each};`);
}

/** A process that does the first part of a migration and is killed with -9 before the commit. */
const halfMigration = `
const { DatabaseSync } = await import("node:sqlite");
const { file, statements } = JSON.parse(process.argv[1]);
const database = new DatabaseSync(file);
database.exec("PRAGMA journal_mode = WAL; PRAGMA cache_size = 1; BEGIN IMMEDIATE");
for (const each of statements) database.exec(each);
process.kill(process.pid, "SIGKILL");
await new Promise(() => {});
`;

test("kill -9 inside a migration leaves a store that opens, at any statement of it", async () => {
  for (const [index, text] of migrationTexts().entries()) {
    const statements = statementsOf(text);
    expect(statements.length).toBeGreaterThan(3);
    for (const share of [0, 0.4, 0.8, 1]) {
      const folder = index === 0 ? newFolder() : unpack(index);
      const file = path.join(folder, "holdfast.db");
      const part = statements.slice(0, Math.max(1, Math.round(statements.length * share)));
      const killed = spawnSync(process.execPath, [
        "--no-warnings",
        "--input-type=module",
        "--eval",
        halfMigration,
        JSON.stringify({ file, statements: part }),
      ]);
      expect(killed.signal, String(killed.stderr)).toBe("SIGKILL");
      const engine = await open(folder);
      expect(engine.handle("engine.info", {}).schemaVersion).toBe(schemaVersion);
      expect(engine.handle("engine.check", {})).toMatchObject({ isSound: true, findings: [] });
      if (index > 0) expect(list(engine).map(({ id }) => id)).toEqual(expected(index).map(({ id }) => id));
      engine.start();
      // The stores of earlier versions were left working offline.
      engine.handle("network.online", {});
      const { id } = engine.handle("queue.add", { type: "note", payload: { name: "afterwards" } });
      await expect.poll(() => engine.handle("queue.get", { id }).status, { timeout: 10_000 }).toBe("completed");
    }
  }
});

test("a copy of a store with its journal opens as the store itself", async () => {
  const folder = unpack(schemaVersion);
  const engine = await open(folder);
  const { id } = engine.handle("queue.add", { type: "note", payload: { name: "in the journal" } });
  const copy = newFolder();
  for (const name of ["holdfast.db", "holdfast.db-wal", "holdfast.witness"]) {
    if (existsSync(path.join(folder, name))) copyFileSync(path.join(folder, name), path.join(copy, name));
  }
  const second = await open(copy);
  expect(second.handle("queue.get", { id }).payload).toEqual({ name: "in the journal" });
});
