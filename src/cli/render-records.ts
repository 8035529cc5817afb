/**
 * Owns how records, their history, collections and sync runs look to a person.
 * Conflicts are in `render-conflict.ts`; JSON output never passes through here.
 */
import type { Json } from "../operation.ts";
import type { Fields, RecordState } from "../record.ts";
import type { CollectionView, Output, RecordEntry, RunView } from "../verbs.ts";
import type { Context } from "./context.ts";
import type { Paint } from "./paint.ts";
import { sign } from "./paint.ts";
import { formatAge, formatDuration, formatInstant, formatRelative } from "./relative-time.ts";
import type { Cell } from "./text.ts";
import { bar, facts, formatBytes, grouped, plain, plainLines, shortId, table } from "./text.ts";

type Look = Pick<Context, "paint" | "width" | "now">;
type View = Output<"records.query">["records"][number];

/** A value in one line, as short as it can be said. */
export function inline(value: Json): string {
  return plain(typeof value === "string" ? value : JSON.stringify(value));
}

function summaryOf(value: Fields | null): string {
  if (value === null) return "(removed)";
  return Object.entries(value)
    .map(([field, each]) => `${plain(field)}: ${inline(each)}`)
    .join("  ");
}

function paintState(paint: Paint, state: RecordState): (text: string) => string {
  switch (state) {
    case "synced":
      return paint.green;
    case "pending":
      return paint.yellow;
    case "failed":
    case "conflict":
      return paint.red;
    case "local-only":
      return paint.cyan;
  }
}

/** Aligned rows of records. */
export function renderRecords(look: Look, records: readonly View[]): string {
  const { paint, width } = look;
  const now = look.now();
  const rows = records.map((each): readonly Cell[] => [
    { text: plain(each.key), paint: paint.bold },
    { text: each.state, paint: paintState(paint, each.state) },
    { text: formatRelative(each.changedAt, now), paint: paint.dim },
    { text: each.isPinned ? "pinned" : "", paint: paint.dim },
    { text: summaryOf(each.value) },
  ]);
  const columns = [
    { title: "KEY", isWhole: true },
    { title: "STATE", isWhole: true },
    { title: "CHANGED", isOptional: true, isWhole: true },
    { title: "PIN", isOptional: true },
    { title: "VALUE", isFlexible: true },
  ];
  return table(columns, rows, { width: Math.min(width, widest), head: paint.dim });
}

/** Values may be long; a line of a pipe is no longer than this. */
const widest = 160;

/** One record in full. */
export function renderRecord(look: Look, record: View): string {
  const { paint } = look;
  const now = look.now();
  const say = (at: number | null): string | null =>
    at === null ? null : `${formatRelative(at, now)} (${formatInstant(at)})`;
  const state = paintState(paint, record.state)(record.state);
  const head = `${paint.bold(`${plain(record.collection)} ${plain(record.key)}`)}\n${state} ${paint.dim(`changed ${formatRelative(record.changedAt, now)}`)}`;
  const rows = facts(
    [
      ["Version", record.version === 0 ? "the server does not have it yet" : String(record.version)],
      ["Confirmed", say(record.confirmedAt)],
      ["Changed", say(record.changedAt)],
      ["Operations", record.operations.map(shortId).join(", ")],
      ["Conflict", record.conflict === null ? null : shortId(record.conflict)],
      ["Pinned", record.isPinned ? "stays on this device" : null],
    ],
    paint.dim,
  );
  const value =
    record.value === null ? paint.dim("removed here; the server has not confirmed it yet") : block(record.value);
  return [head, rows, problemPart(look, record), `${paint.dim("Value")}\n${value}`]
    .filter((part) => part !== "")
    .join("\n\n");
}

function block(value: Json): string {
  return plainLines(JSON.stringify(value, null, 2))
    .split("\n")
    .map((line) => `  ${line}`)
    .join("\n");
}

function problemPart({ paint }: Look, { problem, conflict, operations }: View): string {
  const hints = [
    ...(problem?.hint === undefined ? [] : [plainLines(problem.hint)]),
    ...(conflict === null ? [] : [`holdfast conflicts show ${shortId(conflict)}`]),
    ...(problem !== null && conflict === null && operations[0] !== undefined
      ? [`holdfast queue show ${shortId(operations[0])}`]
      : []),
  ].map((hint) => paint.dim(`${sign.hint} ${hint}`));
  if (problem === null) return hints.join("\n");
  const field = problem.field === undefined ? "" : ` [field ${plain(problem.field)}]`;
  return [`${paint.red(sign.no)} ${plainLines(problem.message)}${field}`, ...hints].join("\n");
}

/** The line after a write: what it is now, and whether anything travels. */
export function renderWritten(look: Look, done: string, receipt: Output<"records.write">): string {
  const { paint } = look;
  const { record, operation, warning } = receipt;
  const state = paintState(paint, record.state)(record.state);
  const name = `${plain(record.collection)} ${paint.bold(plain(record.key))}`;
  const travels = operation === null ? "" : paint.dim(` (operation ${shortId(operation)})`);
  const lines = [`${paint.green(sign.yes)} ${done} ${name}: ${state}${travels}`];
  if (warning !== null) lines.push(`${paint.yellow(sign.warn)} ${plain(warning)}`);
  const problem = problemPart(look, record);
  return [...lines, ...(problem === "" ? [] : [problem])].join("\n");
}

/** Every change of a record, newest first. */
export function renderRecordHistory(look: Look, entries: readonly RecordEntry[]): string {
  const { paint, width } = look;
  const now = look.now();
  const rows = entries.map((each): readonly Cell[] => [
    { text: String(each.sequence), paint: paint.bold },
    { text: formatRelative(each.at, now), paint: paint.dim },
    { text: each.origin },
    { text: each.run === null ? "" : String(each.run), paint: paint.dim },
    { text: each.version === 0 ? "" : String(each.version), paint: paint.dim },
    { text: changeOf(each) },
  ]);
  const columns = [
    { title: "SEQUENCE", isRight: true },
    { title: "WHEN", isWhole: true },
    { title: "ORIGIN" },
    { title: "RUN", isRight: true, isOptional: true },
    { title: "VERSION", isRight: true, isOptional: true },
    { title: "CHANGE", isFlexible: true },
  ];
  return table(columns, rows, { width: Math.min(width, widest), head: paint.dim });
}

/** "title: Tides → Ebb", only what differs. */
function changeOf({ before, after }: RecordEntry): string {
  if (before === null) return after === null ? "" : `created  ${summaryOf(after)}`;
  if (after === null) return "removed";
  const fields = [...new Set([...Object.keys(before), ...Object.keys(after)])];
  const changed = fields.filter((field) => JSON.stringify(before[field]) !== JSON.stringify(after[field]));
  return changed.map((field) => `${plain(field)}: ${side(before[field])} → ${side(after[field])}`).join("  ");
}

const side = (value: Json | undefined): string => (value === undefined ? "∅" : inline(value));

/** Where each collection stands. */
export function renderCollections(look: Look, list: Output<"collections.list">): string {
  const { paint, width } = look;
  const now = look.now();
  if (list.collections.length === 0)
    return `No collection is known here.\n${paint.dim(`${sign.hint} holdfast collections declare notes   or declare them in a file named under \`types\` in config.toml`)}`;
  const rows = list.collections.map((each): readonly Cell[] => [
    { text: plain(each.spec.name), paint: paint.bold },
    {
      text: standing(each),
      paint: each.state === "refused" ? paint.red : each.state === "idle" ? paint.green : paint.yellow,
    },
    { text: grouped(each.records) },
    { text: formatBytes(each.bytes), paint: paint.dim },
    { text: each.pending === 0 ? "" : String(each.pending), paint: paint.yellow },
    { text: each.conflicts === 0 ? "" : String(each.conflicts), paint: paint.red },
    {
      text: each.asOf === null ? "never" : formatRelative(each.asOf + list.clockOffsetMs, now + list.clockOffsetMs),
      paint: paint.dim,
    },
    { text: plain(each.space), paint: paint.dim },
  ]);
  const columns = [
    { title: "COLLECTION", isWhole: true },
    { title: "STATE" },
    { title: "RECORDS", isRight: true },
    { title: "SIZE", isRight: true, isOptional: true },
    { title: "UNSENT", isRight: true },
    { title: "CONFLICTS", isRight: true },
    { title: "AS OF", isWhole: true },
    { title: "SPACE", isFlexible: true, isOptional: true },
  ];
  const problems = list.collections.flatMap((each) => {
    if (each.problem === null) return [];
    const hint = each.problem.hint === undefined ? [] : [paint.dim(`  ${sign.hint} ${plain(each.problem.hint)}`)];
    return [`${paint.red(sign.no)} ${plain(each.spec.name)}: ${plain(each.problem.message)}`, ...hint];
  });
  const offset =
    Math.abs(list.clockOffsetMs) < 60_000
      ? []
      : [
          `${paint.yellow(sign.warn)} This machine's clock is ${formatDuration(Math.abs(list.clockOffsetMs))} ${list.clockOffsetMs > 0 ? "behind" : "ahead of"} the server's; nothing is ordered by it`,
        ];
  const head = table(columns, rows, { width: Math.min(width, widest), head: paint.dim });
  const notes = [...problems, ...offset];
  return notes.length === 0 ? head : `${head}\n\n${notes.join("\n")}`;
}

/** The state of one collection in a word or two; the first pull with its progress. */
export function standing({ state, progress }: CollectionView): string {
  if (progress === null) return state;
  return progress.total === 0 ? state : `${state} ${Math.floor((100 * progress.done) / progress.total)} %`;
}

/** One line of a pull that is followed. */
export function renderPulling(paint: Paint, { spec, state, progress }: CollectionView): string {
  if (progress === null || progress.total === 0) return `${plain(spec.name)}: ${state}`;
  const share = progress.done / progress.total;
  const counts = `${grouped(progress.done)} of ${grouped(progress.total)}`;
  return `${plain(spec.name)} ${paint.cyan(bar(share, 20))} ${counts}`;
}

/** The runs of synchronisation. */
export function renderRuns(look: Look, runs: readonly RunView[]): string {
  const { paint, width } = look;
  const now = look.now();
  const number = (count: number): string => (count === 0 ? "" : grouped(count));
  const rows = runs.map((each): readonly Cell[] => [
    { text: String(each.id), paint: paint.bold },
    { text: formatRelative(each.startedAt, now), paint: paint.dim },
    {
      text:
        each.endedAt === null ? `for ${formatAge(each.startedAt, now)}` : formatDuration(each.endedAt - each.startedAt),
    },
    { text: number(each.pushed) },
    { text: number(each.pulled) },
    { text: number(each.merged) },
    { text: number(each.conflicts), paint: paint.red },
    { text: number(each.failures), paint: paint.red },
    { text: `${formatBytes(each.bytesSent)} / ${formatBytes(each.bytesReceived)}`, paint: paint.dim },
    { text: each.rolledBackBy === null ? "" : `rolled back by ${each.rolledBackBy}`, paint: paint.yellow },
  ]);
  const columns = [
    { title: "RUN", isRight: true },
    { title: "STARTED", isWhole: true },
    { title: "TOOK", isWhole: true, isOptional: true },
    { title: "PUSHED", isRight: true },
    { title: "PULLED", isRight: true },
    { title: "MERGED", isRight: true },
    { title: "CONFLICTS", isRight: true },
    { title: "FAILED", isRight: true },
    { title: "SENT / RECEIVED", isOptional: true, isWhole: true },
    { title: "NOTE", isFlexible: true },
  ];
  return table(columns, rows, { width, head: paint.dim });
}
