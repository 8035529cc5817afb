// Owns a TCP proxy before PostgreSQL that loses connections at the worst moments: around a commit, at once, or by falling silent.
// Leaves what has to follow to the tests.
import type { Socket } from "node:net";
import { connect, createServer } from "node:net";

/**
 * `lose commit`: the next commit does not arrive. `lose answer`: it takes place, its answer does not arrive. Both once, then `pass`.
 * `silence`: nothing passes, nothing is closed. `hang up`: connections are accepted and closed.
 */
export type Mood = "pass" | "lose commit" | "lose answer" | "silence" | "hang up";

export type Proxy = {
  readonly url: string;
  readonly set: (mood: Mood) => void;
  /** Connections that were made so far. */
  readonly count: () => number;
  readonly close: () => Promise<void>;
};

const commit = Buffer.from("COMMIT\0");

export async function startProxy(url: string): Promise<Proxy> {
  const target = new URL(url);
  const [port, host] = [Number(target.port), target.hostname];
  const sockets = new Set<Socket>();
  let mood: Mood = "pass";
  let count = 0;
  const keep = (socket: Socket): void => {
    sockets.add(socket);
    socket.on("error", () => socket.destroy());
    socket.on("close", () => sockets.delete(socket));
  };
  const server = createServer((client) => {
    count += 1;
    keep(client);
    if (mood === "hang up") return void client.destroy();
    const upstream = connect(port, host);
    keep(upstream);
    let isDeaf = false;
    const drop = (): void => {
      client.destroy();
      upstream.destroy();
    };
    client.on("data", (chunk: Buffer) => {
      if (mood === "silence") return;
      const isCommit = chunk.includes(commit);
      if (isCommit && mood === "lose commit") {
        mood = "pass";
        return drop();
      }
      if (isCommit && mood === "lose answer") {
        mood = "pass";
        isDeaf = true;
      }
      upstream.write(chunk);
    });
    upstream.on("data", (chunk: Buffer) => {
      if (isDeaf) return drop();
      if (mood !== "silence") client.write(chunk);
    });
    client.on("close", drop);
    upstream.on("close", drop);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  target.port = String((server.address() as { port: number }).port);
  return {
    url: target.href,
    set: (next) => {
      mood = next;
    },
    count: () => count,
    close: () =>
      new Promise((resolve) => {
        for (const socket of sockets) socket.destroy();
        server.close(() => resolve());
      }),
  };
}
