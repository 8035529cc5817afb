// Owns one client of the kill tests, a process of its own: it queues operations of every kind until it is told to stop,
// and repeats each under its own id until it is acknowledged: node client.ts <home> <folder> <name> <seed> <port>
import { createHash } from "node:crypto";
import { closeSync, openSync, writeSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "../../../src/client/client.ts";
import { newOperationId } from "../../../src/client/client.ts";
import { errorTable, HoldfastError } from "../../../src/errors.ts";
import { makeBlobs } from "../../../src/node/blobs.ts";
import { connectDaemon } from "../../../src/node/transport.ts";
import type { Json } from "../../../src/operation.ts";
import { seededRandom } from "../../../src/testing/random.ts";
import type { AddInput } from "../../../src/verbs.ts";
import type { Acknowledged } from "./shapes.ts";

const [home = "", folder = "", name = "", seed = "", port = ""] = process.argv.slice(2);
const random = seededRandom(seed);
const base = `http://127.0.0.1:${port}`;
const blobs = makeBlobs(home);
const notes = openSync(path.join(folder, `acknowledged-${name}.jsonl`), "a");
const lanes = [`lane-${name}`, "shared", "shared-2", null] as const;
const recent: string[] = [];
let made = 0;
let client: Client | undefined;

type Planned = { readonly input: AddInput; readonly note: Omit<Acknowledged, "id"> };

const state = { isStopped: false };
process.on("message", () => {
  state.isStopped = true;
});
process.on("disconnect", () => process.exit(1));

while (!state.isStopped) {
  const planned = await plan();
  await queue(planned);
  await sleep(random.below(60));
}
await client?.close();
closeSync(notes);
process.exit(0);

/** The next operations: one, or several that belong together. */
async function plan(): Promise<readonly Planned[]> {
  made += 1;
  const draw = random.below(10);
  if (draw === 0) return creation();
  if (draw === 1) return [command()];
  if (draw === 2) return [await upload("put")];
  if (draw === 3) return [await upload("tus")];
  if (draw === 4) return [request(), request(), request()];
  if (draw <= 6 && recent.length > 0) {
    const after = [random.pick(recent as [string, ...string[]])];
    return [{ ...request({ after }), note: { kind: "request", after } }];
  }
  return [request()];
}

function request(more: Partial<AddInput> = {}): Planned {
  const payload = { method: "POST", url: `${base}/notes`, body: { json: { from: name, made } } };
  return { input: { type: "http.request", payload, lane: random.pick(lanes), ...more }, note: { kind: "request" } };
}

function creation(): readonly Planned[] {
  const local = `local-${name}-${made}`;
  const post = (where: string, json: Record<string, string>): AddInput["payload"] => ({
    method: "POST",
    url: `${base}${where}`,
    body: { json },
    idFrom: "/id",
  });
  const add = (payload: AddInput["payload"]): AddInput => ({ type: "http.request", payload, lane: random.pick(lanes) });
  return [
    {
      input: { ...add(post("/things", { title: local.slice(6) })), creates: local },
      note: { kind: "create", creates: local },
    },
    { input: add(post(`/things/${local}/notes`, { text: "in the path" })), note: { kind: "refer", refersTo: local } },
    { input: add(post("/links", { thing: local })), note: { kind: "refer", refersTo: local } },
  ];
}

/** Its effect is a file named by the key, made by exactly one run; a repetition finds it and is done. */
function command(): Planned {
  const script = 'set -C; if ( : > "$EFFECTS/$HOLDFAST_IDEMPOTENCY_KEY" ) 2>/dev/null; then sleep 0.1; fi';
  const payload = { argv: ["/bin/sh", "-c", script], cwd: folder, env: { EFFECTS: path.join(folder, "effects") } };
  const onCrash = random.pick(["resend", "ask"]);
  return { input: { type: "command.run", payload, lane: random.pick(lanes), onCrash }, note: { kind: "command" } };
}

async function upload(protocol: "put" | "tus"): Promise<Planned> {
  const bytes = random.bytes(protocol === "put" ? 1 + random.below(60_000) : 150_000);
  const file = await blobs.captureStream(
    (async function* () {
      yield bytes;
    })(),
    { name: `${name}-${made}` },
  );
  const url = protocol === "put" ? `${base}/blobs/${name}-${made}` : `${base}/files`;
  const payload: Json = { file: file as Json, url, protocol, ...(protocol === "tus" ? { chunkBytes: 40_000 } : {}) };
  const lane = protocol === "put" ? random.pick(lanes) : null;
  const sha256 = createHash("sha256").update(bytes).digest("hex");
  return {
    input: { type: "file.upload", payload, lane, retry: { maxAttempts: 100, initialMs: 50, maxMs: 500 } },
    note: { kind: protocol, sha256 },
  };
}

/** Says it until it is acknowledged: the id makes the repetition harmless. */
async function queue(planned: readonly Planned[]): Promise<void> {
  const operations = planned.map(({ input }) => ({ ...input, id: newOperationId() }));
  for (;;) {
    try {
      const { receipts } = await (await connected()).queue.addMany({ operations });
      receipts.forEach(({ id }, index) => {
        writeSync(notes, `${JSON.stringify({ id, ...planned[index]?.note })}\n`);
        recent.push(id);
      });
      recent.splice(0, recent.length - 20);
      return;
    } catch (error) {
      if (!(error instanceof HoldfastError) || !errorTable[error.code].isTransient) {
        writeSync(notes, `${JSON.stringify({ failed: String(error), operations })}\n`);
        throw error;
      }
      await sleep(40);
    }
  }
}

async function connected(): Promise<Client> {
  client ??= await connectDaemon({ directory: home });
  return client;
}
