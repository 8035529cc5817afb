// Owns one sync server as a process of its own, for tests and benches: told what to run as JSON, it says on which port.
// Leaves starting and killing it to test/support/servers.ts.
import { startServer } from "../../src/node/server-host.ts";
import type { ServerRequest } from "./servers.ts";

const { place, port, limits } = JSON.parse(process.argv[2] ?? "{}") as ServerRequest;
const server = await startServer({
  place,
  port,
  config: { isOpen: true, limits },
  isDevelopment: false,
  host: "127.0.0.1",
  log: ({ level, message, error }) => {
    if (level === "error") process.stderr.write(`${message} ${String(error)}\n`);
  },
});
process.on("message", (asked) => {
  if (asked === "memory") process.send?.({ rss: process.memoryUsage().rss });
});
process.once("disconnect", () => process.exit(0));
process.once("SIGTERM", () => void server.stop().then(() => process.exit(0)));
process.send?.({ port: server.port });
