// Owns the remote of the kill tests, a process of its own: HTTP with durable receipts by Idempotency-Key, PUT targets and a tus server.
// Leaves when it dies to the campaign, which arms it through its channel: node receiver.ts <folder> <port> <seed>
import { createHash } from "node:crypto";
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readFileSync, writeSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:http";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { FileStore } from "@tus/file-store";
import { Server } from "@tus/server";
import { seededRandom } from "../../../src/testing/random.ts";
import type { Armed, Line, Moment } from "./shapes.ts";
import { isUploadMade } from "./uploads.ts";

const [folder = "", port = "0", seed = "0"] = process.argv.slice(2);
const random = seededRandom(seed);
const uploads = path.join(folder, "uploads");
mkdirSync(uploads, { recursive: true });

const journal = path.join(folder, "receipts.jsonl");
const receipts = new Map<string, Line>();
const known = readJournal();
const file = openSync(journal, "a");
// A line that a kill has torn stays where it is; what follows begins on a line of its own.
if (!known.isWhole) writeSync(file, "\n");

/** Effect and receipt are one durable line, as they are one transaction at a server that keeps receipts. */
function write(line: Line): void {
  writeSync(file, `${JSON.stringify(line)}\n`);
  fsyncSync(file);
  if (line.what !== "replay" && line.what !== "leak") receipts.set(line.key, line);
}

function readJournal(): { readonly isWhole: boolean } {
  const text = existsSync(journal) ? readFileSync(journal, "utf8") : "";
  for (const row of text.split("\n").slice(0, -1)) {
    try {
      const line = JSON.parse(row) as Line;
      if (line.what !== "replay" && line.what !== "leak") receipts.set(line.key, line);
    } catch {
      // Torn by a kill: it was never answered, so nobody counts on it.
    }
  }
  return { isWhole: text === "" || text.endsWith("\n") };
}

let armed: Armed | null = null;
process.on("message", (message: Armed | null) => {
  armed = message;
});
process.on("disconnect", () => process.exit(0));

/** Every moment at which somebody may have to die. */
async function pass(moment: Moment): Promise<void> {
  if (armed === null || armed.moment !== moment) return;
  armed = { ...armed, after: armed.after - 1 };
  if (armed.after > 0) return;
  const { victim } = armed;
  armed = null;
  if (victim === "receiver") process.kill(process.pid, "SIGKILL");
  process.send?.({ reached: moment });
  // Held back until the daemon has been killed while it waits for this.
  await sleep(150);
}

const tus = new Server({
  path: "/files",
  datastore: new FileStore({ directory: uploads }),
  relativeLocation: true,
  // Noted before the upload is made: an address whose upload is missing is worth nothing, see `isUploadMade`.
  onUploadCreate: async (request, upload) => {
    const key = request.headers.get("idempotency-key") ?? "";
    write({ what: "tus", key, url: "/files", location: `/files/${upload.id}` });
    return {};
  },
});

const server = createServer((request, response) => {
  answer(request, response).catch(() => response.destroy());
});
server.keepAliveTimeout = 60_000;
server.listen(Number(port), "127.0.0.1", () => process.send?.({ listening: true }));

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = request.url ?? "/";
  const key = String(request.headers["idempotency-key"] ?? "");
  await pass("arrived");
  if (url.startsWith("/files")) return answerTus(request, response, key);
  if (request.method === "HEAD" || request.method === "GET") return void response.writeHead(204).end();
  const body = await readBody(request);
  if (/local-/.test(url) || /"local-/.test(body.toString("latin1"))) write({ what: "leak", key, url });
  await sleep(random.below(12));
  // Asked in the turn that writes: a repetition may be here while the first is still in hand.
  if (receipts.has(key)) write({ what: "replay", key, url });
  else if (request.method === "PUT") write({ what: "put", key, url, sha256: sha256(body) });
  else write({ what: "request", key, url, id: `srv-${receipts.size + 1}`, body: JSON.parse(body.toString("utf8")) });
  await pass("recorded");
  await sleep(random.below(12));
  // One answer in twenty is lost on the way, without anybody dying.
  if (random.chance(0.05)) return void response.destroy();
  const line = receipts.get(key);
  response.writeHead(201, { "content-type": "application/json" }).end(JSON.stringify({ id: line?.id ?? key }));
  await pass("answered");
}

const creations = new Map<string, Promise<void>>();

/** Creations under one key go one after the other, as they do at a server that holds the row of the key meanwhile. */
async function answerTus(request: IncomingMessage, response: ServerResponse, key: string): Promise<void> {
  if (request.method === "POST") {
    const before = creations.get(key) ?? Promise.resolve();
    const creation = before.then(() => create(request, response, key));
    creations.set(
      key,
      creation.catch(() => undefined),
    );
    await creation;
  } else await tus.handle(request, response);
  await pass("recorded");
}

/** A creation that is repeated under its key gets the upload that it has made, as a server with receipts does it. */
async function create(request: IncomingMessage, response: ServerResponse, key: string): Promise<void> {
  const location = receipts.get(key)?.location;
  if (location !== undefined && isUploadMade(uploads, location))
    response.writeHead(201, { location, "tus-resumable": "1.0.0", "content-length": "0" }).end();
  else await tus.handle(request, response);
}

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  if (!request.complete) throw new Error("the sender went away");
  return Buffer.concat(chunks);
}

function sha256(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}

process.on("exit", () => closeSync(file));
