/**
 * Owns reading the body of a request: its media type, its packing, its size, its JSON. What it should hold is checked by the shapes of `wire.ts`.
 */
import type { Refusal } from "./problem.ts";
import { refuse } from "./problem.ts";

export type Body = { readonly value: unknown } | { readonly refusal: Refusal };

/** Reads at most `limit` unpacked bytes and refuses what is more without reading on. */
export async function readBody(request: Request, limit: number): Promise<Body> {
  const type = (request.headers.get("content-type") ?? "").split(";")[0]?.trim().toLowerCase();
  if (type !== "application/json")
    return { refusal: refuse("unsupported_media_type", "the body is not JSON", "send content-type: application/json") };
  const encoding = (request.headers.get("content-encoding") ?? "identity").trim().toLowerCase();
  if (encoding !== "identity" && encoding !== "gzip") {
    const hint = "send the body as it is, or with gzip";
    return { refusal: refuse("unsupported_media_type", `the encoding ${encoding.slice(0, 40)} is not read`, hint) };
  }
  if (Number(request.headers.get("content-length") ?? 0) > limit) return { refusal: tooLarge(limit) };
  let bytes: Uint8Array | null;
  try {
    bytes = await readBytes(request.body, { limit, isPacked: encoding === "gzip" });
  } catch (error) {
    // A body that broke off has nobody left to answer; one that cannot be unpacked has.
    if (!(error instanceof TypeError)) throw error;
    return { refusal: refuse("invalid_input", "the body cannot be read to its end", "send it again") };
  }
  if (bytes === null) return { refusal: tooLarge(limit) };
  try {
    return { value: JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)) };
  } catch (error) {
    const words = error instanceof SyntaxError ? "the body is no JSON" : "the body is no UTF-8";
    return { refusal: refuse("invalid_input", words, "send one JSON document in UTF-8") };
  }
}

/** Counts what comes out of the packing, so that a small body which unpacks to a huge one is stopped on its way. */
async function readBytes(
  body: ReadableStream<Uint8Array> | null,
  { limit, isPacked }: { readonly limit: number; readonly isPacked: boolean },
): Promise<Uint8Array | null> {
  if (body === null) return new Uint8Array();
  // The two declarations of a stream differ in their buffers only; what a request brings is plain bytes.
  const packed = body as ReadableStream<Uint8Array<ArrayBuffer>>;
  const plain = isPacked ? packed.pipeThrough(new DecompressionStream("gzip")) : packed;
  const chunks: Uint8Array[] = [];
  let size = 0;
  const reader = plain.getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    size += part.value.byteLength;
    if (size > limit) {
      await reader.cancel();
      return null;
    }
    chunks.push(part.value);
  }
  const only = chunks[0];
  if (chunks.length === 1 && only !== undefined) return only;
  const bytes = new Uint8Array(size);
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.byteLength;
  }
  return bytes;
}

const tooLarge = (limit: number): Refusal =>
  refuse("payload_too_large", `the body is larger than ${limit} bytes`, "send fewer operations at once", {
    details: { limit },
  });
