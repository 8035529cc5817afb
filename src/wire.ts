/**
 * Owns the contract between the engine and a sync server: push, pull, fetch, events, versions and limits. Written so that a client
 * in any language can be made from it; docs/protocol.md says it in words. Neither side trusts the other: each checks what comes with these shapes.
 */
import * as z from "zod/mini";
import { HoldfastError } from "./errors.ts";
import { firstIssue, issueWords, wordless } from "./issue.ts";
import type { Json } from "./operation.ts";
import type { Fields } from "./record.ts";
import { changeKinds } from "./record.ts";
import { json } from "./shapes.ts";

/** Version of this contract; in every request as `Holdfast-Protocol`. A server answers the versions that it lists in its hello. */
export const protocolVersion = 1;

export const wireLimits = {
  /** Operations in one push. */
  pushItems: 500,
  /** Bytes of one push request. */
  pushBytes: 8_388_608,
  /** Records in one page of a pull. */
  pullPage: 5_000,
  /** Keys in one fetch. */
  fetchKeys: 500,
  collections: 200,
  textLength: 200,
} as const;

const count = z.int().check(z.gte(0));
const short = z.string().check(z.minLength(1), z.maxLength(wireLimits.textLength));
/** Control characters and lone surrogates cannot be kept the same in every database. In an operation they cost that operation, here the request. */
export const wireName = short.check(
  z.regex(/^[^\p{Cc}\p{Surrogate}]+$/u, "has control characters or half a character"),
);
/** Handed on as it is: a record shape would make a copy and lose a field named `__proto__` without a word. */
const fields = json.check((context) => {
  const { value } = context;
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return;
  context.issues.push({ code: "custom", message: "is no JSON object", input: value });
}) as unknown as z.ZodMiniType<Fields, Fields>;

const change = z.object({
  collection: short,
  key: short,
  kind: z.enum(changeKinds),
  base: count,
  fields,
  unset: z.optional(z.array(z.string())),
  strict: z.optional(z.array(z.string())),
  named: z.optional(z.boolean()),
  schema: count,
});

/**
 * One operation: its changes are applied all or none. `id` is its idempotency key, `number` its place in this client's queue. An id that
 * cannot be kept costs this operation, not its neighbours.
 */
const pushItem = z.object({
  id: short,
  number: count,
  changes: z.array(change).check(z.minLength(1), z.maxLength(100)),
  /** The writer's clock, for people; it orders nothing. */
  at: count,
});

/**
 * `client` names one store for ever. All operations of this client with a number below `floor` have ended for it and are never sent again:
 * their receipts may be forgotten, and a late copy of one of them is recognised without a receipt. `history`: the one that the bases belong
 * to. A server that has another one answers `retry` with the code `history_changed` and does nothing: the client pulls first.
 * `seen`: the highest version of that history that the client knows of. A server that has not come so far was set back without a new
 * history, as by a file that was copied back; it answers the same, since a version that it would give next was given before.
 */
export const pushRequest = z.object({
  space: wireName,
  client: wireName,
  floor: count,
  history: z.optional(z.string()),
  seen: z.optional(count),
  items: z.array(pushItem).check(z.minLength(1), z.maxLength(wireLimits.pushItems)),
});

const problem = z.object({
  code: z.string(),
  message: z.string(),
  hint: z.optional(z.string()),
  field: z.optional(z.string()),
  fields: z.optional(z.array(z.string())),
  detail: z.optional(json),
});

/** A record as the server has it. `value` null: removed. `fieldVersions` is not sent; the server keeps it to see what overlaps. */
const wireRecord = z.object({
  collection: z.string(),
  key: z.string(),
  version: count,
  value: z.nullable(fields),
  schema: count,
  /** Who wrote it last, in the server's words, and when, by the server's clock. */
  author: z.string(),
  at: count,
  /** The record lives on, but this reader's filter or rights do not reach it any more: drop it, nobody removed it. `value` is null. */
  isHidden: z.optional(z.boolean()),
});

/** The code of what was not done, because versions that the client named belong to another history, or to a past that the server does not have. */
export const historyChanged = "history_changed";

/** What became of one change of an applied operation. `value` is there when the server holds something else than the client can know. */
const applied = z.object({
  collection: z.string(),
  /** The key under which the client sent it. */
  key: z.string(),
  /** The key that the server gave it, when it gave one. */
  serverKey: z.optional(z.string()),
  version: count,
  value: z.optional(z.nullable(fields)),
});

/**
 * The closed union of answers, one per item, in order. `duplicate` repeats the first answer's content. `stale`: the number lies below the floor
 * that this client named, and no receipt is left: the client's store went back in time; it takes a new client id and sends again.
 */
const pushAnswer = z.discriminatedUnion("outcome", [
  z.object({ id: z.string(), outcome: z.literal("applied"), changes: z.array(applied) }),
  z.object({ id: z.string(), outcome: z.literal("duplicate"), changes: z.array(applied) }),
  z.object({
    id: z.string(),
    outcome: z.literal("rejected"),
    problem,
    kind: z.enum(["business_rule", "data_inconsistency", "forbidden", "invalid"]),
    key: z.string(),
    collection: z.string(),
  }),
  z.object({
    id: z.string(),
    outcome: z.literal("conflict"),
    kind: z.enum(["version_mismatch", "deleted_upstream", "deleted_here", "unique_violation"]),
    /** The change in conflict; an atomic operation names the first. */
    collection: z.string(),
    key: z.string(),
    fields: z.array(z.string()),
    /** What the server has: the same record, or, for a unique value, the record that holds it. */
    remote: wireRecord,
  }),
  z.object({ id: z.string(), outcome: z.literal("retry"), problem, afterMs: z.optional(count) }),
  z.object({ id: z.string(), outcome: z.literal("stale") }),
]);

/**
 * `history`: the history in which this was answered. A client that knows the space under another one cannot compare the versions in it with
 * its own: it asks for news first and sends again, under the same ids. `head`: the space's newest version; a client that had seen a higher
 * one of the same history before it asked does likewise, and reads everything again.
 */
export const pushResponse = z.object({
  answers: z.array(pushAnswer),
  history: z.optional(z.string()),
  head: z.optional(count),
  /** The server's clock, for the offset shown to people. */
  now: count,
});

/**
 * Where one collection stands. `filter` is the collection's `Where`, as JSON. `floor` is the floor that the server named in the page that
 * began at 0: who began after removals were forgotten has missed none of them, so a cursor below the floor goes on.
 */
const want = z.object({ collection: wireName, after: count, floor: z.optional(count), filter: z.optional(json) });

export const pullRequest = z.object({
  space: wireName,
  /** Identity of the server's history that the cursors belong to; empty at first. */
  history: z.string(),
  wants: z.array(want).check(z.minLength(1), z.maxLength(wireLimits.collections)),
  limit: z.int().check(z.gte(1), z.lte(wireLimits.pullPage)),
});

/**
 * What this reader may read of each wanted collection, as an opaque text that is the same as long as that is: another one than with the
 * page before means that records may have come into reach, or gone out of it, without having changed. A server may leave it out.
 */
const views = z.record(z.string(), short);

/**
 * One page. Records come by version; a record appears once, as it is now. Cursors of all wanted collections move up to `upTo` when the page is
 * applied, and never back. `floor`: removals up to this version may be forgotten; it is kept with a cursor that began at 0.
 * `reset`: these cursors cannot be continued (too old: tombstones were forgotten; other history: the server was restored). The client pulls from 0,
 * keeps everything unsent, and afterwards drops what the server no longer has.
 */
export const pullResponse = z.object({
  history: z.string(),
  reset: z.optional(z.object({ reason: z.enum(["too_old", "other_history", "ahead"]), floor: count })),
  records: z.array(wireRecord),
  upTo: count,
  /** The space's newest version. */
  head: count,
  floor: z.optional(count),
  views: z.optional(views),
  hasMore: z.boolean(),
  now: count,
});

/**
 * The same as a stream of lines (`Accept: application/x-ndjson`): a `start`, then records and marks, then an `end`. A mark says what a page's
 * last line would: everything up to `upTo` has been sent. A stream without an `end` was cut; what came before the last mark counts.
 */
export const pullLine = z.union([
  z.object({
    start: z.object({
      history: z.string(),
      reset: z.optional(z.object({ reason: z.enum(["too_old", "other_history", "ahead"]), floor: count })),
      head: count,
      floor: count,
      views: z.optional(views),
      now: count,
    }),
  }),
  z.object({ record: wireRecord }),
  z.object({ mark: z.object({ upTo: count }) }),
  z.object({ end: z.object({ upTo: count, head: count, now: count }) }),
]);

export const fetchRequest = z.object({
  space: wireName,
  collection: wireName,
  /** A key that cannot be kept names nothing that is there, and is missing from the answer. */
  keys: z.array(short).check(z.minLength(1), z.maxLength(wireLimits.fetchKeys)),
});
/** Keys that the server never had are missing; removed ones have `value: null`. */
export const fetchResponse = z.object({ history: z.string(), head: count, records: z.array(wireRecord), now: count });

/** `GET /v1/hello`: what this server is and what this token may do. */
export const hello = z.object({
  server: z.string(),
  version: z.string(),
  protocols: z.array(count),
  subject: z.string(),
  spaces: z.array(z.object({ space: z.string(), roles: z.array(z.string()) })),
  collections: z.array(z.object({ name: z.string(), version: count })),
  /** True when collections that are not declared are accepted. */
  isOpen: z.boolean(),
  limits: z.object({ pushItems: count, pushBytes: count, pullPage: count }),
  now: count,
});

/** One poke of `GET /v1/events?space=…` (server-sent events): the space has moved to `head`. Nothing else is promised, so one may be lost. */
export const poke = z.object({ space: z.string(), head: count });

/** Routes of the contract. All but `hello` and `events` are POST with JSON; `locks` and `uploads` are reserved. Errors are problem+json (RFC 9457) with `code` and `hint`. */
export const routes = {
  push: "/v1/push",
  pull: "/v1/pull",
  fetch: "/v1/fetch",
  hello: "/v1/hello",
  events: "/v1/events",
  locks: "/v1/locks",
  uploads: "/v1/uploads",
} as const;

/**
 * Codes of refusals of a whole request, beside those of `errors.ts`. `account_suspended`, `token_revoked` and `space_forbidden` come with 403
 * and stop the subject's operations visibly; `token_expired` and `token_missing` come with 401 and wait for fresh credentials.
 * `not_offered` comes with 501 for a route of the contract that this server does not serve.
 */
export const wireCodes = [
  "token_missing",
  "token_invalid",
  "token_expired",
  "token_revoked",
  "account_suspended",
  "space_forbidden",
  "protocol_unsupported",
  "not_offered",
] as const;
export type WireCode = (typeof wireCodes)[number];

export type PushRequest = z.infer<typeof pushRequest>;
export type PushItem = PushRequest["items"][number];
export type PushAnswer = z.infer<typeof pushAnswer>;
export type PushResponse = z.infer<typeof pushResponse>;
export type PullRequest = z.infer<typeof pullRequest>;
export type PullResponse = z.infer<typeof pullResponse>;
export type PullLine = z.infer<typeof pullLine>;
export type FetchRequest = z.infer<typeof fetchRequest>;
export type FetchResponse = z.infer<typeof fetchResponse>;
export type WireRecord = z.infer<typeof wireRecord>;
export type Hello = z.infer<typeof hello>;
export type Poke = z.infer<typeof poke>;

/**
 * Checks a page of a pull, which is most of what comes over the wire. What is plainly well-formed is handed on as it came; anything else
 * goes through the shape, which says what is wrong with it.
 */
export function readPull(value: unknown): PullResponse {
  const page = value as Partial<PullResponse> | null;
  const isPlain =
    typeof page === "object" &&
    page !== null &&
    typeof page.history === "string" &&
    page.reset === undefined &&
    [page.upTo, page.head, page.now, page.floor ?? 0].every(isCount) &&
    (page.views === undefined || areViews(page.views)) &&
    typeof page.hasMore === "boolean" &&
    Array.isArray(page.records) &&
    page.records.every(isPlainRecord);
  return isPlain ? (page as PullResponse) : readWire("pull", pullResponse, value);
}

const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;

const areViews = (value: unknown): boolean =>
  typeof value === "object" && value !== null && !Array.isArray(value) && Object.values(value).every(isShort);

const isShort = (value: unknown): boolean =>
  typeof value === "string" && value !== "" && value.length <= wireLimits.textLength;

function isPlainRecord(given: unknown): boolean {
  const record = given as Partial<WireRecord> | null;
  return (
    typeof record === "object" &&
    record !== null &&
    typeof record.collection === "string" &&
    typeof record.key === "string" &&
    isCount(record.version) &&
    isCount(record.schema) &&
    isCount(record.at) &&
    typeof record.author === "string" &&
    (record.isHidden === undefined || typeof record.isHidden === "boolean") &&
    (record.value === null ||
      (typeof record.value === "object" && !Array.isArray(record.value) && isFlat(record.value)))
  );
}

/** Whether a parsed value holds nothing that JSON lets through and cannot carry back: a number beyond all, or a depth beyond ours. */
function isFlat(value: unknown, depth = 0): boolean {
  if (typeof value === "number") return Number.isFinite(value);
  if (typeof value !== "object" || value === null) return value !== undefined;
  if (depth >= quickDepth) return false;
  for (const name in value) if (!isFlat((value as Readonly<Record<string, unknown>>)[name], depth + 1)) return false;
  return true;
}

/** Deeper values are rare and take the long way. */
const quickDepth = 20;

/** Checks what came over the wire. Throws `invalid_input` that names the message, the field and what was expected. */
export function readWire<T>(what: string, shape: z.ZodMiniType<T>, value: unknown): T {
  const parsed = z.safeParse(shape, value, wordless);
  if (parsed.success) return parsed.data;
  throw new HoldfastError(
    "invalid_input",
    `${what}: ${firstIssue(parsed.error, "body")}`,
    "see docs/protocol.md for the shape of every message",
    {
      details: {
        issues: parsed.error.issues
          .slice(0, 20)
          .map((each) => ({ path: each.path.map(String), message: issueWords(each) })) as unknown as Json,
      },
    },
  );
}
