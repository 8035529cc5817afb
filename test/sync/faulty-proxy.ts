// Owns a TCP proxy before a sync server that treats connections badly: cut at once, cut in the middle, slow, or open and dead.
// Leaves what has to hold in spite of it to the test.
import type { Socket } from "node:net";
import { connect, createServer } from "node:net";
import type { Random } from "../../src/testing/random.ts";

/** `fair`: everything passes. `cut`: connections are closed after a few bytes. `slow`: each chunk waits. `dead`: nothing passes, nothing closes. */
export type Mood = "fair" | "cut" | "slow" | "dead" | "closed";

export type FaultyProxy = {
  readonly port: number;
  readonly set: (mood: Mood) => void;
  /** Connections so far. */
  readonly count: () => number;
  readonly close: () => Promise<void>;
};

const slowMs = 150;
const cutAfterBytes = 4_000;

export async function startFaultyProxy(upstreamPort: () => number, random: Random): Promise<FaultyProxy> {
  const sockets = new Set<Socket>();
  let mood: Mood = "fair";
  let count = 0;
  const keep = (socket: Socket): Socket => {
    sockets.add(socket);
    socket.on("error", () => socket.destroy());
    socket.on("close", () => sockets.delete(socket));
    return socket;
  };
  const server = createServer((client) => {
    count += 1;
    keep(client);
    if (mood === "closed") {
      client.destroy();
      return;
    }
    const upstream = keep(connect(upstreamPort(), "127.0.0.1"));
    let left = random.below(cutAfterBytes);
    const pass = (from: Socket, to: Socket): void => {
      from.on("data", (chunk: Buffer) => {
        if (mood === "dead") return;
        left -= chunk.length;
        if (mood === "cut" && left < 0) {
          // What was sent before may have arrived: whoever sends it again must not be counted twice.
          client.destroy();
          upstream.destroy();
        } else if (mood === "slow") setTimeout(() => to.writable && to.write(chunk), random.below(slowMs));
        else to.write(chunk);
      });
      from.on("close", () => to.destroy());
    };
    pass(client, upstream);
    pass(upstream, client);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as { readonly port: number }).port,
    set: (next) => {
      // Coming out of a dead network, connections that have missed bytes are of no use to anybody.
      if (mood === "dead" || next === "closed") for (const socket of sockets) socket.destroy();
      mood = next;
    },
    count: () => count,
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
