/**
 * Owns the event streams: pokes per space as server-sent events, with a heartbeat, and never more than the newest head in waiting.
 * Where pokes come from is the store; what a client does with one is to pull.
 */
import type { Core } from "./core.ts";
import { safetyHeaders } from "./problem.ts";
import { findSpace } from "./spaces.ts";
import { everySpace } from "./store.ts";

export type Events = {
  /** `null` when too many are open. */
  readonly open: (input: {
    readonly spaces: readonly string[];
    readonly tokenId: string;
    readonly expiresAt: number | null;
    /** What the request was let in with; it is asked again with every heartbeat. */
    readonly authorization: string | null;
  }) => Promise<Response | null>;
  readonly count: () => number;
  readonly close: () => void;
};

type Stream = {
  readonly spaces: ReadonlySet<string>;
  readonly tokenId: string;
  readonly authorization: string | null;
  readonly endsAt: number;
  /** What the reader has not taken yet, the newest head per space: a slow reader costs a few bytes, however much happens. */
  readonly waiting: Map<string, number>;
  isBeating: boolean;
  readonly wake: () => void;
  readonly end: () => void;
};

export const streamHeaders: Readonly<Record<string, string>> = {
  ...safetyHeaders,
  "content-type": "text/event-stream",
  "x-accel-buffering": "no",
};

const encoder = new TextEncoder();

/** Whether a request may still listen to all of these spaces; `null` when nobody can tell at the moment. */
export type Recheck = (authorization: string | null, spaces: ReadonlySet<string>) => Promise<boolean | null>;

export function openEvents(core: Core, recheck: Recheck): Events {
  const registry = newRegistry();
  const { streams, bySpace } = registry;
  let isClosed = false;
  const tell = (space: string, head: number): void => {
    for (const stream of bySpace.get(space) ?? []) note(stream, space, head);
  };
  const tellAll = async (): Promise<void> => {
    for (const space of [...bySpace.keys()]) tell(space, await readHead(core, space));
  };
  const stopListening = core.store.onPoke((space, head) => {
    if (space !== everySpace) return tell(space, head);
    tellAll().catch((error: unknown) =>
      core.log({ level: "warn", message: "pokes were lost, and the heads cannot be read", error: String(error) }),
    );
  });
  const review = newReview(streams, recheck);
  const timer = setInterval(() => {
    beat(streams, core.now());
    review().catch((error: unknown) =>
      core.log({ level: "warn", message: "the tokens of event streams cannot be checked", error: String(error) }),
    );
  }, core.limits.heartbeatMs);
  // A server that is closed must not be kept alive by its heartbeat; timers of browsers are numbers and know nothing of it.
  (timer as unknown as { readonly unref?: () => void }).unref?.();
  return {
    open: async ({ spaces, tokenId, expiresAt, authorization }) => {
      // Whoever comes back at once to a server that goes would keep it from going.
      if (isClosed || streams.size >= core.limits.streams) return null;
      if (registry.countOf(tokenId) >= core.limits.streamsPerToken) return null;
      const endsAt = Math.min(core.now() + core.limits.streamMs, expiresAt ?? Number.MAX_SAFE_INTEGER);
      const { stream, body } = makeStream({ spaces: new Set(spaces), tokenId, authorization, endsAt }, registry.remove);
      registry.add(stream);
      try {
        // Listened first and read then: what is committed in between is told twice rather than not at all.
        for (const space of spaces) note(stream, space, await readHead(core, space));
      } catch (error) {
        stream.end();
        throw error;
      }
      return new Response(body, { headers: streamHeaders });
    },
    count: () => streams.size,
    close: () => {
      isClosed = true;
      clearInterval(timer);
      stopListening();
      for (const stream of [...streams]) stream.end();
    },
  };
}

type Registry = {
  readonly streams: ReadonlySet<Stream>;
  readonly bySpace: ReadonlyMap<string, ReadonlySet<Stream>>;
  readonly countOf: (tokenId: string) => number;
  readonly add: (stream: Stream) => void;
  readonly remove: (stream: Stream) => void;
};

/** Which streams are open, by space and by token. */
function newRegistry(): Registry {
  const streams = new Set<Stream>();
  const bySpace = new Map<string, Set<Stream>>();
  const perToken = new Map<string, number>();
  const countOf = (tokenId: string): number => perToken.get(tokenId) ?? 0;
  return {
    streams,
    bySpace,
    countOf,
    add: (stream) => {
      streams.add(stream);
      perToken.set(stream.tokenId, countOf(stream.tokenId) + 1);
      for (const space of stream.spaces) bySpace.set(space, (bySpace.get(space) ?? new Set()).add(stream));
    },
    remove: (stream) => {
      if (!streams.delete(stream)) return;
      for (const space of stream.spaces) {
        bySpace.get(space)?.delete(stream);
        if (bySpace.get(space)?.size === 0) bySpace.delete(space);
      }
      const left = countOf(stream.tokenId) - 1;
      if (left > 0) perToken.set(stream.tokenId, left);
      else perToken.delete(stream.tokenId);
    },
  };
}

function note(stream: Stream, space: string, head: number): void {
  stream.waiting.set(space, Math.max(head, stream.waiting.get(space) ?? 0));
  stream.wake();
}

/** Streams whose time is over end; the others say that they live. */
function beat(streams: ReadonlySet<Stream>, now: number): void {
  for (const stream of [...streams]) {
    if (now >= stream.endsAt) stream.end();
    else {
      stream.isBeating = true;
      stream.wake();
    }
  }
}

/**
 * Ends the streams of tokens that were revoked, of accounts that were suspended, and of spaces that were taken away. Each token is asked for once,
 * however many streams it has, one after the other: thousands at the same moment would keep pushes from the database.
 */
function newReview(streams: ReadonlySet<Stream>, recheck: Recheck): () => Promise<void> {
  let isRunning = false;
  return async () => {
    if (isRunning) return;
    isRunning = true;
    try {
      const known = new Map<string, Promise<boolean | null>>();
      for (const stream of [...streams]) {
        const id = JSON.stringify([stream.authorization, [...stream.spaces].sort()]);
        const asked = known.get(id) ?? recheck(stream.authorization, stream.spaces);
        known.set(id, asked);
        if ((await asked) === false) stream.end();
      }
    } finally {
      isRunning = false;
    }
  };
}

async function readHead(core: Core, space: string): Promise<number> {
  return (await core.store.read((tx) => findSpace(tx, space)))?.head ?? 0;
}

function makeStream(
  facts: Pick<Stream, "spaces" | "tokenId" | "authorization" | "endsAt">,
  remove: (stream: Stream) => void,
): { readonly stream: Stream; readonly body: ReadableStream<Uint8Array> } {
  let controller: ReadableStreamDefaultController<Uint8Array> | null = null;
  const waiting = new Map<string, number>();
  const flush = (): void => {
    if (controller === null || (controller.desiredSize ?? 0) <= 0) return;
    const pokes = [...waiting].map(([space, head]) => `data: ${JSON.stringify({ space, head })}\n\n`).join("");
    const text = pokes === "" && stream.isBeating ? ": beat\n\n" : pokes;
    waiting.clear();
    stream.isBeating = false;
    if (text !== "") controller.enqueue(encoder.encode(text));
  };
  const stream: Stream = {
    ...facts,
    waiting,
    isBeating: false,
    wake: flush,
    end: () => {
      remove(stream);
      const open = controller;
      controller = null;
      open?.close();
    },
  };
  const body = new ReadableStream<Uint8Array>(
    {
      start: (made) => {
        controller = made;
        controller.enqueue(encoder.encode(": holdfast\n\n"));
      },
      pull: flush,
      cancel: () => {
        controller = null;
        remove(stream);
      },
    },
    { highWaterMark: 4 },
  );
  return { stream, body };
}
