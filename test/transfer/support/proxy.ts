// Owns a TCP proxy that misbehaves on command: cuts, stands still, loses answers, and counts what passes.
// Leaves what a client should make of it to the tests.
import type { Server, Socket } from "node:net";
import { connect, createServer } from "node:net";

export type FaultProxy = {
  readonly port: number;
  /** Bytes from clients that were passed on. */
  readonly sentBytes: () => number;
  readonly connections: () => number;
  /** Resets both sides once, after so many more bytes from clients. */
  readonly cutAfter: (bytes: number) => void;
  /** Passes nothing more on for the connection of this moment, once, after so many more bytes; the socket buffers on the way fill up. */
  readonly stallAfter: (bytes: number) => void;
  /** Resets the client's side when an answer that contains `text`, in any case, comes from the server: the effect stays, the answer is lost. */
  readonly loseAnswerWith: (text: string) => void;
  /** Swallows an answer that contains `text`, once, and whatever follows on its connection, which stays open. */
  readonly withholdAnswerWith: (text: string) => void;
  /** Faults that were asked for and have not come to pass: a test that leaves one has tried nothing. */
  readonly armed: () => readonly string[];
  /** Points to another server. */
  readonly aim: (port: number) => void;
  readonly close: () => Promise<void>;
};

type Fault = { readonly at: number; readonly kind: "cut" | "stall" } | null;

/** What has passed, and what is to go wrong. */
type State = {
  target: number;
  sent: number;
  connections: number;
  fault: Fault;
  lost: string | null;
  withheld: string | null;
};

export async function openFaultProxy(targetPort: number): Promise<FaultProxy> {
  const state: State = { target: targetPort, sent: 0, connections: 0, fault: null, lost: null, withheld: null };
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    state.connections += 1;
    relay(client, connect(state.target, "127.0.0.1"), state, sockets);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as { port: number }).port,
    sentBytes: () => state.sent,
    connections: () => state.connections,
    cutAfter: (bytes) => {
      state.fault = { at: state.sent + bytes, kind: "cut" };
    },
    stallAfter: (bytes) => {
      state.fault = { at: state.sent + bytes, kind: "stall" };
    },
    loseAnswerWith: (text) => {
      state.lost = text;
    },
    withholdAnswerWith: (text) => {
      state.withheld = text;
    },
    armed: () => [state.fault?.kind, state.lost, state.withheld].filter((each) => typeof each === "string"),
    aim: (port) => {
      state.target = port;
    },
    close: () => closeAll(server, sockets),
  };
}

function relay(client: Socket, upstream: Socket, state: State, sockets: Set<Socket>): void {
  let isStalled = false;
  const stall = () => {
    isStalled = true;
    client.pause();
    upstream.pause();
  };
  const reset = () => {
    client.resetAndDestroy();
    upstream.resetAndDestroy();
  };
  for (const socket of [client, upstream]) {
    sockets.add(socket);
    socket.on("error", () => undefined);
    socket.on("close", () => {
      sockets.delete(socket);
      reset();
    });
  }
  client.on("data", (block) => {
    if (isStalled) return;
    state.sent += block.length;
    if (state.fault !== null && state.sent >= state.fault.at) {
      const { kind } = state.fault;
      state.fault = null;
      return kind === "cut" ? reset() : stall();
    }
    if (!upstream.write(block)) {
      client.pause();
      upstream.once("drain", () => void (isStalled || client.resume()));
    }
  });
  upstream.on("data", (block) => {
    if (isStalled) return;
    if (says(block, state.lost)) {
      state.lost = null;
      return reset();
    }
    if (says(block, state.withheld)) {
      state.withheld = null;
      return stall();
    }
    client.write(block);
  });
}

const says = (block: Buffer, text: string | null): boolean =>
  text !== null && block.toString("latin1").toLowerCase().includes(text.toLowerCase());

function closeAll(server: Server, sockets: ReadonlySet<Socket>): Promise<void> {
  for (const socket of sockets) socket.resetAndDestroy();
  return new Promise((resolve) => {
    server.close(() => resolve());
  });
}
