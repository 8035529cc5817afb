/**
 * Owns the rules of tus 1.0 for a client that never loses its place: what each answer means, offsets, checkpoint, extensions.
 * Sending and waiting is `node/tus.ts`; an answer that tus does not define is judged like any other by `failure.ts`.
 */
import type { Json } from "./operation.ts";
import type { Headers } from "./pacing.ts";
import { instantOf } from "./pacing.ts";
import { originOf, parseUrl } from "./url.ts";

export const tusVersion = "1.0.0";

/** Setbacks in a row (broken connections, locks, altered parts), without one byte gained between, before the attempt is given back to the queue. */
export const tusPatience = 2;
/** Uploads that may vanish under one attempt before it is given back to the queue. */
export const tusRestarts = 2;

export type TusAnswer = { readonly status: number; readonly headers: Headers };

/** Where an upload stands; kept with the operation. `url` and `sha256` tell whether it still belongs to the payload. */
export type TusCheckpoint = {
  readonly uploadUrl: string;
  readonly offset: number;
  readonly createdAt: number;
  readonly expiresAt: number | null;
  readonly url: string;
  readonly sha256: string;
};

/** What to do after an answer. `judge`: tus does not define it, so the general table decides. */
export type TusStep =
  | { readonly kind: "at"; readonly offset: number }
  | { readonly kind: "check" }
  | { readonly kind: "restart" }
  | { readonly kind: "locked" }
  | { readonly kind: "checksum" }
  | { readonly kind: "foreign"; readonly reason: string }
  | { readonly kind: "malformed"; readonly reason: string }
  | { readonly kind: "judge" };

export type TusExtensions = {
  readonly checksum: "sha256" | "sha1" | null;
  readonly maxBytes: number | null;
};

/** The stored checkpoint, if it is one and belongs to this address and content. A payload may be edited between attempts. */
export function readCheckpoint(
  stored: Json,
  upload: { readonly url: string; readonly sha256: string; readonly sizeBytes: number },
): TusCheckpoint | null {
  if (typeof stored !== "object" || stored === null || Array.isArray(stored)) return null;
  const found = stored as Partial<TusCheckpoint>;
  const { uploadUrl, offset, createdAt, expiresAt, url, sha256 } = found;
  if (typeof uploadUrl !== "string" || parseUrl(uploadUrl) === null) return null;
  if (typeof offset !== "number" || !Number.isSafeInteger(offset) || offset < 0 || offset > upload.sizeBytes)
    return null;
  if (typeof createdAt !== "number" || url !== upload.url || sha256 !== upload.sha256) return null;
  return { uploadUrl, offset, createdAt, expiresAt: typeof expiresAt === "number" ? expiresAt : null, url, sha256 };
}

/** Where to go after the answer to a creation; `location` is as the server wrote it. */
export function judgeCreation({
  status,
  headers,
}: TusAnswer): TusStep | { readonly kind: "created"; readonly location: string } {
  if (status < 200 || status > 299) return { kind: "judge" };
  const location = headers.location;
  // A portal or a proxy's page answers 200 to everything; only a tus server answers 201 with its version.
  if (status !== 201 || headers["tus-resumable"] === undefined) {
    return { kind: "malformed", reason: `the answer to the creation (${status}) is not that of a tus server` };
  }
  if (location === undefined || location === "")
    return { kind: "malformed", reason: "the creation names no upload address" };
  return { kind: "created", location };
}

/** Where to go on after HEAD. The server's offset counts, be it behind or ahead of what was noted here. */
export function judgeHead(
  { status, headers }: TusAnswer,
  upload: { readonly sizeBytes: number; readonly isExpired: boolean },
): TusStep {
  if (status === 404 || status === 410) return { kind: "restart" };
  // tus lets a server say 403 for an upload that is gone; before its expiry it means what it says.
  if (status === 403 && upload.isExpired) return { kind: "restart" };
  if (status === 423) return { kind: "locked" };
  if (status < 200 || status > 299) return { kind: "judge" };
  const offset = countOf(headers["upload-offset"]);
  if (offset === null) return { kind: "malformed", reason: "the upload's state names no offset" };
  const length = headers["upload-length"] === undefined ? upload.sizeBytes : countOf(headers["upload-length"]);
  if (length !== upload.sizeBytes) {
    return { kind: "foreign", reason: `the server keeps an upload of ${headers["upload-length"]} bytes there` };
  }
  if (offset > upload.sizeBytes)
    return { kind: "foreign", reason: `the server has ${offset} bytes of ${upload.sizeBytes}` };
  return { kind: "at", offset };
}

/** Where to go on after a PATCH of the bytes from `start` to before `end`. */
export function judgePatch(
  { status, headers }: TusAnswer,
  part: { readonly start: number; readonly end: number },
): TusStep {
  if (status === 404 || status === 410) return { kind: "restart" };
  // 409: our offset is not the server's. It knows better, so ask it.
  if (status === 409) return { kind: "check" };
  if (status === 423) return { kind: "locked" };
  if (status === 460) return { kind: "checksum" };
  if (status < 200 || status > 299) return { kind: "judge" };
  const offset = countOf(headers["upload-offset"]);
  if (offset === null) return { kind: "malformed", reason: "the answer to a part names no offset" };
  if (offset > part.end) {
    return { kind: "foreign", reason: `the server has ${offset} bytes after ${part.end} were sent` };
  }
  return offset < part.start ? { kind: "check" } : { kind: "at", offset };
}

/** Reads what the server offers from its answer to OPTIONS; a server that does not answer it offers nothing. */
export function readExtensions({ status, headers }: TusAnswer): TusExtensions {
  if (status < 200 || status > 299) return { checksum: null, maxBytes: null };
  const names = listOf(headers["tus-extension"]);
  const algorithms = listOf(headers["tus-checksum-algorithm"]);
  const known = (["sha256", "sha1"] as const).find((name) => algorithms.includes(name));
  return {
    checksum: names.includes("checksum") ? (known ?? null) : null,
    maxBytes: countOf(headers["tus-max-size"]),
  };
}

/**
 * When the upload expires, by the local clock: the server's two dates give the span, so its clock may be wrong.
 * `null` when it does not expire or does not say so in a way that can be read.
 */
export function readExpiry(headers: Headers, receivedAt: number): number | null {
  const until = instantOf(headers["upload-expires"]);
  if (until === null) return null;
  return receivedAt + (until - (instantOf(headers.date) ?? receivedAt));
}

/** What `uploadUrl` becomes. `null`: it would carry the file in the clear although the creation did not. */
export function settleUploadUrl(uploadUrl: string, createdAtUrl: string): string | null {
  const made = parseUrl(uploadUrl);
  const asked = parseUrl(createdAtUrl);
  if (made === null || asked === null) return null;
  if (asked.scheme === "http" || made.scheme === "https") return uploadUrl;
  // A server behind a proxy that ends TLS often names itself with http. Same host: stay with https.
  const secure = `https://${made.authority}${made.path}${made.rest}`;
  return originOf(secure) === originOf(createdAtUrl) ? secure : null;
}

function countOf(text: string | undefined): number | null {
  if (text === undefined || !/^\d{1,16}$/.test(text.trim())) return null;
  const value = Number(text);
  return Number.isSafeInteger(value) ? value : null;
}

function listOf(text: string | undefined): readonly string[] {
  return (text ?? "").split(",").map((each) => each.trim().toLowerCase());
}
