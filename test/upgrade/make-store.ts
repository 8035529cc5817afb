// Owns the making of a store with operations in every state, as one release leaves it behind: node test/upgrade/make-store.ts
// It writes store-<schema version>.db.gz and .json to test/golden/; run it once per schema version, then never again.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { openEngine } from "../../src/engine/engine.ts";
import { schemaVersion } from "../../src/engine/schema.ts";
import { openDatabase } from "../../src/node/sqlite.ts";
import { nodeWorld } from "../../src/node/world.ts";
import type { Answer, Json } from "../../src/operation.ts";
import type { AddInput } from "../../src/verbs.ts";
import type { OperationType } from "../../src/world.ts";

const folder = mkdtempSync(path.join(tmpdir(), "holdfast-store-"));
const database = openDatabase(path.join(folder, "holdfast.db"));
const world = nodeWorld({ directory: folder, reserveBytes: 0 });

const problem = { code: "http_422", message: "it was refused", status: 422 };
const answers: Record<string, Answer> = {
  rejected: { kind: "rejected", problem },
  conflict: { kind: "conflict", problem: { ...problem, status: 412 }, remote: { title: "theirs" } },
  retry: { kind: "retry", problem: { ...problem, status: 503 }, isCharged: true, scope: "operation" },
};
/** The payload says how the remote answers. */
const note: OperationType = {
  type: "note",
  version: 2,
  remoteOf: () => "https://notes.example",
  run: async ({ input, operation, saveCheckpoint }) => {
    const { answer } = input as { readonly answer: string };
    if (answer === "hang") {
      await saveCheckpoint({ offset: 512 });
      await new Promise(() => {});
    }
    const applied = { kind: "applied" as const, result: { echo: answer } };
    return (
      answers[answer] ?? (operation.creates === null ? applied : { ...applied, serverId: `srv-${operation.creates}` })
    );
  },
};

const engine = openEngine({ database, world, types: [note], version: "0.1.0" });
const add = (name: string, answer: Json, more: Partial<AddInput> = {}): string =>
  engine.handle("queue.add", { type: "note", title: name, payload: { answer, name }, ...more }).id;
engine.start();

add("completed", "applied");
add("created", "applied", { creates: "local-1" });
const conflict = add("superseded", "conflict");
add("conflict", "conflict", { lane: "conflicts" });
add("behind the conflict", "applied", { lane: "conflicts" });
const rejected = add("rejected", "rejected");
add("depends on the rejected", "applied", { after: [rejected] });
add("aside", "rejected", { lane: "skipping", onFailure: "skip" });
add("behind the aside", "applied", { lane: "skipping" });
add("member 1", "rejected", { group: "group" });
add("member 2", "applied", { group: "group" });
add("in flight", "hang", { lane: "flight" });
add("behind the flight", "applied", { lane: "flight" });
add("retry", "retry", { retry: { initialMs: 600_000, maxMs: 600_000, jitter: 0 } });
add("scheduled", "applied", { notBefore: Date.now() + 60_000 });
add("draft", "applied", { isDraft: true });
add("kept first", "applied", { dedupe: { key: "same", mode: "keep-first" }, notBefore: Date.now() + 60_000 });
add("replaced", "applied", { dedupe: { key: "newest", mode: "replace-pending" }, notBefore: Date.now() + 60_000 });
add("newest", "applied", { dedupe: { key: "newest", mode: "replace-pending" }, notBefore: Date.now() + 60_000 });
add("expired", "applied", { expiresAt: Date.now() + 20, notBefore: Date.now() + 60_000 });
const cancelled = add("cancelled", "applied", { notBefore: Date.now() + 60_000 });
add("important", "applied", { priority: 100, notBefore: Date.now() + 60_000, subject: "ada" });
await sleep(1_500);
engine.handle("queue.cancel", { ids: [cancelled] });
engine.handle("queue.resolve", { ids: [conflict], choose: "remote" });
engine.handle("queue.pause", { scope: { kind: "lane", name: "paused" }, reason: "maintenance" });
add("held in a paused lane", "applied", { lane: "paused" });
engine.handle("network.offline", {});
add("creation waits", "applied", { creates: "local-2" });
add("refers to the creation", "applied", {});
engine.handle("queue.add", {
  type: "note",
  title: "mentions",
  payload: { answer: "applied", parent: "local-2", project: "local-1" },
});
engine.handle("collections.declare", { name: "notes", isSynced: false });
engine.handle("records.write", { kind: "put", collection: "notes", key: "kelp", value: { title: "Kelp" } });
engine.handle("records.write", { kind: "update", collection: "notes", key: "kelp", fields: { depth: 12 } });
engine.handle("queue.add", { type: "from.the.future", title: "unknown type", payload: { any: "thing" } });
await sleep(200);

const copy = path.join(folder, "copy.db");
// While the engine works, so that what is on the wire is on the wire in the copy.
const reader = openDatabase(path.join(folder, "holdfast.db"));
reader.prepare("VACUUM INTO ?").run(copy);
reader.close();
const { operations } = engine.handle("queue.list", {
  order: "oldest",
  limit: 1_000,
  status: ["draft", "pending", "in_progress", "completed", "failed", "cancelled", "expired"],
});
const at = (name: string): string => path.join(import.meta.dirname, `../golden/store-${schemaVersion}.${name}`);
writeFileSync(at("db.gz"), gzipSync(readFileSync(copy), { level: 9 }));
writeFileSync(at("json"), `${JSON.stringify(operations, null, 1)}\n`);
console.log(operations.map(({ title, status, reason }) => `${title}: ${status} ${reason ?? ""}`).join("\n"));
engine.close();
world.close();
rmSync(folder, { recursive: true, force: true });
process.exit(0);
