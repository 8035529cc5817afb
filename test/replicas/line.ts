// Owns the line between one client and the server: requests and answers that are lost, late, doubled or refused on the way,
// and pokes that may be lost as well. What an answer means to the engine is sync-failure.ts of the sources.
import type { classifyResponse } from "../../src/failure.ts";
import type { Refusal } from "../../src/sync-failure.ts";
import { classifySyncAnswer } from "../../src/sync-failure.ts";
import type { Random } from "../../src/testing/random.ts";
import type { Scheduler } from "../../src/testing/scheduler.ts";
import type { VirtualProcess } from "../../src/testing/virtual-world.ts";
import type { PushItem } from "../../src/wire.ts";
import { fetchResponse, pullResponse, pushResponse, readWire, routes } from "../../src/wire.ts";
import type { Reply, Signal, SyncPort } from "../../src/world.ts";
import type { Credentials, Served, ServerHost } from "./server-host.ts";
import { serverName, space } from "./server-host.ts";

/** Probabilities per request, and how long things take. */
export type Weather = {
  isCut: boolean;
  dropRequest: number;
  dropAnswer: number;
  double: number;
  late: number;
  /** How often a copy of a request comes again long after its answer was taken. */
  echo: number;
  /** What something in between answers instead of the server; `null`: nothing does. */
  instead: "portal" | "503" | "429" | null;
};

export const calm = (): Weather => ({
  isCut: false,
  dropRequest: 0,
  dropAnswer: 0,
  double: 0,
  late: 0,
  echo: 0,
  instead: null,
});

const timeoutMs = 60_000;
const longestLateMs = 180_000;
const leastEchoMs = 2_000;
const delayMs = 40;

/** Answers by which nothing was done. */
const turnsAway: ReadonlySet<number> = new Set([401, 403, 429, 503]);

export type LineParts = {
  readonly scheduler: Scheduler;
  readonly random: Random;
  readonly weather: Weather;
  readonly credentials: Credentials;
  readonly server: ServerHost;
  /** Told what is pushed, whatever becomes of it on the way. */
  readonly onPush: (items: readonly PushItem[]) => void;
};

export function makeLine(parts: LineParts, process: VirtualProcess): SyncPort {
  const { random, scheduler, server, weather } = parts;
  const ask = <T>(route: string, request: unknown, read: (body: unknown) => T, signal: Signal): Promise<Reply<T>> =>
    send(parts, process, { route, text: JSON.stringify(request), signal }).then((arrived) => judge(arrived, read));
  return {
    remote: serverName,
    space,
    subject: "",
    push: (request, signal) => {
      parts.onPush(request.items);
      return ask(routes.push, request, (body) => readWire("push", pushResponse, body), signal);
    },
    pull: (request, signal) => ask(routes.pull, request, (body) => readWire("pull", pullResponse, body), signal),
    fetch: (request, signal) => ask(routes.fetch, request, (body) => readWire("fetch", fetchResponse, body), signal),
    watch: (name, listener) =>
      server.onPoke((head) => {
        if (weather.isCut || weather.instead !== null || random.chance(weather.dropAnswer + 0.1)) return;
        scheduler.after(1 + random.below(delayMs), () => process.enter(() => listener({ space: name, head })));
      }),
  };
}

/** What the client's side of the wire sees. */
type Arrived =
  | { readonly kind: "answer"; readonly served: NonNullable<Served>; readonly sentBytes: number }
  | { readonly kind: "silence"; readonly mayHaveLanded: boolean; readonly reason: string };

type Sending = { readonly route: string; readonly text: string; readonly signal: Signal };

function send(parts: LineParts, process: VirtualProcess, { route, text, signal }: Sending): Promise<Arrived> {
  const { scheduler, random, weather, credentials, server } = parts;
  const way = (): number => 1 + random.below(random.chance(weather.late) ? longestLateMs : delayMs);
  return new Promise((resolve) => {
    let isOver = false;
    const end = (arrived: Arrived): void => {
      if (isOver) return;
      isOver = true;
      cancel();
      signal.removeEventListener("abort", onAbort);
      process.enter(() => resolve(arrived));
    };
    const silence = (reason: string, mayHaveLanded: boolean): void => end({ kind: "silence", reason, mayHaveLanded });
    const onAbort = (): void => silence("aborted", true);
    const cancel = scheduler.after(timeoutMs, () => silence("no answer in time", true));
    signal.addEventListener("abort", onAbort);
    const answer = (served: NonNullable<Served>): void => end({ kind: "answer", served, sentBytes: text.length });
    // Copies that somebody was there to take. That nothing was done is true only when it is true of all of them.
    let taken = 0;
    let isTurnedAway = false;
    const deliver = (isFirst: boolean): void => {
      if (isTurnedAway) return;
      taken += 1;
      void server.handle(route, text, { ...credentials }).then((served) => {
        if (served === null) taken -= 1;
        if (!isFirst) return;
        const others = served === null ? taken : taken - 1;
        isTurnedAway = served === null || turnsAway.has(served.status);
        if (isTurnedAway && others > 0) silence("cut off", true);
        else if (served === null) silence("refused", false);
        else if (!random.chance(weather.dropAnswer)) scheduler.after(way(), () => answer(served));
      });
    };
    if (weather.isCut) scheduler.after(way(), () => silence("no route", false));
    else if (weather.instead !== null) {
      const served = insteadOf(weather.instead);
      scheduler.after(way(), () => answer(served));
    } else if (random.chance(weather.dropRequest)) return;
    else {
      scheduler.after(way(), () => deliver(true));
      // A copy of a request may arrive long after the answer to it was taken.
      if (random.chance(weather.double)) scheduler.after(way(), () => deliver(false));
      if (random.chance(weather.echo)) scheduler.after(leastEchoMs + random.below(longestLateMs), () => deliver(false));
    }
  });
}

function insteadOf(what: NonNullable<Weather["instead"]>): NonNullable<Served> {
  const problem = (status: number, code: string, more: Record<string, string> = {}): NonNullable<Served> => ({
    status,
    headers: new Headers({ "content-type": "application/problem+json", ...more }),
    text: JSON.stringify({ type: "about:blank", title: code, status, code, detail: code, hint: "" }),
  });
  switch (what) {
    case "portal":
      return { status: 200, headers: new Headers({ "content-type": "text/html" }), text: "<html>Log in</html>" };
    case "503":
      return problem(503, "unavailable");
    case "429":
      return problem(429, "rate_limited", { "retry-after": "7" });
  }
}

function judge<T>(arrived: Arrived, read: (body: unknown) => T): Reply<T> {
  if (arrived.kind === "silence") {
    const { reason, mayHaveLanded } = arrived;
    const problem = { code: "no_answer", message: reason };
    return { kind: "failed", answer: { kind: "unknown", problem, mayHaveLanded } };
  }
  const { status, headers, text } = arrived.served;
  const facts: Parameters<typeof classifyResponse>[0] = {
    status,
    headers: Object.fromEntries(headers),
    bodyText: text,
    request: { method: "POST", url: serverName },
  } as never;
  const refusal: Refusal | null = classifySyncAnswer(facts);
  if (refusal !== null) return { kind: "failed", answer: refusal };
  try {
    const response = read(JSON.parse(text));
    return { kind: "answered", response, sentBytes: arrived.sentBytes, receivedBytes: text.length };
  } catch (error) {
    const problem = { code: "malformed_answer", message: String(error) };
    return { kind: "failed", answer: { kind: "unknown", problem, mayHaveLanded: true } };
  }
}
