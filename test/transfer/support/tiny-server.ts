// Owns a small HTTP server whose answers a test writes by hand, for what no ready-made server does on command.
// Leaves real tus to tus-server.ts.
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:http";

export type TinyServer = { readonly origin: string; readonly close: () => Promise<void> };
export type Answering = (request: IncomingMessage, response: ServerResponse) => void | Promise<void>;

export async function startTinyServer(
  answer: Answering,
  options: { readonly onContinue?: Answering } = {},
): Promise<TinyServer> {
  // A client that goes away in the middle is what many of the tests are about.
  const guarded = (answering: Answering) => async (request: IncomingMessage, response: ServerResponse) => {
    try {
      await answering(request, response);
    } catch {
      response.destroy();
    }
  };
  const server = createServer(guarded(answer));
  if (options.onContinue !== undefined) server.on("checkContinue", guarded(options.onContinue));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    origin: `http://127.0.0.1:${(server.address() as { port: number }).port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

export async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const blocks: Buffer[] = [];
  for await (const block of request) blocks.push(block as Buffer);
  return Buffer.concat(blocks);
}
