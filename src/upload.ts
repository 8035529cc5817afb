/**
 * Owns what `file.upload` and every other operation may say about a file: the reference, the payload, its title and its remote.
 * Capturing is `node/blobs.ts`, the tus rules are `tus.ts`, the sending is `node/upload.ts`.
 */

import * as z from "zod/mini";
import { HoldfastError } from "./errors.ts";
import { ownHeaders, secretHeaders } from "./headers.ts";
import { firstIssue, wordless } from "./issue.ts";
import type { Json } from "./operation.ts";
import { redacted, redactJson } from "./redact.ts";
import { checkUrl, displayUrl, originOf, pathSegments, replaceSegments } from "./url.ts";
import type { OperationType } from "./world.ts";

/** Limits on what an upload may say. */
export const uploadLimits = { headers: 50, metadata: 50, valueLength: 4_096, title: 200 } as const;

/** How much one PATCH carries when the payload does not say: little is lost by a cut, and round trips stay rare. */
export const defaultChunkBytes = 16_777_216;

const bytes = z.int().check(z.gte(0));
const sha256 = z.string().check(z.regex(/^[0-9a-f]{64}$/, "a SHA-256 in 64 lower-case hex digits"));
const fileName = z.string().check(z.minLength(1), z.maxLength(255));
// A media type goes into a header as it is, so nothing may stand in it that ends a header.
const mediaType = z.string().check(z.maxLength(255), z.regex(/^[\w!#$&^.+-]+\/[\w!#$&^.+-]+(\s*;[\x20-\x7e]*)?$/));
const absolutePath = z
  .string()
  .check(z.maxLength(4_096), z.regex(/^(\/|[A-Za-z]:[\\/]|\\\\)[^\0]*$/, "an absolute path"));

/** Content in the data directory, named by its hash. */
const blobRef = z.strictObject({
  blob: sha256,
  sizeBytes: bytes,
  name: z.optional(fileName),
  mediaType: z.optional(mediaType),
});

/** A file that stays where it is; it is sent only if it still holds this content. */
const pathRef = z.strictObject({
  path: absolutePath,
  sizeBytes: bytes,
  sha256,
  modifiedAtMs: z.int(),
  name: z.optional(fileName),
  mediaType: z.optional(mediaType),
});

/** How a payload refers to a file that was captured at enqueue. Also the `file` of an `http.request` body. */
export const fileRef = z.union([blobRef, pathRef]);
export type FileRef = z.infer<typeof fileRef>;

const token = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const headerValue = z
  .string()
  .check(z.maxLength(uploadLimits.valueLength), z.regex(/^[\t\x20-\x7e\x80-\xff]*$/, "no control characters"));
const metadataKey = z.string().check(z.regex(/^[\x21-\x2b\x2d-\x7e]{1,100}$/, "ASCII without spaces and commas"));

const payloadShape = z.strictObject({
  file: fileRef,
  url: z.string(),
  protocol: z.enum(["tus", "put"]),
  headers: z.optional(z.record(z.string().check(z.regex(token, "no header name")), headerValue)),
  /** tus metadata; `filename` and `filetype` come from the file when they are not given. */
  metadata: z.optional(z.record(metadataKey, z.string().check(z.maxLength(uploadLimits.valueLength)))),
  /** Name of the credential that is added when it is sent. */
  credential: z.optional(z.string().check(z.minLength(1), z.maxLength(200))),
  /** Checksums on the wire; on unless switched off. */
  checksum: z.optional(z.boolean()),
  chunkBytes: z.optional(z.int().check(z.gte(1))),
  /** Where the server's id is: the last segment of the address that it names (default), or a JSON Pointer (RFC 6901) into its answer. */
  idFrom: z.optional(z.union([z.literal("location"), z.string().check(z.maxLength(500), z.regex(/^\//))])),
  /** Limit of one attempt; 0 is none. A transfer that stands still ends by itself, whatever this says. */
  timeoutMs: z.optional(z.int().check(z.gte(0))),
});
export type UploadPayload = z.infer<typeof payloadShape>;

/** `file.upload` without its sending part: what any process needs to queue one. */
export const fileUpload: OperationType = {
  type: "file.upload",
  check: (payload) => checkUpload(payload) as Json,
  title: (payload) => titleOf(payload as UploadPayload),
  remoteOf: (payload) => originOf((payload as UploadPayload).url),
  retry: "transfer",
  timeoutMs: (payload) => (payload as UploadPayload).timeoutMs ?? 0,
  isBulk: true,
  mentions: (payload) => pathSegments((payload as UploadPayload).url),
  rewrite: (payload, serverIdOf) => {
    const upload = payload as UploadPayload;
    return { ...upload, url: replaceSegments(upload.url, serverIdOf) } as Json;
  },
  redact: (payload) => {
    const { url } = payload as UploadPayload;
    // An address that was signed for one upload carries its right in the query.
    const shown = displayUrl(url) === url ? url : `${displayUrl(url)}?${redacted}`;
    return { ...(redactJson(payload) as object), url: shown } as Json;
  },
};

/**
 * Checks a reference to a file; throws `invalid_input` that names the field.
 * @example
 * checkFileRef({ blob: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", sizeBytes: 4 })
 */
export function checkFileRef(value: unknown): FileRef {
  return parse(fileRef, value, "file");
}

/** The payload to store, or `invalid_input` that names the field. */
export function checkUpload(payload: unknown): UploadPayload {
  const upload = parse(payloadShape, payload, "payload");
  checkUrl(upload.url);
  const names = Object.keys(upload.headers ?? {}).map((name) => name.toLowerCase());
  for (const name of names) {
    if (secretHeaders.has(name)) {
      throw refuse(
        `headers: ${name} would be stored in the clear`,
        'name a credential instead, e.g. credential: "api"',
      );
    }
    if (ownHeaders.has(name) || protocolHeaders.test(name))
      throw refuse(`headers: ${name} is set by Holdfast`, "leave it out");
  }
  if (names.length > uploadLimits.headers) throw refuse(`headers: more than ${uploadLimits.headers}`, "send fewer");
  if (Object.keys(upload.metadata ?? {}).length > uploadLimits.metadata) {
    throw refuse(`metadata: more than ${uploadLimits.metadata} entries`, "send fewer");
  }
  if (upload.protocol === "tus" && upload.idFrom !== undefined && upload.idFrom !== "location") {
    throw refuse("idFrom: the answers of tus carry no body", 'leave it out or say "location"');
  }
  if (upload.protocol === "put" && upload.metadata !== undefined) {
    throw refuse("metadata: a plain PUT carries none", 'use protocol "tus", or headers');
  }
  return upload;
}

/**
 * Whatever in a payload can be the hash of captured content, for collecting the rest. A type of one's own says in its own words what it
 * sends, e.g. by a path, so every text counts: a name too many keeps a file, a name too few would lose one.
 */
export function blobsIn(payload: Json): readonly string[] {
  const found = new Set<string>();
  const open: unknown[] = [payload];
  while (open.length > 0) {
    const each = open.pop();
    if (typeof each === "string") for (const [hash] of each.matchAll(hashes)) found.add(hash.toLowerCase());
    if (typeof each !== "object" || each === null) continue;
    for (const [key, child] of Object.entries(each)) open.push(key, child);
  }
  return [...found];
}

/** Bytes for people, in powers of 1000 as disks and networks count them. */
export function formatBytes(count: number): string {
  const units = ["bytes", "kB", "MB", "GB", "TB", "PB"];
  let value = count;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1_000;
    unit += 1;
  }
  if (unit === 0) return count === 1 ? "1 byte" : `${count} bytes`;
  return `${value < 9.95 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

/** What a person calls the file. */
export function nameOf(file: FileRef): string {
  if (file.name !== undefined) return file.name;
  return "path" in file ? (file.path.split(/[\\/]/).at(-1) ?? file.path) : `${file.blob.slice(0, 12)}…`;
}

const hashes = /[0-9a-f]{64}/gi;
const protocolHeaders = /^(content-digest|tus-.*|upload-.*)$/;

function titleOf({ file, url }: UploadPayload): string {
  const title = `upload ${nameOf(file)} (${formatBytes(file.sizeBytes)}) to ${displayUrl(url)}`;
  return title.length <= uploadLimits.title ? title : `${title.slice(0, uploadLimits.title - 1)}…`;
}

function parse<S extends z.core.$ZodType>(shape: S, value: unknown, top: string): z.output<S> {
  const parsed = z.safeParse(shape, value, wordless);
  if (parsed.success) return parsed.data;
  throw refuse(firstIssue(parsed.error, top), "see docs/uploads.md for what an upload may say");
}

function refuse(message: string, hint: string): HoldfastError {
  return new HoldfastError("invalid_input", `file.upload: ${message}`, hint);
}
