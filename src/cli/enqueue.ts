/**
 * Owns `holdfast request`, `holdfast exec` and `holdfast queue add`: words on the command line become a type's payload.
 * What follows the enqueue is `settle.ts`; what a payload may hold is judged by its type in the engine.
 */
import { resolve } from "node:path";
import type { Json } from "../operation.ts";
import type { Context, Handler } from "./context.ts";
import { inlineLimitBytes, readData, readJson } from "./data.ts";
import type { OrderOptions } from "./order.ts";
import { definedOnly, parseOrder } from "./order.ts";
import { sign } from "./paint.ts";
import {
  jsonTrouble,
  parseChoice,
  parseDuration,
  parseEnv,
  parseExactJson,
  parseHeaders,
  parseInteger,
  parseJson,
  usage,
} from "./parse.ts";
import type { WaitChoice } from "./settle.ts";
import { enqueue } from "./settle.ts";
import { formatBytes, plain } from "./text.ts";

type RequestOptions = OrderOptions &
  WaitChoice & {
    readonly data?: string;
    readonly jsonBody?: boolean;
    readonly header?: readonly string[];
    readonly credential?: string;
    readonly attemptTimeout?: string;
    readonly success?: readonly string[];
    readonly idFrom?: string;
    readonly expect?: string;
  };

export const runRequest: Handler<[string, string], RequestOptions> = async (context, [method, url], options) => {
  const order = parseOrder(options, context.now());
  const headers = parseHeaders(options.header ?? []);
  if (options.jsonBody === true && options.data === undefined)
    throw usage("--json-body without a body", "give the body with --data");
  const { body, isJson } =
    options.data === undefined
      ? { body: undefined, isJson: false }
      : await readBody(context, options.data, options.jsonBody === true);
  // What the engine keeps as JSON gets this header by itself.
  const isTold = isJson && !(typeof body === "object" && body !== null && "json" in body);
  const sent = isTold ? { "content-type": "application/json", ...headers } : headers;
  const payload = definedOnly({
    method: method.toUpperCase(),
    url,
    headers: Object.keys(sent).length === 0 ? undefined : sent,
    body,
    credential: options.credential,
    timeoutMs:
      options.attemptTimeout === undefined ? undefined : parseDuration(options.attemptTimeout, "--attempt-timeout"),
    success: options.success?.map((each) => parseInteger(each, "--success")),
    idFrom: options.idFrom,
    expect: options.expect === undefined ? undefined : parseChoice(options.expect, "--expect", ["json", "any"]),
  });
  const input = { type: "http.request", payload: payload as Json as never, ...order };
  return enqueue(context, { input, label: order.title ?? `${payload.method} ${url}` }, options);
};

type Body = {
  readonly body: unknown;
  /** A body that is JSON goes out as JSON, also where it is kept as text or as a file. */
  readonly isJson: boolean;
};

/**
 * JSON where it is JSON, because local ids are found in values; text where a number in it would change on the way;
 * a captured file where the bytes are no text or too many for a payload.
 */
async function readBody(context: Context, source: string, isJsonWanted: boolean): Promise<Body> {
  const { bytes, text, path } = await readData(context.host, source);
  if (isJsonWanted && text === null) throw usage("--data: the body is no JSON", "leave --json-body out");
  if (isJsonWanted && text !== null) parseJson(text, "--data", JSON.parse);
  if (text === null || bytes.length > inlineLimitBytes) {
    if (path === null && text === null)
      throw usage("--data: bytes that are no UTF-8 text", "write them to a file and give --data @file");
    if (path === null)
      throw usage(
        `--data: ${formatBytes(bytes.length)} are too many for a text, at most ${formatBytes(inlineLimitBytes)}`,
        "write it to a file and give --data @file",
      );
    const file = (await (await context.local()).capture(path, "copy")).payload;
    return { body: { file }, isJson: isJsonWanted };
  }
  if (!isJsonWanted && !/^\s*[[{]/.test(text)) return { body: { text }, isJson: false };
  const exact = parseExactJson(text);
  if (exact !== undefined) return { body: { json: exact.value }, isJson: true };
  const trouble = jsonTrouble(text);
  if (trouble !== null)
    context.tell(
      `${context.errorPaint.yellow(sign.warn)} the body looks like JSON and is none, so it goes as text: ${plain(trouble)}\n${context.errorPaint.dim(`${sign.hint} --json-body refuses such a body`)}`,
    );
  return { body: { text }, isJson: trouble === null };
}

type ExecOptions = OrderOptions &
  WaitChoice & {
    readonly name?: string;
    readonly retryOn?: readonly string[];
    readonly cwd?: string;
    readonly env?: readonly string[];
    readonly attemptTimeout?: string;
  };

export const runExec: Handler<[readonly string[]], ExecOptions> = async (context, [argv], options) => {
  const { host } = context;
  const title = options.title ?? options.name;
  const order = parseOrder(title === undefined ? options : { ...options, title }, context.now());
  const payload = definedOnly({
    argv: [...argv],
    cwd: resolve(host.cwd, options.cwd ?? "."),
    env: options.env === undefined ? undefined : parseEnv(options.env, host.env),
    retryOn: options.retryOn?.map((each) => parseInteger(each, "--retry-on")),
    timeoutMs:
      options.attemptTimeout === undefined ? undefined : parseDuration(options.attemptTimeout, "--attempt-timeout"),
  });
  const input = { type: "command.run", payload: payload as Json as never, ...order };
  return enqueue(context, { input, label: order.title ?? argv.join(" ") }, options);
};

type AddOptions = OrderOptions &
  WaitChoice & { readonly type: string; readonly payload: string; readonly remote?: string };

export const runAdd: Handler<[], AddOptions> = async (context, _args, options) => {
  const order = parseOrder(options, context.now());
  const payload = await readJson(context.host, options.payload, "--payload");
  const remote = options.remote === undefined ? {} : { remote: options.remote };
  const input = { type: options.type, payload: payload as never, ...remote, ...order };
  return enqueue(context, { input, label: order.title ?? options.type }, options);
};
