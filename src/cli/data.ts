/**
 * Owns reading what `--data` and `--payload` name: a text, a file after @, or - for stdin.
 * What the bytes become in a payload is decided by the command.
 */
import { resolve } from "node:path";
import { HoldfastError } from "../errors.ts";
import type { Json } from "../operation.ts";
import type { Host } from "./host.ts";
import { parseJson, usage } from "./parse.ts";

export type Data = {
  readonly bytes: Uint8Array;
  /** The text, or null when the bytes are no UTF-8. */
  readonly text: string | null;
  /** Absolute path when it came from a file. */
  readonly path: string | null;
};

/** Payloads are bounded; what is larger belongs into a file that is sent from the disk. */
export const inlineLimitBytes = 524_288;

export async function readData(host: Host, source: string): Promise<Data> {
  // Who knows curl writes @- for it.
  if (source === "-" || source === "@-") {
    if (host.stdin.isTty) host.stderr.write("Reading from the terminal; end with Ctrl-D.\n");
    return data(await host.stdin.readBytes(), null);
  }
  if (source.startsWith("@")) {
    if (source.length === 1) throw usage("@ names no file", "write @path, or - for stdin");
    const path = resolve(host.cwd, source.slice(1));
    return data(await host.files.read(path), path);
  }
  return data(new TextEncoder().encode(source), null);
}

/** JSON from a text, a file or stdin. */
export async function readJson(host: Host, source: string, option: string): Promise<Json> {
  const { text, path } = await readData(host, source);
  const what = path === null ? option : `${option} ${path}`;
  if (text === null) throw new HoldfastError("invalid_input", `${what} is no text`, "give a JSON document in UTF-8");
  return parseJson(text, what) as Json;
}

function data(bytes: Uint8Array, path: string | null): Data {
  try {
    return { bytes, path, text: new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes) };
  } catch {
    return { bytes, path, text: null };
  }
}
