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

export async function openFaultProxy(targetPort: number): Promise<FaultProxy> {
  let target = targetPort;
  let sent = 0;
  let connections = 0;
  let fault: Fault = null;
  let lost: string | null = null;
  let withheld: string | null = null;
  const says = (block: Buffer, text: string | null): boolean =>
    text !== null && block.toString("latin1").toLowerCase().includes(text.toLowerCase());
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    connections += 1;
    const upstream = connect(target, "127.0.0.1");
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
      sent += block.length;
      if (fault !== null && sent >= fault.at) {
        const { kind } = fault;
        fault = null;
        if (kind === "cut") return reset();
        return stall();
      }
      if (!upstream.write(block)) {
        client.pause();
        upstream.once("drain", () => client.resume());
      }
    });
    upstream.on("data", (block) => {
      if (isStalled) return;
      if (says(block, lost)) {
        lost = null;
        return reset();
      }
      if (says(block, withheld)) {
        withheld = null;
        return stall();
      }
      client.write(block);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as { port: number }).port,
    sentBytes: () => sent,
    connections: () => connections,
    cutAfter: (bytes) => {
      fault = { at: sent + bytes, kind: "cut" };
    },
    stallAfter: (bytes) => {
      fault = { at: sent + bytes, kind: "stall" };
    },
    armed: () => [fault?.kind, lost, withheld].filter((each) => typeof each === "string"),
    loseAnswerWith: (text) => {
      lost = text;
    },
    withholdAnswerWith: (text) => {
      withheld = text;
    },
    aim: (port) => {
      target = port;
    },
    close: () => closeAll(server, sockets),
  };
}

function closeAll(server: Server, sockets: ReadonlySet<Socket>): Promise<void> {
  for (const socket of sockets) socket.resetAndDestroy();
  return new Promise((resolve) => {
    server.close(() => resolve());
  });
}
