/**
 * Owns running `file.upload`: opening the captured file, whose headers go where, a single PUT, and the answer in every case.
 * The payload is `upload.ts` of the rules, tus is `tus.ts`, capturing is `blobs.ts`.
 */
import { HoldfastError, isCode } from "../errors.ts";
import { classifyError, classifyResponse, keepDoubt } from "../failure.ts";
import type { Answer, Json } from "../operation.ts";
import { parseJson } from "../problem.ts";
import type { UploadPayload } from "../upload.ts";
import { fileUpload } from "../upload.ts";
import { originOf, pathSegments } from "../url.ts";
import type { Attempt, OperationType } from "../world.ts";
import type { Blobs } from "./blobs.ts";
import type { Answered, Outcome } from "./exchange.ts";
import { answerMs, exchange, openConnections, stallMs } from "./exchange.ts";
import { answerOfError } from "./transfer-answers.ts";
import type { Timing, Transfer } from "./tus.ts";
import { sendByTus } from "./tus.ts";

/** Turns a credential's name into headers for one address; throws `credential_missing`. */
export type UploadCredentials = {
  readonly headersFor: (name: string, subject: string, url: string) => Promise<Readonly<Record<string, string>>>;
};

export type UploadDeps = {
  readonly blobs: Pick<Blobs, "open">;
  readonly credentials: UploadCredentials;
  readonly timing?: Partial<Timing>;
};

/** From here on a server is asked before the bytes go out: a refusal then costs one round trip and no transfer. */
const askFirstBytes = 1_048_576;
const reconnectMs = 1_000;

/**
 * Makes the `file.upload` type that can send.
 * @example
 * engine.register(makeFileUpload({ blobs: makeBlobs(directory), credentials }))
 */
export function makeFileUpload(deps: UploadDeps): OperationType {
  return {
    ...fileUpload,
    run: async (attempt) => {
      const answer = await runUpload(deps, attempt);
      // A stranger's upload under our address: only a new key makes a new one.
      const isForeign = answer.kind === "rejected" && answer.problem.code === "upload_mismatch";
      return isForeign ? answer : keepDoubt(answer, attempt.operation.mayHaveLanded);
    },
  };
}

async function runUpload(deps: UploadDeps, attempt: Attempt): Promise<Answer> {
  const payload = attempt.input as UploadPayload;
  const connections = openConnections();
  let file: Transfer["file"] | undefined;
  try {
    file = await deps.blobs.open(payload.file);
    const transfer: Transfer = {
      attempt,
      payload,
      file,
      connections,
      headersFor: (url) => headersFor(deps, attempt, url),
      isTrusted,
      timing: { now: Date.now, reconnectMs, stallMs, answerMs, ...deps.timing },
    };
    return await (payload.protocol === "tus" ? sendByTus(transfer) : sendByPut(transfer));
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    // What was sent of a file that changed is not to be built upon, should the file be put back.
    if (isCode(error, "file_changed") && attempt.checkpoint !== null) await attempt.saveCheckpoint(null);
    return answerOfError(error);
  } finally {
    connections.close();
    await file?.close();
  }
}

/** An upload address may be on another host. What was meant for the first host stays there. */
async function headersFor(deps: UploadDeps, attempt: Attempt, url: string): Promise<Readonly<Record<string, string>>> {
  const { url: home, headers, credential } = attempt.input as UploadPayload;
  if (originOf(url) !== originOf(home)) return {};
  const named = Object.fromEntries(Object.entries(headers ?? {}).map(([name, value]) => [name.toLowerCase(), value]));
  if (credential === undefined) return named;
  return { ...named, ...(await deps.credentials.headersFor(credential, attempt.operation.subject, url)) };
}

async function sendByPut(transfer: Transfer): Promise<Answer> {
  const { attempt, payload, file, connections, timing } = transfer;
  const total = file.sizeBytes;
  const digest = payload.checksum === false ? {} : { "content-digest": `sha-256=:${base64OfHex(file.sha256)}:` };
  const common = await transfer.headersFor(payload.url);
  attempt.reportProgress({ done: 0, total, unit: "bytes" });
  const outcome = await exchange({
    method: "PUT",
    url: payload.url,
    headers: {
      "content-type": payload.file.mediaType ?? "application/octet-stream",
      ...common,
      ...digest,
      "idempotency-key": attempt.idempotencyKey,
    },
    body: {
      sizeBytes: total,
      blocks: file.read(0, total),
      onSent: (done) => attempt.reportProgress({ done, total, unit: "bytes" }),
      beforeLast: file.assertUnchanged,
    },
    signal: attempt.signal,
    connections,
    stallMs: timing.stallMs,
    answerMs: timing.answerMs,
    isAskedFirst: total >= askFirstBytes,
  });
  return outcome.kind === "broken" ? judgeBreak(outcome, total) : judgeAnswer(transfer, outcome.answer);
}

function judgeBreak({ error, phase, sentBytes }: Extract<Outcome, { readonly kind: "broken" }>, total: number): Answer {
  if (error instanceof HoldfastError) return answerOfError(error);
  const answer = classifyError(error, phase);
  if (answer.kind !== "unknown") return answer;
  // The last block is held back until the file is proven: without it, no server has a whole body. But it may have known the content.
  return { ...answer, mayHaveLanded: answer.mayHaveLanded && (phase === "body" || sentBytes >= total) };
}

function judgeAnswer(transfer: Transfer, { status, headers, bodyText, isTruncated }: Answered): Answer {
  const { payload, file, timing } = transfer;
  const request = {
    method: "PUT",
    isTrusted: isTrusted(payload.url),
    expect: "any",
    isTruncated,
    receivedAt: timing.now(),
  } as const;
  const answer = classifyResponse({ status, headers, bodyText, request });
  if (answer.kind !== "applied" && answer.kind !== "duplicate") return answer;
  const result = {
    status,
    url: payload.url,
    sizeBytes: file.sizeBytes,
    sha256: file.sha256,
    headers: { ...pick(headers, "etag"), ...pick(headers, "location") },
    body: bodyText,
    isTruncated,
  };
  const serverId = serverIdOf(payload, headers.location, bodyText);
  return { ...answer, result, ...(serverId === null ? {} : { serverId }) };
}

function pick(headers: Answered["headers"], name: string): Readonly<Record<string, string>> {
  const value = headers[name];
  return value === undefined ? {} : { [name]: value };
}

/** The id that the server gave: where the payload says, else the last segment of `Location`, else of the address itself. */
function serverIdOf({ url, idFrom }: UploadPayload, location: string | undefined, bodyText: string): string | null {
  if (idFrom !== undefined && idFrom !== "location") return textAt(parseJson(bodyText), idFrom);
  const found = location === undefined || !URL.canParse(location, url) ? url : new URL(location, url).href;
  return pathSegments(found).at(-1) ?? null;
}

function textAt(value: Json | undefined, pointer: string): string | null {
  let at: Json | undefined = value;
  for (const step of pointer.split("/").slice(1)) {
    if (typeof at !== "object" || at === null) return null;
    const key = step.replaceAll("~1", "/").replaceAll("~0", "~");
    at = Object.hasOwn(at, key) ? (at as Readonly<Record<string, Json>>)[key] : undefined;
  }
  return typeof at === "string" && at !== "" ? at : typeof at === "number" ? String(at) : null;
}

/** Nobody in between can have answered: the connection is encrypted, or stays on this machine. */
function isTrusted(url: string): boolean {
  const { protocol, hostname } = new URL(url);
  return protocol === "https:" || ["localhost", "[::1]"].includes(hostname) || hostname.startsWith("127.");
}

function base64OfHex(hex: string): string {
  return Buffer.from(hex, "hex").toString("base64");
}
