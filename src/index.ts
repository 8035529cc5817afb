/**
 * Owns the front door: what a program imports as "holdfast", wherever it runs. No schema and no Node built-in comes with it.
 * Engines are opened through "holdfast/node", contract suites come from "holdfast/testing".
 */
export type { Client, ConnectOptions, QueuedOperation } from "./client/client.ts";
export { connect, newOperationId } from "./client/client.ts";
export type { FetchRules, Matcher, OfflineFetch, OfflineFetchOptions, OfflineInit } from "./client/fetch.ts";
export { offlineFetch, queuedId } from "./client/fetch.ts";
export type { PortLike } from "./client/port.ts";
export { servePort } from "./client/port.ts";
export type {
  CollectionHandle,
  ImportOptions,
  ImportReport,
  Page,
  Query,
  Transaction,
  TransactionCollection,
  TransactionOutcome,
  TypedRecord,
  Written,
} from "./client/records.ts";
export type { AttemptReport, RetryingOptions, RetryingTask } from "./client/retrying.ts";
export { retrying } from "./client/retrying.ts";
export type { SettledOptions } from "./client/settled.ts";
export type { SyncedOptions, SyncReport } from "./client/synced.ts";
export type { CallOptions, EngineLike, Listener, SubscribeOptions, Transport } from "./client/transport.ts";
export type { CollectionDeclaration, DeclaredCollection } from "./collection.ts";
export { collection } from "./collection.ts";
export type {
  Choice,
  ConflictKind,
  ConflictView as RecordConflict,
  Decision,
  Sides,
  Strategies,
} from "./conflict.ts";
export type { ErrorBody, ErrorCode } from "./errors.ts";
export { HoldfastError, isCode } from "./errors.ts";
export type { BatchItem, Declaration, DeclaredOperation, RunContext, RunResult } from "./handler.ts";
export { operation } from "./handler.ts";
export type { FieldDecision, FieldRule, FieldRules, Merged } from "./merge.ts";
export { mergeFields } from "./merge.ts";
export type {
  Answer,
  ConflictView,
  Json,
  Operation,
  Outcome,
  Problem,
  Progress,
  Reason,
  Status,
  Strategy,
} from "./operation.ts";
export type { Change, CollectionSpec, Condition, Fields, RecordState, RecordView, Where } from "./record.ts";
export type { Reply } from "./reply.ts";
export { applied, conflict, rejected, retryLater, signedOut, unknownOutcome } from "./reply.ts";
export type { RetryPolicy, RetryPreset } from "./retry.ts";
export { retryPresets } from "./retry.ts";
export type { AddInput, HoldfastEvent, Input, Output, QueueStatus, Receipt, Verb, Why } from "./verbs.ts";
export type { Attempt, OperationType } from "./world.ts";
