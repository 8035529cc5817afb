/**
 * Owns the short way of a verb: from the socket's bytes to the engine and back, without a `Request` and a `Response` in between.
 * Who may call was decided by `guard.ts`; everything but a plain call, and every refusal of a path or method, is `routes.ts`.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Engine } from "../engine/engine.ts";
import type { Verb } from "../verbs.ts";
import { isVerb, verbs } from "../verbs.ts";
import type { LogLevel } from "../world.ts";
import { readJsonFrom } from "./body.ts";
import { refuseForeignCommands } from "./command-gate.ts";
import type { Caller } from "./guard.ts";
import type { Metrics } from "./metrics.ts";
import { errorOf, problemMediaType, problemOf, safetyHeaders } from "./problem.ts";

export type CallOptions = {
  readonly engine: Engine;
  readonly metrics: Pick<Metrics, "observeRequest">;
  readonly limits: () => { readonly bodyBytes: number };
  readonly log: (level: LogLevel, message: string, fields?: Readonly<Record<string, unknown>>) => void;
};

/** A call that the guard has admitted. */
export type AdmittedCall = {
  readonly caller: Caller;
  /** Local port; `null` on the Unix socket. */
  readonly port: number | null;
  /** To be sent with whatever is answered. */
  readonly headers: Readonly<Record<string, string>>;
};

const prefix = "/v1/";

/** The verb that a request calls, or `null` when it is no plain call of somebody who is known. */
export function calledVerb(incoming: IncomingMessage, caller: Caller): Verb | null {
  const { url = "", method } = incoming;
  if (method !== "POST" || caller === "anonymous" || !url.startsWith(prefix)) return null;
  const name = url.slice(prefix.length);
  return isVerb(name) ? name : null;
}

/** Answers a call. Never rejects. */
export async function answerCall(
  options: CallOptions,
  call: AdmittedCall & { readonly verb: Verb },
  { incoming, outgoing }: { readonly incoming: IncomingMessage; readonly outgoing: ServerResponse },
): Promise<void> {
  const began = performance.now();
  const { verb, port, headers } = call;
  let status = 200;
  let type = "application/json";
  let text: string;
  try {
    const input = await readJsonFrom(incoming, options.limits().bodyBytes);
    if (port !== null) refuseForeignCommands(options.engine, verb, input);
    text = JSON.stringify(await perform(options.engine, verb, input));
  } catch (thrown) {
    const path = prefix + verb;
    const error = errorOf(thrown);
    if (error.code === "internal") options.log("error", "a request failed", { path, error: thrown });
    const problem = problemOf(error, path);
    status = problem.status;
    type = problemMediaType;
    text = JSON.stringify(problem);
  }
  const length = String(Buffer.byteLength(text));
  outgoing.writeHead(status, { ...safetyHeaders, ...headers, "content-type": type, "content-length": length });
  outgoing.end(text);
  options.metrics.observeRequest(prefix + verb, status, performance.now() - began);
}

/** Writes of one tick share a commit; reads have nothing to share. Either way the engine checks the input. */
export function perform<V extends Verb>(engine: Engine, verb: V, input: unknown): unknown {
  const unchecked = input as Parameters<typeof engine.handle<V>>[1];
  return verbs[verb].kind === "write" ? engine.submit(verb, unchecked) : engine.handle(verb, unchecked);
}
