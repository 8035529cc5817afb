/**
 * The door "holdfast/server": the sync server as a Web handler, its stores, its tokens, and how collections are declared.
 */
export type { Access, AuthOptions, JwtOptions } from "./auth.ts";
export type { ChangeContext, RowRule, ServerCollection, Violation, Who } from "./collections.ts";
export type { LogEntry, ServerLimits } from "./core.ts";
export { serverLimits } from "./core.ts";
export type { EmbeddedOptions } from "./embedded.ts";
export { openEmbeddedStore } from "./embedded.ts";
export type { PostgresOptions } from "./postgres.ts";
export { openPostgres } from "./postgres.ts";
export type { ServerOptions, SyncServer } from "./server.ts";
export { openServer } from "./server.ts";
export type { ServerStore } from "./store.ts";
export type { Grant, NewToken, TokenInfo } from "./tokens.ts";
export { addToken, listTokens, reinstateAccount, revokeToken, suspendAccount } from "./tokens.ts";
