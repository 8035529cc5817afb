// Owns one client as a process of its own: an engine on a data directory that writes as long as it lives and notes what it was told.
// Leaves starting, killing and judging it to the test; what it notes is a history for test/replicas/history.ts.
import { appendFileSync } from "node:fs";
import { join } from "node:path";
import { isCode } from "../../src/errors.ts";
import { openEngine } from "../../src/node/engine.ts";
import { seededRandom } from "../../src/testing/random.ts";
import type { Output } from "../../src/verbs.ts";
import type { HistoryEvent } from "../replicas/history.ts";

export type ClientRequest = {
  readonly name: string;
  readonly life: number;
  readonly directory: string;
  readonly url: string;
  readonly token: string;
  readonly seed: string;
};

const everyMs = 30;
const keys = ["k1", "k2", "k3", "k4"] as const;

const { name, life, directory, url, token, seed } = JSON.parse(process.argv[2] ?? "{}") as ClientRequest;
const random = seededRandom(`${seed}/${name}/${life}`);
const engine = await openEngine({
  directory,
  sync: { url, token, space: "main" },
  collections: [
    { name: "notes", merge: { shared: { rule: "prefer-remote" }, tags: { rule: "set" } } },
    { name: "meters", merge: { n: { rule: "counter" } } },
    { name: "steps" },
  ],
  network: { confirmMs: 50, probeInitialMs: 100, probeMaxMs: 400, probeTimeoutMs: 2_000, reconnectJitterMs: 50 },
  settings: { retry: { initialMs: 50, maxMs: 400 } },
});
engine.start();

let isWorking = true;
let count = 0;

/** On the disk at once: what is noted here was really told, however the process ends. */
const note = (event: HistoryEvent): void =>
  appendFileSync(join(directory, "history.jsonl"), `${JSON.stringify(event)}\n`);

// What the life before was not told of may have been kept all the same.
note({ kind: "decide", client: name, record: "*" });

function work(): void {
  count += 1;
  try {
    if (random.chance(0.15)) step();
    else edit();
    if (random.chance(0.3)) look();
  } catch (error) {
    // Nothing was promised: the record is in conflict for a moment, or not here yet.
    if (!isCode(error, "not_found") && !isCode(error, "refused_by_state")) throw error;
  }
}

/** Counts one up and leaves a witness of it, both or neither. */
function step(): void {
  const { record } = engine.handle("records.get", { collection: "meters", key: "m" });
  const n = record?.value?.n;
  if (typeof n !== "number") return;
  engine.handle("records.transaction", {
    writes: [
      { kind: "update", collection: "meters", key: "m", fields: { n: n + 1 } },
      { kind: "create", collection: "steps", key: `${name}-${life}-${count}`, value: { by: name } },
    ],
  });
}

/** Each client has a field of its own, which nobody else writes, and one that all write. */
function edit(): void {
  const key = random.pick(keys);
  const fields = { [name]: `${name}-${life}-${count}` };
  const shared: { readonly [field: string]: string } = random.chance(0.3) ? { shared: `${name} ${count}` } : {};
  const write = { kind: "update", collection: "notes", key, fields: { ...fields, ...shared } } as const;
  const { operation } = engine.handle("records.write", write);
  note({ kind: "write", client: name, record: `notes/${key}`, fields, operation, isWhole: false });
}

function look(): void {
  const { records } = engine.handle("records.query", { collection: "notes", limit: 100 });
  for (const { key, version, value, state } of records as Output<"records.query">["records"])
    note({
      ...{ kind: "read", client: name, history: "main", record: `notes/${key}`, version, value },
      isSettled: state === "synced",
    });
}

setInterval(() => {
  if (isWorking) work();
}, everyMs);
process.on("message", (asked: { readonly id: number; readonly verb?: string; readonly input?: unknown }) => {
  if (asked.verb === undefined) isWorking = false;
  const answer = asked.verb === undefined ? {} : engine.handle(asked.verb as never, asked.input as never);
  process.send?.({ id: asked.id, answer });
});
process.once("disconnect", () => process.exit(0));
process.send?.({ id: 0, answer: {} });
