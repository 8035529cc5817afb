/**
 * Owns sending record changes: the operation type `record.write` over a `SyncPort`, the identity of this store at the server, and its floor.
 * What an answer does to records is `overlay.ts`; when operations are claimed and settled is the queue's business.
 */
import { HoldfastError } from "../errors.ts";
import type { Answer, Json, Problem } from "../operation.ts";
import { textBytes } from "../operation.ts";
import type { Change, RecordWrite } from "../record.ts";
import { recordWriteType } from "../record.ts";
import type { PushAnswer, PushItem, PushResponse } from "../wire.ts";
import { pushRequest, readWire, wireLimits } from "../wire.ts";
import type { Attempt, OperationType, Reply, Signal, SyncPort } from "../world.ts";
import { findCollection, listInfos } from "./collections.ts";
import { isServerKey } from "./ids.ts";
import { channelFor, getMeta, listChannels, setMeta } from "./meta.ts";
import { lowestUnsettled } from "./pending.ts";
import { moveChannel } from "./queue.ts";
import { startElsewhere } from "./resync.ts";
import { highestIn, noteSeen, seenOf } from "./seen.ts";
import { getSpace, saveSyncPlace, spaceNameOf, syncPlace, wantPull, writtenPlace } from "./spaces.ts";
import type { Store } from "./store.ts";

/** Operations in one push; a few hundred small changes keep a request well under a second. */
export const pushBatch = 200;

/** Room that the envelope of a request and of its items takes, so that a full request stays below the wire's limit. */
const envelopeBytes = 4_096;

/** The code of an answer that asks for a new client identity. */
export const staleClient = "client_stale";
/** The code of an answer that was given in another history than the one that is known here: what it says is not known to hold. */
export const otherHistory = "other_history";
/** By then the news that were asked for have told which history it is. */
const otherHistoryMs = 1_000;

/** The type under which record changes are queued. It can be sent only where this program has a way to the server. */
export function makeRecordWrite(store: Store): OperationType {
  const { sync } = store;
  const type: OperationType = {
    type: recordWriteType,
    check: (payload) => checkRecordWrite(payload) as unknown as Json,
    title: titleOf,
    remoteOf: () => syncPlace(store).remote,
  };
  if (sync === null) return type;
  return { ...type, runBatch: { max: store.pushBatch, run: (attempts) => push(store, attempts) } };
}

/** Checks a payload by the rules of the wire. Throws `invalid_input`. */
export function checkRecordWrite(payload: Json): RecordWrite {
  const write = payload as unknown as RecordWrite;
  const item = { id: "check", number: 0, changes: write?.changes, at: write?.at };
  const space = write?.space === "" ? "named later" : write?.space;
  readWire(`${recordWriteType} payload`, pushRequest, { space, client: "check", floor: 0, items: [item] });
  return write;
}

function titleOf(payload: Json): string {
  const { changes } = payload as unknown as RecordWrite;
  const [first] = changes;
  if (first === undefined) return recordWriteType;
  return changes.length === 1
    ? `${first.kind} ${first.collection} ${first.key}`
    : `${changes.length} records, first ${first.collection} ${first.key}`;
}

/** Names this store at the server for ever. */
export function clientId(store: Store): string {
  const known = getMeta(store, "client");
  if (known !== null) return known;
  return renewClient(store);
}

/** The store went back in time: under its old name the server would take new operations for old ones. */
export function renewClient(store: Store): string {
  const id = store.world.newId();
  setMeta(store, "client", id);
  return id;
}

/** What was heard of another server means nothing for this one. */
export function useServer(store: Store, sync: SyncPort | null): void {
  const { memory } = store;
  memory.sync.port = sync;
  memory.sync.poked.clear();
  memory.sync.trusted.clear();
  memory.sync.seen.clear();
  memory.sync.fetchAt = Number.NEGATIVE_INFINITY;
}

/** Tells the store where its server is, and leads there what was queued before that was known, or for another address. */
export function adoptRemote(store: Store): void {
  if (store.sync === null) return;
  const before = writtenPlace(store);
  const place = syncPlace(store);
  // Another server is looked at as soon as it is named.
  if (saveSyncPlace(store, place))
    for (const { isSynced, space } of listInfos(store)) if (isSynced) wantPull(store, space);
  if (before !== null && before.space !== place.space)
    startElsewhere(
      store,
      listInfos(store).filter(
        ({ isSynced, spec, state }) => isSynced && spec.space === undefined && state !== "initial",
      ),
    );
  clientId(store);
  for (const channel of listChannels(store)) {
    if (channel.type !== recordWriteType || channel.remote === place.remote) continue;
    moveChannel(
      store,
      channel.id,
      channelFor(store, place.remote, recordWriteType, channel.subject || place.subject).id,
    );
  }
}

/** Sends a batch, space by space, in requests below the wire's limit of bytes. Answers come in the order of the attempts. */
function push(store: Store, attempts: readonly Attempt[]): Promise<readonly Answer[]> {
  const answers = new Map<string, Answer>();
  return requestsOf(store, attempts)
    .reduce(
      (before, request) =>
        before
          .then(() => send(store, request))
          .then((got) => {
            for (const [key, answer] of got) answers.set(key, answer);
          }),
      Promise.resolve(),
    )
    .then(() => attempts.map(({ idempotencyKey }) => answers.get(idempotencyKey) ?? silence("the server left it out")));
}

type Request = { readonly space: string; readonly attempts: readonly Attempt[] };

function requestsOf(store: Store, attempts: readonly Attempt[]): readonly Request[] {
  const requests: { space: string; attempts: Attempt[]; bytes: number }[] = [];
  for (const attempt of attempts) {
    const space = spaceNameOf(store, (attempt.input as unknown as RecordWrite).space);
    const bytes = textBytes(JSON.stringify(attempt.input)) + envelopeBytes / 16;
    const open = requests.findLast((request) => request.space === space);
    const fits =
      open !== undefined &&
      open.attempts.length < wireLimits.pushItems &&
      open.bytes + bytes <= wireLimits.pushBytes - envelopeBytes;
    if (fits) {
      open.attempts.push(attempt);
      open.bytes += bytes;
    } else requests.push({ space, attempts: [attempt], bytes });
  }
  return requests;
}

function send(store: Store, request: Request): Promise<readonly (readonly [string, Answer])[]> {
  const { sync } = store;
  const signal = request.attempts[0]?.signal as Signal;
  if (sync === null) return Promise.resolve([]);
  const client = getMeta(store, "client") ?? "";
  // What is under way stands below no floor: its row is pending until its answer is booked.
  const floor = Math.min(lowestUnsettled(store) ?? Number.MAX_SAFE_INTEGER, ...request.attempts.map(numberOf));
  const history = historyOf(store, request.space);
  const seen = history === "" ? 0 : seenOf(store, getSpace(store, request.space));
  const items = request.attempts.map((attempt) => itemOf(store, attempt));
  return sync
    .push({ space: request.space, client, floor, ...(history === "" ? {} : { history, seen }), items }, signal)
    .then((reply) => answersOf(store, { ...request, seen }, reply));
}

const numberOf = ({ operation }: Attempt): number => operation.sequence;

function itemOf(store: Store, attempt: Attempt): PushItem {
  const { changes, at } = attempt.input as unknown as RecordWrite;
  const told = changes.map((change) => (isNamed(store, change) ? { ...change, named: true } : change));
  return { id: attempt.idempotencyKey, number: numberOf(attempt), changes: told as PushItem["changes"], at };
}

/**
 * A creation whose key is no local id: the server gave it once, and has lost the record since. Under another key it would be a second record
 * beside the one that another device brings back, and what refers to it would point nowhere.
 */
const isNamed = (store: Store, { kind, collection, key }: Change): boolean =>
  kind === "create" && findCollection(store, collection)?.spec.keys === "server" && isServerKey(store, key);

function answersOf(
  store: Store,
  { attempts, space, seen }: Request & { readonly seen: number },
  reply: Reply<PushResponse>,
): readonly (readonly [string, Answer])[] {
  if (reply.kind === "failed") {
    // A server that fails as a whole says nothing of any change: none is given up for it, however long it lasts.
    const answer = reply.answer.kind === "retry" ? { ...reply.answer, isCharged: false } : reply.answer;
    return attempts.map(({ idempotencyKey }) => [idempotencyKey, answer] as const);
  }
  store.memory.sync.bytesSent += reply.sentBytes;
  store.memory.sync.bytesReceived += reply.receivedBytes;
  const sent = new Set(attempts.map(({ idempotencyKey }) => idempotencyKey));
  const { response } = reply;
  // A server that has not come as far as was known before it was asked gives versions a second time.
  const isSetBack = response.head !== undefined && response.head < seen;
  const isForeign = isSetBack || isOtherHistory(store, space, response.history);
  if (response.history !== undefined && !isSetBack)
    noteSeen(store, space, { history: response.history, version: highestIn(response) });
  const setBack = isSetBack ? { space, history: response.history ?? "", head: response.head ?? 0 } : null;
  return response.answers
    .filter(({ id }) => sent.has(id))
    .map((answer) => {
      const meant = isForeign && answer.outcome !== "retry" ? laterAnswer() : toAnswer(answer);
      return [answer.id, setBack === null ? meant : withDetail(meant, { setBack })] as const;
    });
}

/** Hands on, with an answer that asks for patience, what is to be done when it is booked. */
const withDetail = (answer: Answer, detail: Json): Answer =>
  answer.kind === "retry" ? { ...answer, problem: { ...answer.problem, detail } } : answer;

/** The history that the versions of this space belong to; empty where none is known, or where nobody would ever hear of another one. */
function historyOf(store: Store, space: string): string {
  const isPulled = listInfos(store).some((info) => info.isSynced && info.space === space);
  return isPulled ? getSpace(store, space).history : "";
}

/** The server was restored, and the records of this space have not heard of it, or the answer comes from before the restore. */
function isOtherHistory(store: Store, space: string, history: string | undefined): boolean {
  const known = historyOf(store, space);
  return history !== undefined && known !== "" && known !== history;
}

/** Sent again under the same key once the new history is known, it finds its receipt. */
export function laterAnswer(): Answer {
  const message = "the server goes on from another state than before: its records are read again first";
  const problem: Problem = { code: otherHistory, message };
  return { kind: "retry", problem, afterMs: otherHistoryMs, isCharged: false, scope: "operation" };
}

/** The server's answer in the queue's words. Nothing of it is lost: records are settled from what is kept here. */
export function toAnswer(answer: PushAnswer): Answer {
  switch (answer.outcome) {
    case "applied":
    case "duplicate":
      return { kind: answer.outcome, result: { changes: answer.changes } as unknown as Json };
    case "rejected": {
      const { code, message, hint, field, fields, detail } = answer.problem;
      const { kind, collection, key } = answer;
      const more = { ...(fields === undefined ? {} : { fields }), ...(detail === undefined ? {} : { detail }) };
      const problem: Problem = {
        code,
        message,
        ...(hint === undefined ? {} : { hint }),
        ...(field === undefined ? {} : { field }),
        detail: { kind, collection, key, ...more },
      };
      return { kind: "rejected", problem };
    }
    case "conflict":
      return {
        kind: "conflict",
        problem: { code: answer.kind, message: wordsOf(answer), hint: "see `holdfast conflicts list`" },
        remote: answer as unknown as Json,
      };
    case "retry": {
      const { code, message } = answer.problem;
      const after = answer.afterMs === undefined ? {} : { afterMs: answer.afterMs };
      return { kind: "retry", problem: { code, message }, ...after, isCharged: false, scope: "operation" };
    }
    case "stale": {
      const problem = { code: staleClient, message: "this store went back in time; it goes on under a new name" };
      return { kind: "retry", problem, afterMs: 0, isCharged: false, scope: "operation" };
    }
  }
}

function wordsOf(answer: Extract<PushAnswer, { outcome: "conflict" }>): string {
  const { collection, key, fields } = answer;
  const named = fields.length === 0 ? "" : ` (${fields.join(", ")})`;
  switch (answer.kind) {
    case "version_mismatch":
      return `"${key}" of "${collection}" was changed on the server meanwhile${named}`;
    case "deleted_upstream":
      return `"${key}" of "${collection}" was removed on the server`;
    case "deleted_here":
      return `"${key}" of "${collection}" was removed here and changed on the server${named}`;
    case "unique_violation":
      return `another record of "${collection}" has the same value${named}`;
  }
}

const silence = (message: string): Answer => ({
  kind: "unknown",
  problem: { code: "no_answer", message },
  mayHaveLanded: true,
});

/** Refuses what nobody may do to a queued record change by hand. */
export function refuseEdit(id: string): never {
  throw new HoldfastError(
    "refused_by_state",
    `operation ${id} carries record changes, whose payload is made from the record`,
    "write the record again: what is not sent yet takes the new value",
  );
}
