/**
 * Owns one attempt of a tus 1.0 upload: creation, parts, reconnects and the final proof, with its place saved at every step.
 * What the answers mean is `tus.ts` of the rules, the bytes on the wire are `exchange.ts`, the payload is `upload.ts`.
 */
import { setTimeout as wait } from "node:timers/promises";
import { HoldfastError } from "../errors.ts";
import { classifyError, classifyResponse } from "../failure.ts";
import type { Answer, Json } from "../operation.ts";
import type { TusCheckpoint, TusExtensions, TusStep } from "../tus.ts";
import {
  judgeCreation,
  judgeHead,
  judgePatch,
  readCheckpoint,
  readExpiry,
  readExtensions,
  settleUploadUrl,
  tusPatience,
  tusRestarts,
  tusVersion,
} from "../tus.ts";
import type { UploadPayload } from "../upload.ts";
import { defaultChunkBytes, formatBytes, nameOf } from "../upload.ts";
import { originOf, pathSegments } from "../url.ts";
import type { Attempt } from "../world.ts";
import type { BlobFile } from "./blob-file.ts";
import type { Answered, Connections, Exchange, Outcome } from "./exchange.ts";
import { exchange } from "./exchange.ts";
import { answerOfError, checksumRefused, foreign, insecure, locked, rejected, unsettled } from "./transfer-answers.ts";

/** What an attempt works with; made by `upload.ts`. */
export type Transfer = {
  readonly attempt: Attempt;
  readonly payload: UploadPayload;
  readonly file: BlobFile;
  readonly connections: Connections;
  /** Headers for an address: the payload's and the credential's, or none where the address is somebody else's. */
  readonly headersFor: (url: string) => Promise<Readonly<Record<string, string>>>;
  readonly isTrusted: (url: string) => boolean;
  readonly timing: Timing;
};
export type Timing = {
  readonly now: () => number;
  readonly reconnectMs: number;
  readonly stallMs: number;
  readonly answerMs: number;
};

/**
 * What one exchange leads to: an offset that the server vouched for, a look at the server's state, a new start, or the end of
 * the attempt. `setback`: nothing was gained; look again, but not for ever, and end with this answer then.
 */
type Next =
  | { readonly kind: "at"; readonly offset: number }
  | { readonly kind: "check" }
  | { readonly kind: "restart" }
  | { readonly kind: "setback"; readonly answer: Answer }
  | { readonly kind: "end"; readonly answer: Answer };

type State = {
  readonly place: TusCheckpoint | null;
  readonly next: Next;
  /** The furthest byte that any server vouched for in this attempt; going beyond it renews the patience. */
  readonly best: number;
  readonly setbacks: number;
  readonly restarts: number;
  /** True when the offset in `next` is what HEAD said, and not the answer to a part alone. */
  readonly isVerified: boolean;
  /** The upload whose last byte went out and nobody said what became of it; a look that misses bytes there ends the doubt. */
  readonly inDoubt: string | null;
};

/** Runs until the file is there or the attempt has to be given back to the queue. */
export async function sendByTus(transfer: Transfer): Promise<Answer> {
  const { attempt, payload, file } = transfer;
  const offers = await askExtensions(transfer);
  if (offers.kind !== "offers") return offers.answer;
  const { extensions } = offers;
  if (extensions.maxBytes !== null && file.sizeBytes > extensions.maxBytes) {
    const message = `the server takes at most ${formatBytes(extensions.maxBytes)}, the file has ${formatBytes(file.sizeBytes)}`;
    return rejected({ code: "too_large", message, hint: "split it, or send it elsewhere" });
  }
  const upload = { url: payload.url, sha256: file.sha256, sizeBytes: file.sizeBytes };
  const place = readCheckpoint(attempt.checkpoint, upload);
  const next: Next = { kind: "check" };
  let state: State = { place, next, best: -1, setbacks: 0, restarts: 0, isVerified: false, inDoubt: null };
  while (state.next.kind !== "end") state = await advanceOrEnd(transfer, extensions, state);
  const answer = state.inDoubt === null ? state.next.answer : doubted(state.next.answer);
  // Bytes of a changed file may lie at the server, or a stranger's upload: no later attempt may build on that.
  const isTainted = answer.kind === "rejected" && ["file_changed", "upload_mismatch"].includes(answer.problem.code);
  if (isTainted) await attempt.saveCheckpoint(null);
  return answer;
}

/** A place that cannot be noted or a credential that is gone ends the attempt, with what is known by then. */
async function advanceOrEnd(transfer: Transfer, extensions: TusExtensions, state: State): Promise<State> {
  try {
    return await advance(transfer, extensions, state);
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    return ended(state, answerOfError(error));
  }
}

/** One exchange at most, and what it leads to. */
async function advance(transfer: Transfer, extensions: TusExtensions, state: State): Promise<State> {
  const { next, place } = state;
  switch (next.kind) {
    case "at":
      if (place === null) return { ...state, next: { kind: "check" } };
      if (next.offset < transfer.file.sizeBytes)
        return sendPart(transfer, extensions, { ...state, place }, next.offset);
      return state.isVerified ? ended(state, applied(transfer, place, true)) : prove(transfer, { ...state, place });
    case "check":
      return place === null ? create(transfer, state) : verify(transfer, { ...state, place });
    case "restart":
      // The old place stays stored until there is a new one: a portal can say 404 as well.
      if (state.restarts >= tusRestarts)
        return ended(state, unsettled("the server lost the upload several times over"));
      return { ...state, place: null, best: -1, restarts: state.restarts + 1, next: { kind: "check" } };
    case "setback":
      if (state.setbacks >= tusPatience || transfer.attempt.signal.aborted) return ended(state, next.answer);
      await pause(transfer);
      return { ...state, setbacks: state.setbacks + 1, next: { kind: "check" } };
    case "end":
      return state;
  }
}

async function create(transfer: Transfer, state: State): Promise<State> {
  const { attempt, payload, file, timing } = transfer;
  const outcome = await ask(transfer, "POST", payload.url, {
    "content-length": "0",
    "idempotency-key": attempt.idempotencyKey,
    "upload-length": String(file.sizeBytes),
    ...metadataHeader(payload),
  });
  if (outcome.kind === "broken") {
    const next = broken(outcome, file.sizeBytes === 0);
    return { ...state, next, inDoubt: isUnsaid(next) ? payload.url : state.inDoubt };
  }
  const step = judgeCreation(outcome.answer);
  if (step.kind !== "created") return { ...state, next: nextOf(transfer, "POST", payload.url, step, outcome.answer) };
  const uploadUrl = settleUploadUrl(resolve(step.location, payload.url), payload.url);
  if (uploadUrl === null) return ended(state, insecure(step.location));
  const createdAt = timing.now();
  const expiresAt = readExpiry(outcome.answer.headers, createdAt);
  const place = { uploadUrl, offset: 0, createdAt, expiresAt, url: payload.url, sha256: file.sha256 };
  // Before any byte: an upload whose address is lost cannot be resumed.
  await attempt.saveCheckpoint(place as Json);
  return { ...state, place, next: { kind: "at", offset: 0 }, isVerified: false };
}

type Placed = State & { readonly place: TusCheckpoint };

async function verify(transfer: Transfer, state: Placed): Promise<State> {
  const { file, timing } = transfer;
  const { uploadUrl, expiresAt } = state.place;
  const outcome = await ask(transfer, "HEAD", uploadUrl, {});
  if (outcome.kind === "broken") return { ...state, next: broken(outcome, false) };
  const isExpired = expiresAt !== null && expiresAt <= timing.now();
  const step = judgeHead(outcome.answer, { sizeBytes: file.sizeBytes, isExpired });
  const next = nextOf(transfer, "HEAD", uploadUrl, step, outcome.answer);
  return arrive(transfer, { ...state, isVerified: true }, next, outcome.answer);
}

/** The server said yes to the last part. A second look may find bytes missing; that it fails takes nothing back from the yes. */
async function prove(transfer: Transfer, state: Placed): Promise<State> {
  const seen = await verify(transfer, state).catch(() => null);
  return seen?.next.kind === "at" ? seen : ended(state, applied(transfer, state.place, false));
}

async function sendPart(transfer: Transfer, offers: TusExtensions, state: Placed, start: number): Promise<State> {
  const { attempt, payload, file } = transfer;
  const { uploadUrl } = state.place;
  const total = file.sizeBytes;
  const end = Math.min(total, start + (payload.chunkBytes ?? defaultChunkBytes));
  attempt.reportProgress({ done: start, total, unit: "bytes" });
  const headers = {
    "content-type": "application/offset+octet-stream",
    "upload-offset": String(start),
    ...(await checksumHeader(transfer, offers, { start, end })),
  };
  const outcome = await ask(transfer, "PATCH", uploadUrl, headers, {
    sizeBytes: end - start,
    blocks: file.read(start, end),
    onSent: (sent) => attempt.reportProgress({ done: start + sent, total, unit: "bytes" }),
    beforeLast: file.assertUnchanged,
  });
  if (outcome.kind === "broken") {
    const next = broken(outcome, end === total);
    return { ...state, next, inDoubt: isUnsaid(next) ? uploadUrl : state.inDoubt };
  }
  const step = judgePatch(outcome.answer, { start, end });
  const next = nextOf(transfer, "PATCH", uploadUrl, step, outcome.answer);
  // A yes without an offset, or something in the server's place: the file may be whole there.
  if (end === total && next.kind === "end" && next.answer.kind === "unknown")
    return { ...state, next, inDoubt: uploadUrl };
  const hasStood = next.kind === "at" && next.offset === start;
  const stood: Next = { kind: "setback", answer: unsettled("the server took nothing of a part") };
  return arrive(transfer, { ...state, isVerified: false }, hasStood ? stood : next, outcome.answer);
}

/** Notes a new place before anything else happens. */
async function arrive(transfer: Transfer, state: Placed, next: Next, answer: Answered): Promise<State> {
  if (next.kind !== "at") return { ...state, next };
  const { attempt, file, timing } = transfer;
  const expiresAt = readExpiry(answer.headers, timing.now()) ?? state.place.expiresAt;
  const place = { ...state.place, offset: next.offset, expiresAt };
  const isWhole = next.offset === file.sizeBytes;
  await attempt.saveCheckpoint(place as Json).catch((error: unknown) => {
    // The server has said that it has the file, and no disk here that is full takes that back.
    if (!isWhole) throw error;
  });
  attempt.reportProgress({ done: next.offset, total: file.sizeBytes, unit: "bytes" });
  const hasGained = next.offset > state.best;
  const isMissed = state.isVerified && !isWhole && state.inDoubt === place.uploadUrl;
  const inDoubt = isMissed ? null : state.inDoubt;
  const best = Math.max(state.best, next.offset);
  return { ...state, place, next, best, inDoubt, setbacks: hasGained ? 0 : state.setbacks };
}

// ---- asking the server ------------------------------------------------------------------------------------------

async function askExtensions(
  transfer: Transfer,
): Promise<
  { readonly kind: "offers"; readonly extensions: TusExtensions } | { readonly kind: "end"; readonly answer: Answer }
> {
  const outcome = await ask(transfer, "OPTIONS", transfer.payload.url, {});
  if (outcome.kind === "answered") return { kind: "offers", extensions: readExtensions(outcome.answer) };
  const next = broken(outcome, false);
  return { kind: "end", answer: "answer" in next ? next.answer : unsettled("the server could not be asked") };
}

async function ask(
  transfer: Transfer,
  method: string,
  url: string,
  headers: Readonly<Record<string, string>>,
  body?: Exchange["body"],
): Promise<Outcome> {
  const { attempt, connections, timing } = transfer;
  const common = await transfer.headersFor(url);
  return exchange({
    method,
    url,
    headers: { ...common, ...headers, "tus-resumable": tusVersion },
    signal: attempt.signal,
    connections,
    stallMs: timing.stallMs,
    answerMs: timing.answerMs,
    ...(body === undefined ? {} : { body }),
  });
}

type Broken = Extract<Outcome, { readonly kind: "broken" }>;

function broken({ error, phase }: Broken, isLast: boolean): Next {
  if (error instanceof HoldfastError) return { kind: "end", answer: answerOfError(error) };
  const answer = classifyError(error, phase);
  if (answer.kind !== "unknown") return { kind: "end", answer };
  // Parts alone are no effect: until the last byte is out, nothing has landed.
  return { kind: "setback", answer: { ...answer, mayHaveLanded: answer.mayHaveLanded && isLast } };
}

/** The bytes that end the file may be there, and the server did not say. */
function isUnsaid(next: Next): boolean {
  return next.kind === "setback" && next.answer.kind === "unknown" && next.answer.mayHaveLanded;
}

/** What ends an attempt after such a silence tells nothing about it: a sign-in or a pause must not pass for "not landed". */
function doubted(answer: Answer): Answer {
  switch (answer.kind) {
    case "unknown":
    case "auth":
      return { ...answer, mayHaveLanded: true };
    case "retry":
      return { ...answer, scope: "operation" };
    default:
      return answer;
  }
}

/** Turns what tus says into what happens next; what tus leaves open is judged like any answer. */
function nextOf(transfer: Transfer, method: string, url: string, step: TusStep, answer: Answered): Next {
  switch (step.kind) {
    case "at":
    case "restart":
      return step;
    case "check":
      return { kind: "setback", answer: unsettled("the server and we disagree about the offset") };
    case "locked":
      return { kind: "setback", answer: locked() };
    case "checksum":
      return { kind: "setback", answer: checksumRefused() };
    case "malformed":
      return { kind: "end", answer: unsettled(step.reason) };
    case "foreign":
      return { kind: "end", answer: foreign(step.reason) };
    case "judge":
      return { kind: "end", answer: judge(transfer, method, url, answer) };
  }
}

function judge(transfer: Transfer, method: string, url: string, answer: Answered): Answer {
  const { status, headers, bodyText, isTruncated } = answer;
  if (status === 412) {
    const message = `the server speaks tus ${headers["tus-version"] ?? "in another version"}, not ${tusVersion}`;
    return rejected({ code: "tus_version", message, hint: 'use protocol "put" if it takes plain files', status });
  }
  const receivedAt = transfer.timing.now();
  const request = { method, isTrusted: transfer.isTrusted(url), expect: "any", isTruncated, receivedAt } as const;
  const judged = classifyResponse({ status, headers, bodyText, request });
  return judged.kind === "applied" || judged.kind === "duplicate"
    ? unsettled(`an answer (${status}) that no tus server gives`)
    : judged;
}

async function checksumHeader(
  { payload, file }: Transfer,
  { checksum }: TusExtensions,
  { start, end }: { readonly start: number; readonly end: number },
): Promise<Readonly<Record<string, string>>> {
  if (checksum === null || payload.checksum === false) return {};
  const digest = await file.digest(checksum, start, end);
  return { "upload-checksum": `${checksum} ${Buffer.from(digest).toString("base64")}` };
}

function metadataHeader({ file, metadata }: UploadPayload): Readonly<Record<string, string>> {
  const filetype = file.mediaType === undefined ? {} : { filetype: file.mediaType };
  const entries = Object.entries({ filename: nameOf(file), ...filetype, ...metadata });
  const text = entries.map(([key, value]) => `${key} ${Buffer.from(value).toString("base64")}`.trim()).join(",");
  return text === "" ? {} : { "upload-metadata": text };
}

function resolve(location: string, base: string): string {
  return URL.canParse(location, base) ? new URL(location, base).href : "";
}

async function pause({ attempt, timing }: Transfer): Promise<void> {
  const stop = new AbortController();
  const onAbort = () => stop.abort();
  attempt.signal.addEventListener("abort", onAbort);
  await wait(timing.reconnectMs, undefined, { signal: stop.signal }).catch(() => undefined);
  attempt.signal.removeEventListener("abort", onAbort);
}

function ended(state: State, answer: Answer): State {
  return { ...state, next: { kind: "end", answer } };
}

function applied({ file, payload }: Transfer, place: TusCheckpoint, isVerified: boolean): Answer {
  const { uploadUrl } = place;
  const serverId = pathSegments(uploadUrl).at(-1);
  const result = { uploadUrl, sizeBytes: file.sizeBytes, sha256: file.sha256, isVerified };
  const isElsewhere = originOf(uploadUrl) !== originOf(payload.url);
  return {
    kind: "applied",
    result: isElsewhere ? { ...result, origin: originOf(uploadUrl) } : result,
    ...(serverId === undefined ? {} : { serverId }),
  };
}
