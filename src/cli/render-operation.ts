/**
 * Owns how operations look to a person: rows, one in full, its history, what it waits for.
 * Counts and the network are in `render-status.ts`; JSON output never passes through here.
 */
import type { Reason, Status } from "../operation.ts";
import { isTerminal } from "../operation.ts";
import type { HoldfastEvent, Output, Why } from "../verbs.ts";
import type { Context } from "./context.ts";
import type { Paint } from "./paint.ts";
import { sign } from "./paint.ts";
import { formatAge, formatDuration, formatInstant, formatRelative } from "./relative-time.ts";
import type { Operation } from "./session.ts";
import type { SignedOut } from "./sync-trouble.ts";
import { accessWord } from "./sync-trouble.ts";
import type { Cell } from "./text.ts";
import { bar, facts, formatBytes, plain, plainLines, shortId, table, widthOf } from "./text.ts";

type Look = Pick<Context, "paint" | "width" | "now">;

const statusWords: Readonly<Record<Status, string>> = {
  draft: "draft",
  pending: "pending",
  in_progress: "sending",
  completed: "completed",
  failed: "failed",
  cancelled: "cancelled",
  expired: "expired",
};

const reasonWords: Readonly<Record<Reason, string>> = {
  lane: "behind its lane",
  dependency: "waits for another",
  schedule: "scheduled",
  retry: "will try again",
  network: "network",
  paced: "remote asks to wait",
  auth: "no access",
  paused: "paused",
  rejected: "rejected",
  conflict: "conflict",
  gave_up: "gave up",
  unsure: "may have landed",
  corrupt: "damaged",
  no_server_id: "server id missing",
  unknown_type: "unknown type",
  work_offline: "working offline",
  sync_mode: "waits for a sync",
};

function paintStatus(paint: Paint, status: Status): (text: string) => string {
  switch (status) {
    case "completed":
      return paint.green;
    case "failed":
      return paint.red;
    case "in_progress":
      return paint.cyan;
    case "pending":
      return paint.yellow;
    default:
      return paint.dim;
  }
}

export function titleOf(operation: Pick<Operation, "title" | "type">): string {
  return plain(operation.title === "" ? operation.type : operation.title);
}

/** Why an operation is not moving, in two or three words. */
function reasonOf(operation: Operation, now: number, signedOut: readonly SignedOut[] = []): string {
  if (operation.status === "in_progress") return progressShort(operation);
  if (operation.reason === null) return "";
  const at = operation.nextAttemptAt ?? operation.notBefore;
  if ((operation.reason === "retry" || operation.reason === "schedule") && at !== null && at > now) {
    return `${operation.reason === "retry" ? "retry" : "due"} ${formatRelative(at, now)}`;
  }
  return operation.reason === "auth" ? accessOf(operation, signedOut) : reasonWords[operation.reason];
}

/** What keeps its subject out, which another operation may have found out. */
function accessOf({ subject, remote, problem }: Operation, signedOut: readonly SignedOut[]): string {
  const out = signedOut.find((each) => each.subject === subject && (each.remote === remote || each.remote === ""));
  return accessWord(out?.code ?? problem?.code);
}

/** Aligned rows of operations; `signedOut` tells what keeps those out that wait for access. */
export function renderOperations(
  look: Look,
  operations: readonly Operation[],
  signedOut: readonly SignedOut[] = [],
): string {
  const { paint, width } = look;
  const now = look.now();
  const rows = operations.map((each): readonly Cell[] => [
    { text: shortId(each.id), paint: paint.bold },
    { text: statusWords[each.status], paint: paintStatus(paint, each.status) },
    { text: reasonOf(each, now, signedOut) },
    { text: formatRelative(each.createdAt, now), paint: paint.dim },
    { text: each.priority === 0 ? "" : String(each.priority) },
    { text: each.attempts === 0 ? "" : String(each.attempts) },
    { text: each.lane === null ? "" : plain(each.lane), paint: paint.dim },
    { text: titleOf(each) },
  ]);
  return table(
    [
      { title: "ID", isWhole: true },
      { title: "STATUS", isWhole: true },
      { title: "WHY" },
      { title: "QUEUED", isOptional: true, isWhole: true },
      { title: "PRIORITY", isRight: true, isOptional: true },
      { title: "ATTEMPTS", isRight: true, isOptional: true },
      { title: "LANE" },
      { title: "TITLE", isFlexible: true },
    ],
    rows,
    { width, head: paint.dim },
  );
}

/** One operation in full. */
export function renderOperation(look: Look, operation: Operation): string {
  const { paint } = look;
  const now = look.now();
  const reason = reasonOf(operation, now);
  const status = paintStatus(paint, operation.status)(statusWords[operation.status]);
  const standing = isTerminal(operation.status)
    ? formatRelative(operation.settledAt ?? operation.since, now)
    : `for ${formatAge(operation.since, now)}`;
  const head = `${paint.bold(titleOf(operation))}\n${status}${reason === "" ? "" : ` (${reason})`} ${paint.dim(standing)}`;
  const rows = facts([...identityRows(operation), ...orderRows(operation), ...timeRows(operation, now)], paint.dim);
  const parts = [head, rows, problemPart(look, operation), blockPart(paint, "Payload", operation.payload)];
  if (operation.remoteVersion !== null) parts.push(blockPart(paint, "Remote's side", operation.remoteVersion));
  if (operation.result !== null) parts.push(blockPart(paint, "Result", operation.result));
  return parts.filter((part) => part !== "").join("\n\n");
}

type Row = readonly [string, string | null];

function identityRows(operation: Operation): readonly Row[] {
  return [
    ["Id", operation.id],
    ["Type", plain(operation.type)],
    ["Remote", plain(operation.remote)],
    ["Subject", plain(operation.subject)],
    ["Idempotency key", operation.idempotencyKey === operation.id ? null : operation.idempotencyKey],
    ["Creates", operation.creates === null ? null : createsText(operation)],
    ["Revision", operation.revision === 0 ? null : String(operation.revision)],
  ];
}

function createsText({ creates, serverId }: Operation): string {
  return plain(serverId === null ? `${creates} (no server id yet)` : `${creates} = ${serverId} on the server`);
}

function orderRows(operation: Operation): readonly Row[] {
  const { retry } = operation;
  return [
    ["Lane", operation.lane === null ? null : plain(operation.lane)],
    ["Priority", operation.priority === 0 ? null : String(operation.priority)],
    ["After", operation.dependsOn.map(shortId).join(", ")],
    ["Group", operation.group === null ? null : plain(operation.group)],
    ["Dedupe key", operation.dedupe === null ? null : plain(operation.dedupe)],
    ["Attempts", `${operation.attempts} sent, ${operation.failures} of ${retry.maxAttempts} charged`],
    ["On failure", operation.onFailure === "hold" ? null : "skip: its lane goes on"],
    ["After a crash", operation.onCrash === "resend" ? null : "ask before sending again"],
    ["Conflict", operation.conflict],
  ];
}

function timeRows(operation: Operation, now: number): readonly Row[] {
  const say = (at: number | null): string | null =>
    at === null ? null : `${formatRelative(at, now)} (${formatInstant(at)})`;
  return [
    ["Queued", say(operation.createdAt)],
    ["Not before", say(operation.notBefore)],
    ["Expires", say(operation.expiresAt)],
    ["Next attempt", operation.status === "pending" ? say(operation.nextAttemptAt) : null],
    ["Settled", say(operation.settledAt)],
    ["Outcome", operation.outcome],
    ["Progress", operation.progress === null ? null : progressText(operation)],
    ["Unsure", operation.mayHaveLanded ? "an earlier attempt may have taken effect" : null],
  ];
}

function problemPart({ paint }: Look, { problem }: Operation): string {
  if (problem === null) return "";
  const hint = problem.hint === undefined ? "" : `\n${paint.dim(`${sign.hint} ${plainLines(problem.hint)}`)}`;
  const field = problem.field === undefined ? "" : ` [field ${plain(problem.field)}]`;
  const detail = problem.detail === undefined || problem.detail === null ? "" : `\n${indent(jsonText(problem.detail))}`;
  return `${paint.red(sign.no)} ${problemText(problem)}${field}${hint}${detail}`;
}

/** A problem in one line. */
export function problemText(problem: Operation["problem"]): string {
  return problem === null ? "no reason given" : plain(problem.message);
}

function blockPart(paint: Paint, title: string, value: unknown): string {
  return `${paint.dim(title)}\n${indent(jsonText(value))}`;
}

const longestBlock = 4_000;

function jsonText(value: unknown): string {
  const text = plainLines(typeof value === "string" ? value : JSON.stringify(value, null, 2));
  return text.length <= longestBlock ? text : `${text.slice(0, longestBlock)}\n… (all of it: --json)`;
}

function indent(text: string): string {
  return text.replace(/^/gm, "  ");
}

function amount(value: number, unit: string | undefined): string {
  return unit === "bytes" || unit === "B"
    ? formatBytes(value)
    : `${value}${unit === undefined ? "" : ` ${plain(unit)}`}`;
}

/** Progress in words: "12.5 MB of 40.0 MB (31 %)". */
function progressText({ progress }: Operation): string {
  if (progress === null) return "";
  const { done, total, unit, message } = progress;
  const known = total !== undefined && total > 0;
  const share = known ? ` of ${amount(total, unit)} (${Math.floor((done / total) * 100)} %)` : "";
  return `${amount(done, unit)}${share}${message === undefined ? "" : ` ${plain(message)}`}`;
}

function progressShort({ progress }: Operation): string {
  if (progress === null || progress.total === undefined || progress.total <= 0) return "";
  return `${Math.floor((progress.done / progress.total) * 100)} %`;
}

/** Progress as a bar where the total is known. */
export function progressBar(operation: Operation, width: number): string {
  const { progress } = operation;
  const words = progressText(operation);
  if (progress?.total === undefined || progress.total <= 0) return words;
  return `${bar(progress.done / progress.total, Math.max(4, Math.min(30, width - widthOf(words) - 1)))} ${words}`;
}

/** What an operation waits for. */
export function renderWhy(look: Look, why: Why): string {
  const { paint } = look;
  const now = look.now();
  const next =
    why.nextMoveAt === null
      ? "when what it waits for happens; it has no time of its own"
      : formatRelative(why.nextMoveAt, now);
  const isOver = why.status === "completed" || why.status === "cancelled" || why.status === "expired";
  const rows = facts(
    [
      ["Operation", shortId(why.id)],
      ["Status", paintStatus(paint, why.status)(statusWords[why.status])],
      ["Since", formatRelative(why.since, now)],
      ["Next move", isOver || why.status === "failed" ? null : next],
    ],
    paint.dim,
  );
  const blockers = why.blockers.map(({ kind, detail, id, until }) => {
    const who = id === undefined ? "" : ` ${paint.dim(`(${shortId(id)})`)}`;
    const when = until === undefined ? "" : ` ${paint.dim(formatRelative(until, now))}`;
    return `  ${kind.replaceAll("_", " ")}: ${plain(detail)}${who}${when}`;
  });
  return [
    paint.bold(plain(why.sentence)),
    "",
    rows,
    ...(blockers.length === 0 ? [] : ["", paint.dim("Waits for"), ...blockers]),
  ].join("\n");
}

/** Everything that happened to an operation, oldest first. */
export function renderHistory(look: Look, history: Output<"queue.history">): string {
  const { paint, width } = look;
  const rows = history.entries.map((entry): readonly Cell[] => [
    { text: formatInstant(entry.at), paint: paint.dim },
    { text: entry.kind },
    { text: detailText(entry.detail) },
  ]);
  if (rows.length === 0) return "Nothing is recorded any more.";
  return table([{ title: "WHEN", isWhole: true }, { title: "WHAT" }, { title: "DETAIL", isFlexible: true }], rows, {
    width,
    head: paint.dim,
  });
}

/** One event in one line. */
export function renderEvent(look: Look, event: HoldfastEvent, title: string): string {
  const { paint } = look;
  const about = event.id === null ? "" : ` ${paint.bold(shortId(event.id))} ${title}`;
  const status = event.status === null ? "" : ` ${paintStatus(paint, event.status)(statusWords[event.status])}`;
  return `${paint.dim(formatInstant(event.at).slice(11, 19))} ${event.kind}${status}${about}`.trimEnd();
}

/** The members of a detail that are simple values, as "name value, name value". */
function detailText(detail: unknown): string {
  if (detail === null || detail === undefined) return "";
  if (typeof detail !== "object") return plain(String(detail));
  const { problem, ...rest } = detail as { readonly problem?: { readonly message?: string } | null };
  const simple = Object.entries(rest)
    .filter(([, value]) => ["string", "number", "boolean"].includes(typeof value) && value !== "")
    .map(([name, value]) => `${name.replace(/(Ms|At)$/, "")} ${valueText(name, value)}`);
  const message = typeof problem?.message === "string" ? [problem.message] : [];
  return plain([...message, ...simple].join(", "));
}

function valueText(name: string, value: unknown): string {
  if (typeof value !== "number") return String(value);
  if (name.endsWith("Ms")) return formatDuration(value);
  return name.endsWith("At") ? formatInstant(value) : String(value);
}
