/**
 * Owns reading a request body: counted while it streams, UTF-8 without exception, and JSON that means one thing only.
 * Whether the content fits a verb is judged by `verbs.ts`.
 */
import type { IncomingMessage } from "node:http";
import { HoldfastError } from "../errors.ts";
import { maxDepth, requestDepth } from "../json.ts";
import type { Json } from "../operation.ts";

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Reads a body of at most `limitBytes`. An empty body is an empty object, so that `curl -X POST` works. */
export async function readJson(request: Request, limitBytes: number): Promise<Json> {
  return jsonOf(await readBytes(request, limitBytes));
}

/** The same for a request that is still a socket's. */
export async function readJsonFrom(incoming: IncomingMessage, limitBytes: number): Promise<Json> {
  return jsonOf(await readIncoming(incoming, limitBytes));
}

function jsonOf(bytes: Uint8Array): Json {
  if (bytes.byteLength === 0) return {};
  let text: string;
  try {
    text = utf8.decode(bytes);
  } catch {
    throw invalid("the body is not valid UTF-8");
  }
  return parseJson(text);
}

/** Parses JSON strictly: no duplicate keys, no `__proto__`, nothing that would change its value on the way. */
export function parseJson(text: string): Json {
  checkDepth(text);
  let value: Json;
  try {
    value = JSON.parse(text) as Json;
  } catch (error) {
    throw invalid(`the body is not valid JSON: ${error instanceof Error ? error.message.slice(0, 200) : "unreadable"}`);
  }
  checkTokens(text);
  return value;
}

async function readBytes(request: Request, limitBytes: number): Promise<Uint8Array> {
  try {
    return await collect(request, limitBytes);
  } catch (error) {
    if (error instanceof HoldfastError) throw error;
    throw wentAway(error);
  }
}

async function collect(request: Request, limitBytes: number): Promise<Uint8Array> {
  const declared = request.headers.get("content-length");
  if (declared !== null && Number(declared) > limitBytes) throw tooLarge(limitBytes);
  // The parser holds a sender to its declared length, so there is nothing left to count.
  if (declared !== null) return new Uint8Array(await request.arrayBuffer());
  if (request.body === null) return new Uint8Array();
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of request.body) {
    size += chunk.byteLength;
    if (size > limitBytes) throw tooLarge(limitBytes);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function readIncoming(incoming: IncomingMessage, limitBytes: number): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    const refuse = (): void => {
      reject(tooLarge(limitBytes));
      // Node discards what still comes, bounded by the request timeout.
      incoming.removeAllListeners("data");
      incoming.resume();
    };
    if (Number(incoming.headers["content-length"] ?? 0) > limitBytes) return refuse();
    incoming.on("data", (chunk: Buffer) => {
      chunks.push(chunk);
      size += chunk.byteLength;
      if (size > limitBytes) refuse();
    });
    incoming.once("end", () => resolve(chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks)));
    incoming.once("error", (cause) => reject(wentAway(cause)));
    incoming.once("close", () => {
      // Every request closes; an error is made only for the one that is not whole.
      if (!incoming.complete) reject(wentAway(undefined));
    });
  });
}

/** Only the sender can make reading fail; nobody is left to hear the answer, and it is no failure of ours. */
function wentAway(cause: unknown): HoldfastError {
  return new HoldfastError("aborted", "the client went away before its request was whole", "send it again", { cause });
}

/** Runs before the parser and must stand any text: it counts brackets outside strings. */
function checkDepth(text: string): void {
  let depth = 0;
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === 0x22) at = endOfString(text, at);
    else if (code === 0x7b || code === 0x5b) {
      depth += 1;
      // Where the verb's shape would have said it, had the text been parsed.
      if (depth > requestDepth) throw invalid(`the body nests deeper than ${maxDepth} levels`);
    } else if (code === 0x7d || code === 0x5d) depth -= 1;
  }
}

/** Runs after the parser has accepted the text, so the grammar is given and only meanings are left to check. */
function checkTokens(text: string): void {
  /** One entry per open bracket: the keys seen so far, or `null` in an array. */
  const open: (Set<string> | null)[] = [];
  let isKeyNext = false;
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === 0x22) {
      const end = endOfString(text, at);
      const value = checkString(text, at, end);
      const keys = open[open.length - 1];
      if (isKeyNext && keys != null) checkKey(value, keys);
      isKeyNext = false;
      at = end;
    } else if (code === 0x7b) {
      open.push(new Set());
      isKeyNext = true;
    } else if (code === 0x5b) {
      open.push(null);
      isKeyNext = false;
    } else if (code === 0x7d || code === 0x5d) open.pop();
    else if (code === 0x2c) isKeyNext = open[open.length - 1] != null;
    else if (code === 0x2d || (code >= 0x30 && code <= 0x39)) at = checkNumber(text, at);
  }
}

function checkKey(key: string, keys: Set<string>): void {
  if (key === "__proto__") throw invalid('the key "__proto__" is not accepted');
  if (keys.has(key)) throw invalid(`the key ${JSON.stringify(key.slice(0, 100))} is there twice`);
  keys.add(key);
}

function checkString(text: string, start: number, end: number): string {
  const raw = text.slice(start + 1, end);
  if (!raw.includes("\\")) return raw;
  const value = JSON.parse(text.slice(start, end + 1)) as string;
  // Half of a surrogate pair cannot be written as UTF-8: it would come back as something else.
  if (/\p{Surrogate}/u.test(value)) throw invalid("a string holds half of a surrogate pair");
  return value;
}

function checkNumber(text: string, start: number): number {
  let end = start + 1;
  while (end < text.length && /[0-9.eE+-]/.test(text.charAt(end))) end += 1;
  const raw = text.slice(start, end);
  const value = Number(raw);
  const isWhole = !/[.eE]/.test(raw);
  if (!Number.isFinite(value) || (isWhole && !Number.isSafeInteger(value))) {
    throw invalid(`the number ${raw.slice(0, 40)} cannot be kept exactly; send it as a string`);
  }
  return end - 1;
}

/** Index of the quote that closes the string opened at `start`, or the end of the text. */
function endOfString(text: string, start: number): number {
  let at = text.indexOf('"', start + 1);
  while (at !== -1) {
    let slashes = 0;
    while (text.charCodeAt(at - 1 - slashes) === 0x5c) slashes += 1;
    if (slashes % 2 === 0) return at;
    at = text.indexOf('"', at + 1);
  }
  return text.length;
}

function invalid(message: string): HoldfastError {
  return new HoldfastError("invalid_input", message, "send one JSON object; see /openapi.json");
}

function tooLarge(limitBytes: number): HoldfastError {
  return new HoldfastError(
    "payload_too_large",
    `the body is larger than ${limitBytes} bytes`,
    "send less at once, upload files with `file.upload`, or raise `max_body` under [daemon] in config.toml",
    { details: { limitBytes } },
  );
}
