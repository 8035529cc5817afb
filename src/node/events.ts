/**
 * Owns one client's stream of changes as server-sent events: resume, heartbeat, back-pressure. The feed itself is the engine's;
 * a stream holds a cursor into it and no copy, so a slow client costs no memory.
 */
import type { Engine } from "../engine/engine.ts";
import type { HoldfastEvent } from "../verbs.ts";

export const eventLimits = {
  /** Bytes that may wait for one client before the stream falls back to reading the feed later. */
  bufferBytes: 65_536,
  heartbeatMs: 15_000,
  /** A client that takes nothing for so long is dropped; it resumes where it was. */
  stallMs: 60_000,
  /** Events read from the feed at once. */
  page: 200,
} as const;

export type EventStreamOptions = {
  /** The last event the client has; `null` begins with what happens from now on. */
  readonly after: number | null;
  readonly heartbeatMs?: number;
  readonly stallMs?: number;
  readonly now?: () => number;
  /** Called once, however the stream ends; `isStalled` asks to cut the connection as well. */
  readonly onEnd: (isStalled: boolean) => void;
};

export type EventStream = { readonly body: ReadableStream<Uint8Array>; readonly end: () => void };

type Controller = ReadableStreamDefaultController<Uint8Array>;
type Position = { cursor: number; isBehind: boolean; takenAt: number; isOver: boolean };

/** Opens a stream over the engine's feed. */
export function openEventStream(engine: Engine, options: EventStreamOptions): EventStream {
  const now = options.now ?? (() => performance.now());
  const position: Position = {
    cursor: options.after ?? lastOf(engine),
    isBehind: options.after !== null,
    takenAt: now(),
    isOver: false,
  };
  let controller: Controller | null = null;
  let unsubscribe: () => void = () => {};
  let timer: NodeJS.Timeout | undefined;

  const finish = (isStalled: boolean): void => {
    if (position.isOver) return;
    position.isOver = true;
    unsubscribe();
    clearInterval(timer);
    options.onEnd(isStalled);
  };
  const end = (isStalled = false): void => {
    if (position.isOver) return;
    finish(isStalled);
    try {
      controller?.close();
    } catch {
      // The reader has gone first; there is nobody left to tell.
    }
  };
  const beat = (): void => {
    if (controller === null) return;
    if (hasRoom(controller)) controller.enqueue(encode(": heartbeat\n\n"));
    else if (now() - position.takenAt >= (options.stallMs ?? eventLimits.stallMs)) end(true);
  };
  const body = new ReadableStream<Uint8Array>(
    {
      start: (opened) => {
        controller = opened;
        opened.enqueue(encode("retry: 1000\n\n"));
        unsubscribe = engine.subscribe((event) => guarded(end, () => deliver(engine, opened, position, event)));
        timer = setInterval(beat, options.heartbeatMs ?? eventLimits.heartbeatMs);
        timer.unref();
      },
      pull: (opened) => {
        position.takenAt = now();
        guarded(end, () => catchUp(engine, opened, position));
      },
      cancel: () => finish(false),
    },
    new ByteLengthQueuingStrategy({ highWaterMark: eventLimits.bufferBytes }),
  );
  return { body, end: () => end() };
}

/** Writes one event. What is only told live has no place in the feed, and so no id. */
function encodeEvent(event: HoldfastEvent): string {
  const id = event.sequence === 0 ? "" : `id: ${event.sequence}\n`;
  return `${id}data: ${JSON.stringify(event)}\n\n`;
}

/** Tells the client that its place in the feed is gone: it must read again what it shows. */
function encodeTruncated(last: number): string {
  return `event: truncated\nid: ${last}\ndata: ${JSON.stringify({ last })}\n\n`;
}

function deliver(engine: Engine, controller: Controller, position: Position, event: HoldfastEvent): void {
  if (position.isOver) return;
  if (event.sequence === 0) {
    // Only told live: who has no room misses it, and reads the state when there is room again.
    if (hasRoom(controller) && !position.isBehind) controller.enqueue(encode(encodeEvent(event)));
    return;
  }
  if (position.isBehind || event.sequence <= position.cursor) return;
  if (event.sequence === position.cursor + 1 && hasRoom(controller)) {
    position.cursor = event.sequence;
    controller.enqueue(encode(encodeEvent(event)));
    return;
  }
  position.isBehind = true;
  catchUp(engine, controller, position);
}

function catchUp(engine: Engine, controller: Controller, position: Position): void {
  while (position.isBehind && !position.isOver && hasRoom(controller)) {
    const page = engine.handle("events.list", { after: position.cursor, limit: eventLimits.page });
    // A cursor beyond the feed's end belongs to another store, e.g. one that was restored since.
    if (page.isTruncated || position.cursor > page.last) {
      position.cursor = page.last;
      controller.enqueue(encode(encodeTruncated(page.last)));
      continue;
    }
    const latest = page.events.at(-1);
    if (latest === undefined) {
      position.isBehind = false;
      return;
    }
    position.cursor = latest.sequence;
    controller.enqueue(encode(page.events.map(encodeEvent).join("")));
  }
}

function lastOf(engine: Engine): number {
  return engine.handle("events.list", { after: Number.MAX_SAFE_INTEGER, limit: 1 }).last;
}

function hasRoom(controller: Controller): boolean {
  return (controller.desiredSize ?? 0) > 0;
}

/** A closed engine ends the stream; the client reconnects to whoever serves next. */
function guarded(end: () => void, task: () => void): void {
  try {
    task();
  } catch {
    end();
  }
}

const encoder = new TextEncoder();
const encode = (text: string): Uint8Array => encoder.encode(text);
