/**
 * Owns reading an answer within bounds: its body, what of it is kept as a result, and the id that the server gave.
 * Judging it is `failure.ts`.
 */
import type { Readable } from "node:stream";
import type { Json } from "../operation.ts";
import { parseJson } from "../problem.ts";
import type { RequestPayload } from "../request.ts";
import { requestLimits } from "../request.ts";

/** What is kept of the headers when the request does not say. */
const keptHeaders = ["content-type", "etag", "last-modified", "location"] as const;
/** Never kept, even when asked for: these are secrets. */
const secretResponseHeaders = new Set([
  "set-cookie",
  "set-cookie2",
  "authentication-info",
  "proxy-authentication-info",
]);

/** By their names in lower case. */
export type AnswerHeaders = Readonly<Record<string, string>>;

export type Body = { readonly bytes: Uint8Array; readonly text: string; readonly isTruncated: boolean };

/**
 * Reads at most a mebibyte of the decoded body and gives the rest up: an answer of any size takes the same memory. With `isReadOut`
 * the rest is read and forgotten: a server that answers while it reads, as an echo does, would lose what it has not read yet.
 */
export function readBody(stream: Readable, isReadOut = false): Promise<Body> {
  const limit = requestLimits.keptBytes.max;
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    let size = 0;
    const end = (isTruncated: boolean): void => {
      const bytes = (parts.length === 1 && parts[0] ? parts[0] : Buffer.concat(parts)).subarray(0, limit);
      resolve({ bytes, text: bytes.toString("utf8"), isTruncated });
    };
    stream.on("data", (part: Buffer) => {
      if (size > limit) return;
      parts.push(part);
      size += part.byteLength;
      if (size <= limit || isReadOut) return;
      end(true);
      // The yes is in the headers already; what else comes is not needed.
      stream.destroy();
    });
    stream.on("end", () => end(size > limit));
    stream.on("error", reject);
    stream.on("close", () => {
      if (!stream.readableEnded)
        reject(Object.assign(new Error("the answer ended early"), { code: "ERR_CLOSED_EARLY" }));
    });
  });
}

/** The result that is kept with the operation. */
export function resultOf(
  answer: { readonly status: number; readonly url: string; readonly headers: AnswerHeaders; readonly body: Body },
  payload: RequestPayload,
): Json {
  const { status, url, headers, body } = answer;
  const names = payload.keep?.headers?.map((name) => name.toLowerCase()) ?? keptHeaders;
  const kept = names.flatMap((name) => {
    const value = secretResponseHeaders.has(name) ? undefined : headers[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  const limit = payload.keep?.bodyBytes ?? requestLimits.keptBytes.default;
  return {
    status,
    url,
    headers: Object.fromEntries(kept),
    ...keptBody(body, headers["content-type"] ?? "", limit),
  };
}

function keptBody({ bytes, text, isTruncated }: Body, type: string, limit: number): { readonly [key: string]: Json } {
  if (bytes.byteLength === 0 || limit === 0) return { body: null, isTruncated: isTruncated || bytes.byteLength > 0 };
  const isCut = isTruncated || bytes.byteLength > limit;
  if (!isCut) {
    const json = /\bjson\b/i.test(type) || type === "" ? parseJson(text) : undefined;
    if (json !== undefined) return { body: json, isTruncated: false };
  }
  const part = Buffer.from(bytes.subarray(0, limit));
  if (type !== "" && !/^text\/|json|xml|javascript|urlencoded|yaml|graphql/i.test(type)) {
    return { body: part.toString("base64"), encoding: "base64", isTruncated: isCut };
  }
  // A character that the limit cuts in two is left out.
  return { body: isCut ? part.toString("utf8").replace(/\ufffd$/, "") : text, isTruncated: isCut };
}

/**
 * The id that the server gave: where the payload says, else `id` of a JSON body, else the end of Location of a 201.
 * Whole numbers beyond 2 ** 53 keep their digits, which `JSON.parse` alone would change.
 */
export function serverIdOf(
  answer: { readonly status: number; readonly headers: AnswerHeaders; readonly body: Body },
  idFrom: string | undefined,
): string | null {
  const location = answer.headers.location ?? null;
  if (idFrom === "location") return lastSegment(location);
  const body = answer.body.isTruncated ? undefined : parseExact(answer.body.text);
  if (idFrom !== undefined) return idText(valueAt(body, idFrom));
  return idText(valueAt(body, "/id")) ?? (answer.status === 201 ? lastSegment(location) : null);
}

function parseExact(text: string): unknown {
  type Context = { readonly source?: string };
  const keepDigits = (_key: string, value: unknown, context?: Context): unknown => {
    const source = context?.source ?? "";
    return typeof value === "number" && !Number.isSafeInteger(value) && /^-?\d+$/.test(source) ? source : value;
  };
  try {
    return JSON.parse(text, keepDigits as (key: string, value: unknown) => unknown);
  } catch {
    return undefined;
  }
}

function valueAt(value: unknown, pointer: string): unknown {
  let current = value;
  for (const part of pointer.slice(1).split("/")) {
    const key = part.replace(/~1/g, "/").replace(/~0/g, "~");
    if (typeof current !== "object" || current === null || !Object.hasOwn(current, key)) return undefined;
    current = (current as Record<string, unknown>)[key];
  }
  return current;
}

function idText(value: unknown): string | null {
  if (typeof value === "number" && Number.isFinite(value)) return String(value);
  return typeof value === "string" && value !== "" ? value : null;
}

function lastSegment(location: string | null): string | null {
  const path = location?.split(/[?#]/)[0]?.replace(/\/+$/, "");
  const segment = path?.slice(path.lastIndexOf("/") + 1) ?? "";
  if (segment === "") return null;
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}
