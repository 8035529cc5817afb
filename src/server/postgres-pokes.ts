/**
 * Owns pokes between server processes over LISTEN/NOTIFY, on one connection of their own that comes back by itself.
 * What a poke leads to is the server's; a poke that was lost is made good by saying that every space may have moved.
 */
import type { Session } from "./postgres-pool.ts";
import { everySpace } from "./store.ts";

type Listener = (space: string, head: number) => void;

export type Pokes = {
  readonly poke: (space: string, head: number) => Promise<void>;
  readonly onPoke: (listener: Listener) => () => void;
  readonly close: () => Promise<void>;
};

export type PokesOptions = {
  /** Opens the connection; `onNotify` hears what comes over it. */
  readonly connect: (onNotify: (channel: string, payload: string) => void) => Promise<Session>;
  /** A silent connection is asked for a sign of life this often; a network that swallows everything is noticed only so. */
  readonly heartbeatMs: number;
  readonly report: (message: string, error: unknown) => void;
};

const channel = "holdfast_poke";
const listen = `LISTEN ${channel}`;
const notify = `SELECT pg_notify('${channel}', $1)`;
const heartbeat = "SELECT 1";
const heartbeatLimitMs = 5_000;
/** PostgreSQL refuses payloads of 8,000 bytes and more. */
export const payloadLimitBytes = 7_900;
const comeBackMs = { first: 50, last: 2_000 } as const;

export function newPokes(options: PokesOptions): Pokes {
  const me = crypto.randomUUID();
  const listeners = new Set<Listener>();
  /** Heads that the other processes have not been told yet. */
  const unsent = new Map<string, number>();
  let isClosed = false;
  let sending: Promise<void> | undefined;
  const tell = (space: string, head: number): void => {
    for (const listener of listeners) listener(space, head);
  };
  const hear = (from: string, payload: string): void => {
    const heard = from === channel ? readPayload(payload) : undefined;
    if (heard === undefined || heard.sender === me) return;
    for (const [space, head] of heard.heads) tell(space, head);
  };
  const line = keepLine(options, hear, async () => {
    // Whatever was said while nobody listened is lost.
    tell(everySpace, 0);
    await flush();
  });

  function flush(): Promise<void> {
    sending ??= sendAll().finally(() => {
      sending = undefined;
    });
    return sending;
  }

  /** One message carries all heads that came together while the last one was on its way. */
  async function sendAll(): Promise<void> {
    for (let session = line.current(); unsent.size > 0 && session !== undefined; session = line.current()) {
      const heads = takeBatch(unsent);
      try {
        await session.query(notify, [JSON.stringify([me, heads])]);
      } catch (error) {
        for (const [space, head] of heads) remember(unsent, space, head);
        options.report("a poke could not be sent", error);
        return;
      }
    }
  }

  return {
    poke: async (space, head) => {
      if (isClosed) return;
      tell(space, head);
      remember(unsent, space, head);
      line.open();
      await flush();
    },
    onPoke: (listener) => {
      listeners.add(listener);
      line.open();
      return () => listeners.delete(listener);
    },
    close: async () => {
      isClosed = true;
      listeners.clear();
      await line.close();
    },
  };
}

/** A connection that listens, comes back when it was lost, and is asked for signs of life. */
type Line = {
  readonly open: () => void;
  readonly current: () => Session | undefined;
  readonly close: () => Promise<void>;
};

type Hear = (channel: string, payload: string) => void;

function keepLine(options: PokesOptions, hear: Hear, whenOpen: () => Promise<void>): Line {
  let session: Session | undefined;
  let isOpening = false;
  let isClosed = false;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const later = (ms: number, task: () => Promise<void>): void => {
    clearTimeout(timer);
    if (!isClosed) timer = setTimeout(() => void task(), ms);
  };
  const comeBack = (failures: number): void => {
    session = undefined;
    const most = Math.min(comeBackMs.last, comeBackMs.first * 2 ** failures);
    later(most * (0.5 + Math.random() / 2), () => open(failures));
  };

  async function open(failures: number): Promise<void> {
    if (isClosed || isOpening || session !== undefined) return;
    isOpening = true;
    try {
      session = await openLine(options, hear);
    } catch (error) {
      options.report("the connection for pokes cannot be had", error);
      return comeBack(failures + 1);
    } finally {
      isOpening = false;
    }
    if (isClosed) return session.close();
    session.onLost(() => comeBack(0));
    if (session.isLost()) return comeBack(0);
    later(options.heartbeatMs, beat);
    await whenOpen();
  }

  async function beat(): Promise<void> {
    const asked = session;
    if (asked === undefined) return;
    try {
      await asked.control(heartbeat, heartbeatLimitMs);
      later(options.heartbeatMs, beat);
    } catch (error) {
      options.report("the connection for pokes gave no sign of life", error);
      await asked.close();
    }
  }

  return {
    open: () => void (session === undefined && timer === undefined && open(0)),
    current: () => session,
    close: async () => {
      isClosed = true;
      clearTimeout(timer);
      await session?.close();
    },
  };
}

async function openLine(options: PokesOptions, hear: Hear): Promise<Session> {
  const session = await options.connect(hear);
  try {
    await session.control(listen);
    return session;
  } catch (error) {
    await session.close();
    throw error;
  }
}

function remember(unsent: Map<string, number>, space: string, head: number): void {
  unsent.set(space, Math.max(head, unsent.get(space) ?? 0));
}

type Heads = readonly (readonly [space: string, head: number])[];

const bytesOf = (value: unknown): number => new TextEncoder().encode(JSON.stringify(value)).length;

/** Takes as many heads out as one message holds. */
function takeBatch(unsent: Map<string, number>): Heads {
  const batch: (readonly [string, number])[] = [];
  // The sender's id, brackets and commas.
  let bytes = 64;
  for (const head of unsent) {
    bytes += bytesOf(head) + 1;
    if (batch.length > 0 && bytes > payloadLimitBytes) break;
    batch.push(head);
    unsent.delete(head[0]);
  }
  return batch;
}

/** Anybody with rights on the database can send on the channel; what makes no sense is no poke. */
function readPayload(payload: string): { readonly sender: string; readonly heads: Heads } | undefined {
  try {
    const [sender, heads] = JSON.parse(payload) as readonly unknown[];
    if (typeof sender !== "string" || !Array.isArray(heads)) return undefined;
    const isHead = (each: unknown): each is readonly [string, number] =>
      Array.isArray(each) && typeof each[0] === "string" && Number.isSafeInteger(each[1]);
    return { sender, heads: heads.filter(isHead) };
  } catch {
    return undefined;
  }
}
