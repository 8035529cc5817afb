/**
 * Owns `holdfast upload`: the file is captured as it is now, then queued. What follows the enqueue is `settle.ts`.
 */
import { basename, resolve } from "node:path";
import type { Json } from "../operation.ts";
import type { Handler } from "./context.ts";
import type { CaptureMode } from "./host.ts";
import type { OrderOptions } from "./order.ts";
import { definedOnly, parseOrder } from "./order.ts";
import { parseChoice, parseHeaders, usage } from "./parse.ts";
import type { WaitChoice } from "./settle.ts";
import { enqueue } from "./settle.ts";
import { formatBytes } from "./text.ts";

type UploadOptions = OrderOptions &
  WaitChoice & {
    readonly protocol: string;
    readonly reference?: boolean;
    readonly link?: boolean;
    readonly header?: readonly string[];
    readonly credential?: string;
    readonly metadata?: readonly string[];
  };

export const runUpload: Handler<[string, string], UploadOptions> = async (context, [file, url], options) => {
  const protocol = parseChoice(options.protocol, "--protocol", ["tus", "put"]);
  if (options.reference === true && options.link === true)
    throw usage("--reference and --link exclude each other", "give one of them");
  const mode: CaptureMode = options.reference === true ? "reference" : options.link === true ? "link" : "copy";
  const order = parseOrder(options, context.now());
  const headers = parseHeaders(options.header ?? []);
  const metadata = options.metadata === undefined ? undefined : parseMetadata(options.metadata);
  const captured = await (await context.local()).capture(resolve(context.host.cwd, file), mode);
  const payload = definedOnly({
    file: captured.payload,
    url,
    protocol,
    headers: Object.keys(headers).length === 0 ? undefined : headers,
    credential: options.credential,
    metadata,
  });
  context.tell(context.errorPaint.dim(`${basename(file)}, ${formatBytes(captured.sizeBytes)}, ${kept[mode]}`));
  const input = { type: "file.upload", payload: payload as Json as never, ...order };
  return enqueue(context, { input, label: order.title ?? `${basename(file)} to ${url}` }, options);
};

const kept: Readonly<Record<CaptureMode, string>> = {
  copy: "kept as it is now",
  link: "kept as it is now, without a copy where the disk can",
  reference: "read when it is sent; keep the file unchanged until then",
};

function parseMetadata(items: readonly string[]): Readonly<Record<string, string>> {
  const entries = items.map((item) => {
    const equals = item.indexOf("=");
    if (equals < 1) throw usage(`--metadata: "${item}" has no name`, "write --metadata name=value");
    return [item.slice(0, equals), item.slice(equals + 1)] as const;
  });
  return Object.fromEntries(entries);
}
