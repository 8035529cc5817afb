/**
 * Owns the transport over a `MessagePort`: a worker, an Electron renderer, or a Node worker thread. Both ends are here.
 * Messages are plain JSON values, so every structured-clone implementation carries them; a port is a trusted channel.
 */
import type { ErrorBody } from "../errors.ts";
import { errorFrom, HoldfastError } from "../errors.ts";
import { misspelt } from "../misuse.ts";
import { verbKinds } from "../verb-names.ts";
import type { HoldfastEvent, Input, Output, Verb } from "../verbs.ts";
import { follow } from "./direct.ts";
import type { EngineLike, Listener, SubscribeOptions, Transport } from "./transport.ts";

/** The part of a `MessagePort` that is used; the DOM's, Node's and Electron's fit. */
export type PortLike = {
  readonly postMessage: (message: unknown) => void;
  readonly addEventListener?: unknown;
  readonly on?: unknown;
  readonly start?: (() => void) | undefined;
  readonly close?: (() => void) | undefined;
};

/** Marks our messages among others on a shared port, and their version. */
const mark = 1;

type Request =
  | { readonly kind: "call"; readonly verb: string; readonly input: unknown }
  | { readonly kind: "subscribe"; readonly after?: number | undefined }
  | { readonly kind: "unsubscribe" };

type Response =
  | { readonly kind: "answer"; readonly output: unknown }
  | { readonly kind: "failure"; readonly error: ErrorBody }
  | { readonly kind: "event"; readonly event: HoldfastEvent }
  | { readonly kind: "gap" }
  | { readonly kind: "closed" };

/** Every message belongs to one call or one subscription, by its number. */
type Framed<T> = T & { readonly holdfast: typeof mark; readonly number: number };

/** The client's end. */
export function portTransport(port: PortLike): Transport {
  let last = 0;
  let isClosed = false;
  const calls = new Map<
    number,
    { readonly resolve: (output: unknown) => void; readonly reject: (error: HoldfastError) => void }
  >();
  const listeners = new Map<number, { readonly tell: Listener; readonly onGap: (() => void) | undefined }>();

  const end = (): void => {
    isClosed = true;
    for (const { reject } of calls.values()) reject(closed());
    calls.clear();
    listeners.clear();
  };
  const post = (number: number, request: Request): void => port.postMessage({ ...request, holdfast: mark, number });
  const stopReceiving = receive<Response>(
    port,
    (message) => {
      const pending = calls.get(message.number);
      switch (message.kind) {
        case "answer":
        case "failure":
          calls.delete(message.number);
          if (message.kind === "answer") pending?.resolve(message.output);
          else pending?.reject(errorFrom(message.error));
          return;
        case "event":
          return listeners.get(message.number)?.tell(message.event);
        case "gap":
          return listeners.get(message.number)?.onGap?.();
        case "closed":
          return end();
      }
    },
    end,
  );

  return {
    call: <V extends Verb>(verb: V, input: Input<V>) =>
      new Promise<Output<V>>((resolve, reject) => {
        if (isClosed) return reject(closed());
        last += 1;
        calls.set(last, { resolve: resolve as (output: unknown) => void, reject });
        post(last, { kind: "call", verb, input });
      }),
    subscribe: (listener, options = {}) => {
      if (isClosed) throw closed();
      last += 1;
      const number = last;
      listeners.set(number, { tell: listener, onGap: options.onGap });
      post(number, { kind: "subscribe", after: options.after });
      return () => {
        if (listeners.delete(number) && !isClosed) post(number, { kind: "unsubscribe" });
      };
    },
    close: async () => {
      for (const number of listeners.keys()) post(number, { kind: "unsubscribe" });
      end();
      stopReceiving();
      port.close?.();
    },
  };
}

/**
 * The engine's end: serves one port until it closes or the returned function is called.
 * @example
 * const stop = servePort(engine, port); // in the worker that runs the engine
 */
export function servePort(engine: EngineLike, port: PortLike): () => void {
  const subscriptions = new Map<number, () => void>();
  const post = (number: number, response: Response): void => port.postMessage({ ...response, holdfast: mark, number });
  const stopAll = (): void => {
    for (const stop of subscriptions.values()) stop();
    subscriptions.clear();
  };
  const serve = (number: number, request: Request): void => {
    switch (request.kind) {
      case "call":
        // A port that has gone meanwhile cannot be told, and whoever asked is no longer there.
        answer(engine, request)
          .then((response) => post(number, response))
          .catch(() => {});
        return;
      case "subscribe": {
        if (subscriptions.has(number)) return;
        const options: SubscribeOptions = { onGap: () => post(number, { kind: "gap" }) };
        const tell: Listener = (event) => post(number, { kind: "event", event });
        subscriptions.set(
          number,
          follow(engine, tell, typeof request.after === "number" ? { ...options, after: request.after } : options),
        );
        return;
      }
      case "unsubscribe":
        subscriptions.get(number)?.();
        subscriptions.delete(number);
    }
  };
  const stopReceiving = receive<Request>(port, (message) => serve(message.number, message), stopAll);
  return () => {
    stopAll();
    stopReceiving();
    post(0, { kind: "closed" });
  };
}

async function answer(
  engine: EngineLike,
  request: { readonly verb: string; readonly input: unknown },
): Promise<Response> {
  try {
    const { verb } = request;
    if (!Object.hasOwn(verbKinds, verb)) {
      throw new HoldfastError(
        "unknown_verb",
        misspelt("the verb", String(verb), Object.keys(verbKinds)),
        "run the same version of Holdfast on both sides of the port",
      );
    }
    return { kind: "answer", output: await engine.submit(verb as Verb, request.input as Input<Verb>) };
  } catch (error) {
    if (error instanceof HoldfastError) return { kind: "failure", error: error.toJSON() };
    const message = error instanceof Error ? error.message : String(error);
    return {
      kind: "failure",
      error: { code: "internal", message, hint: "look at the log of the process that runs the engine" },
    };
  }
}

/** Hears our messages on any kind of port, and its end; anything else that arrives is left alone. */
function receive<T>(port: PortLike, hear: (message: Framed<T>) => void, onClose: () => void): () => void {
  const take = (data: unknown): void => {
    if (isFramed<T>(data)) hear(data);
  };
  // Electron wraps the value in an event; Node's own `on` gives it bare.
  const onEvent = (event: { readonly data?: unknown }): void => take(isFramed<T>(event) ? event : event?.data);
  const target = port as unknown as Record<string, ((name: string, listener: unknown) => void) | undefined>;
  const [add, remove] =
    target.addEventListener === undefined
      ? (["on", "off"] as const)
      : (["addEventListener", "removeEventListener"] as const);
  if (target[add] === undefined)
    throw new TypeError("connect: the port has neither addEventListener nor on; pass a MessagePort");
  target[add]("message", onEvent);
  target[add]("close", onClose);
  port.start?.();
  return () => {
    target[remove]?.("message", onEvent);
    target[remove]?.("close", onClose);
  };
}

function isFramed<T>(data: unknown): data is Framed<T> {
  const message = data as { readonly holdfast?: unknown; readonly number?: unknown } | null | undefined;
  return message?.holdfast === mark && typeof message.number === "number";
}

function closed(): HoldfastError {
  return new HoldfastError("engine_closed", "the port to the engine is closed", "connect again over a new port");
}
