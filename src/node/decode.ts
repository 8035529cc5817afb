/**
 * Owns unpacking a body by its Content-Encoding, as fetch does: forgiving at the end, silent about codings that it does not know.
 * How much of it is read is `response.ts`; asking for a coding is `sender.ts`.
 */
import type { Readable } from "node:stream";
import { Duplex, PassThrough, pipeline } from "node:stream";
import { constants, createBrotliDecompress, createGunzip, createInflate, createInflateRaw } from "node:zlib";

/** Each layer costs memory, and no honest server packs more than twice. */
const layersLimit = 5;
const bodilessStatuses = new Set([204, 205, 304]);

export type Packed = { readonly method: string; readonly status: number; readonly coding: string | undefined };

/** The body without its codings; the stream itself where there is nothing to unpack. */
export function decoded(stream: Readable, { method, status, coding }: Packed): Readable {
  if (coding === undefined || method === "HEAD" || bodilessStatuses.has(status)) return stream;
  const names = coding
    .toLowerCase()
    .split(",")
    .map((name) => name.trim())
    .filter((name) => name !== "" && name !== "identity");
  if (names.length === 0 || names.length > layersLimit) return stream;
  const layers = names.reverse().map(unpackerOf);
  const known = layers.filter((layer) => layer !== null);
  // With one coding unknown the whole is unreadable, and is kept as it came.
  if (known.length !== layers.length) return stream;
  return pipeline([stream, ...known], () => undefined) as unknown as Readable;
}

function unpackerOf(name: string): Duplex | null {
  // A last block that is missing does not spoil what came before it.
  const zlib = { flush: constants.Z_SYNC_FLUSH, finishFlush: constants.Z_SYNC_FLUSH };
  switch (name) {
    case "gzip":
    case "x-gzip":
      return createGunzip(zlib);
    case "deflate":
      return inflateEither(zlib);
    case "br":
      return createBrotliDecompress({
        flush: constants.BROTLI_OPERATION_FLUSH,
        finishFlush: constants.BROTLI_OPERATION_FLUSH,
      });
    default:
      return null;
  }
}

/** "deflate" means zlib's format, but many servers send the bare one; the first byte tells them apart. */
function inflateEither(options: { readonly flush: number; readonly finishFlush: number }): Duplex {
  const input = new PassThrough();
  const output = new PassThrough();
  input.once("readable", () => {
    const first = input.read(1) as Buffer | null;
    if (first === null) {
      output.end();
      return;
    }
    input.unshift(first);
    const inflate = ((first[0] ?? 0) & 0x0f) === 0x08 ? createInflate(options) : createInflateRaw(options);
    pipeline(input, inflate, output, () => undefined);
  });
  return Duplex.from({ writable: input, readable: output });
}
