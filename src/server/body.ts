/**
 * Owns reading the body of a request: its media type, its size, its JSON. What it should hold is checked by the shapes of `wire.ts`.
 */
import type { Refusal } from "./problem.ts";
import { refuse } from "./problem.ts";

export type Body = { readonly value: unknown } | { readonly refusal: Refusal };

/** Reads at most `limit` bytes and refuses what is more without reading on. */
export async function readBody(request: Request, limit: number): Promise<Body> {
  const type = (request.headers.get("content-type") ?? "").split(";")[0]?.trim().toLowerCase();
  if (type !== "application/json")
    return { refusal: refuse("unsupported_media_type", "the body is not JSON", "send content-type: application/json") };
  const encoding = request.headers.get("content-encoding");
  if (encoding !== null && encoding !== "identity")
    return {
      refusal: refuse("unsupported_media_type", `the encoding ${encoding} is not read`, "send the body as it is"),
    };
  if (Number(request.headers.get("content-length") ?? 0) > limit) return { refusal: tooLarge(limit) };
  const bytes = await readBytes(request, limit);
  if (bytes === null) return { refusal: tooLarge(limit) };
  try {
    return { value: JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)) };
  } catch (error) {
    const words = error instanceof SyntaxError ? "the body is no JSON" : "the body is no UTF-8";
    return { refusal: refuse("invalid_input", words, "send one JSON document in UTF-8") };
  }
}

async function readBytes(request: Request, limit: number): Promise<Uint8Array | null> {
  if (request.body === null) return new Uint8Array();
  const chunks: Uint8Array[] = [];
  let size = 0;
  const reader = request.body.getReader();
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
