// Owns a real tus server (@tus/server over @tus/file-store) on a folder, that can be stopped and started again.
// Leaves its faults to the proxy and its extensions that @tus/server lacks to tests with a server of their own.
import { createHash } from "node:crypto";
import { createReadStream, readdirSync, statSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { createServer } from "node:http";
import path from "node:path";
import { FileStore } from "@tus/file-store";
import { Server } from "@tus/server";

export type Seen = { readonly method: string; readonly url: string; readonly headers: IncomingMessage["headers"] };

export type TusServer = {
  readonly port: number;
  /** Every request, in order. */
  readonly seen: readonly Seen[];
  readonly close: () => Promise<void>;
};

export async function startTusServer(folder: string, port = 0): Promise<TusServer> {
  const tus = new Server({ path: "/files", datastore: new FileStore({ directory: folder }), relativeLocation: true });
  const seen: Seen[] = [];
  const server = createServer((request, response) => {
    seen.push({ method: request.method ?? "", url: request.url ?? "", headers: request.headers });
    tus.handle(request, response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  return {
    port: (server.address() as { port: number }).port,
    seen,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** The uploads in the server's folder that hold this many bytes. */
export function uploadsOf(folder: string, sizeBytes: number): readonly string[] {
  return readdirSync(folder)
    .filter((name) => !name.endsWith(".json"))
    .map((name) => path.join(folder, name))
    .filter((file) => statSync(file).size === sizeBytes);
}

export async function sha256Of(file: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const block of createReadStream(file)) hash.update(block);
  return hash.digest("hex");
}
