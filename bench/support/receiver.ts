// Owns the server that pushes go to: a process of its own that reads JSON and answers it, one request or one batch at a time.
// Leaves measuring to p7-push-batch.ts and p8-push-single.ts.
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

const server = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("end", () => {
    const body = JSON.parse(Buffer.concat(chunks).toString());
    const answer = Array.isArray(body) ? body.map((_, index) => ({ index, ok: true })) : { ok: true };
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(answer));
  });
});
server.keepAliveTimeout = 60_000;
server.listen(0, "127.0.0.1", () => process.send?.((server.address() as AddressInfo).port));
process.on("disconnect", () => process.exit(0));
