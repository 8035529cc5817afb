/**
 * The door "holdfast/node": the engine on a data directory, the daemon and the client that finds it, a sync server on this machine. Everything else stays inside.
 */
export type { Client } from "../client/client.ts";
export type { Engine } from "../engine/engine.ts";
export type { DaemonOptions, EngineRequest, RunningDaemon } from "./daemon.ts";
export { runDaemon } from "./daemon.ts";
export { daemonStatus, startDetached, stopDaemon } from "./detached.ts";
export type { OpenEngineOptions } from "./engine.ts";
export { openEngine } from "./engine.ts";
export { homeDirectory } from "./home.ts";
export type { ServerConfig } from "./server-config.ts";
export { serverConfig } from "./server-config.ts";
export type { HostOptions, RunningServer } from "./server-host.ts";
export { startServer } from "./server-host.ts";
export type { StorePlace } from "./server-store.ts";
export { openServerStore } from "./server-store.ts";
export { openDatabase } from "./sqlite.ts";
export type { SyncOptions } from "./sync-port.ts";
export { makeSyncPort } from "./sync-port.ts";
export type { TokenHook } from "./sync-request.ts";
export type { ConnectDaemonOptions } from "./transport.ts";
export { connectDaemon } from "./transport.ts";
export type { NodeWorldOptions } from "./world.ts";
export { nodeWorld } from "./world.ts";
