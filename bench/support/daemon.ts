// Owns a daemon in a process of its own for p12-daemon.ts, as `holdfast daemon run` would be, with nothing to send.
// Leaves asking it to the bar.
import { runDaemon } from "../../src/node/daemon.ts";
import { openEngine } from "../../src/node/engine.ts";
import { noteType, roomy } from "./stores.ts";

const [directory = ""] = process.argv.slice(2);
const log = { write() {}, setLevel() {}, close() {} };
const daemon = await runDaemon({
  directory,
  version: "0.0.0",
  log,
  openEngine: (asked) => openEngine({ directory: asked.directory, types: [noteType], settings: roomy, log: () => {} }),
});
process.send?.({ url: daemon.url, token: daemon.token });
process.on("disconnect", () => void daemon.stop(0).then(() => process.exit(0)));
