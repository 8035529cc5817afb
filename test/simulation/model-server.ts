// Owns the simulated remotes: one that keeps receipts, one that keeps none, and what each really did.
// How requests and answers travel is network.ts; whether what was done is right is invariants.ts.
import type { Json } from "../../src/operation.ts";
import type { Random } from "../../src/testing/random.ts";

/** What a client puts on the wire. */
export type Request = {
  readonly remote: string;
  readonly operation: string;
  readonly key: string;
  readonly type: string;
  readonly subject: string;
  readonly token: number;
  readonly body: Body;
};

export type Body = {
  readonly kind: "write" | "make";
  readonly name: string;
  /** Record that is written; a local id until its creation has landed. */
  readonly record?: string;
  /** Version that the record must have. */
  readonly base?: number;
  /** The remote refuses it until somebody takes this away. */
  readonly poison?: boolean;
  readonly refs?: readonly string[];
  readonly extra?: Json;
};

export type Reply =
  | { readonly status: 200; readonly serverId?: string; readonly isRepeated: boolean }
  | { readonly status: 401 | 422 | 500 }
  | { readonly status: 409; readonly version: number }
  | { readonly status: 429 | 503; readonly retryAfterMs: number }
  /** A page of the network in between, not of the remote. */
  | { readonly status: 0 };

export type Effect = { readonly operation: string; readonly key: string };

/** How badly the remotes behave at the moment; probabilities per request. */
export type Weather = {
  readonly before: number;
  readonly after: number;
  readonly busy: number;
};

export type ModelServer = {
  readonly handle: (request: Request) => Reply;
  readonly effects: (operation: string) => number;
  /** Ids given to what an operation created. */
  readonly created: (operation: string) => string | null;
  readonly tokens: Map<string, number>;
  readonly setWeather: (weather: Weather) => void;
};

export const fairWeather: Weather = { before: 0, after: 0, busy: 0 };

export type ServerOptions = {
  readonly random: Random;
  /** Called for each effect, before the answer leaves. */
  readonly onEffect: (request: Request, count: number) => void;
  /** Called for what no honest client ever sends. */
  readonly onOffence: (rule: string, detail: string) => void;
};

export function newModelServer(options: ServerOptions): ModelServer {
  const { random } = options;
  const receipts = new Map<string, { readonly body: string; readonly reply: Reply }>();
  const effects = new Map<string, number>();
  const created = new Map<string, string>();
  const versions = new Map<string, number>();
  const tokens = new Map<string, number>();
  let weather = fairWeather;

  const apply = (request: Request): Reply => {
    const { body } = request;
    if (body.poison === true) return { status: 422 };
    const version = versions.get(body.record ?? "") ?? 0;
    if (body.base !== undefined && body.base !== version) return { status: 409, version };
    if (body.record !== undefined) versions.set(body.record, version + 1);
    const count = (effects.get(request.operation) ?? 0) + 1;
    effects.set(request.operation, count);
    options.onEffect(request, count);
    if (body.kind !== "make") return { status: 200, isRepeated: false };
    const serverId = created.get(request.operation) ?? `server-${created.size + 1}`;
    created.set(request.operation, serverId);
    return { status: 200, serverId, isRepeated: false };
  };
  const receive = (request: Request): Reply => {
    if (request.remote !== "receipts") return apply(request);
    const text = JSON.stringify(request.body);
    const known = receipts.get(request.key);
    if (known !== undefined) {
      if (known.body !== text) options.onOffence("key", `the key ${request.key} came back with another body`);
      return known.reply.status === 200 ? { ...known.reply, isRepeated: true } : known.reply;
    }
    const reply = apply(request);
    receipts.set(request.key, { body: text, reply });
    return reply;
  };
  return {
    handle: (request) => {
      if (random.chance(weather.busy)) {
        const status = random.chance(0.5) ? 429 : 503;
        return { status, retryAfterMs: random.below(20_000) };
      }
      if (random.chance(weather.before)) return { status: 500 };
      if (tokens.get(request.subject) !== request.token) return { status: 401 };
      const reply = receive(request);
      return random.chance(weather.after) ? { status: 500 } : reply;
    },
    effects: (operation) => effects.get(operation) ?? 0,
    created: (operation) => created.get(operation) ?? null,
    tokens,
    setWeather: (next) => {
      weather = next;
    },
  };
}
