/**
 * Owns how conflicts look to a person: rows, groups, and one with its three sides next to each other.
 * Records are in `render-records.ts`; JSON output never passes through here.
 */
import type { Json } from "../operation.ts";
import type { Fields } from "../record.ts";
import type { Output } from "../verbs.ts";
import type { ConflictGroup } from "./conflicts.ts";
import type { Context } from "./context.ts";
import { sign } from "./paint.ts";
import { formatInstant, formatRelative } from "./relative-time.ts";
import type { Cell } from "./text.ts";
import { facts, padEnd, plain, plainLines, plural, shellWord, shortId, table, truncate, widthOf } from "./text.ts";

type Look = Pick<Context, "paint" | "width" | "now">;
type View = Output<"conflicts.get">;

/** What each kind means, in words. */
const kindWords: Readonly<Record<View["kind"], string>> = {
  version_mismatch: "both sides changed it",
  deleted_upstream: "changed here, removed there",
  deleted_here: "removed here, changed there",
  unique_violation: "another record has this value",
  business_rule: "the server's rules refuse it",
  data_inconsistency: "it does not fit the server's schema",
};

/** Where no terminal says how wide it is. */
const standardWidth = 80;
const widest = 160;
/** Long texts show their beginning; `--json` has all of it. */
const linesOfValue = 6;

/** Aligned rows of conflicts. */
export function renderConflicts(look: Look, conflicts: readonly View[]): string {
  const { paint, width } = look;
  const now = look.now();
  const rows = conflicts.map((each): readonly Cell[] => [
    { text: shortId(each.id), paint: paint.bold },
    { text: statusOf(each), paint: each.status === "open" ? paint.red : paint.dim },
    { text: formatRelative(each.createdAt, now), paint: paint.dim },
    { text: `${plain(each.collection)} ${plain(each.key)}` },
    { text: plain(each.remoteAuthor), paint: paint.dim },
    { text: causeOf(each) },
  ]);
  const columns = [
    { title: "ID", isWhole: true },
    { title: "STATUS" },
    { title: "SINCE", isOptional: true, isWhole: true },
    { title: "RECORD" },
    { title: "THEIRS BY", isOptional: true },
    { title: "CAUSE", isFlexible: true },
  ];
  return table(columns, rows, { width: Math.min(width, widest), head: paint.dim });
}

function statusOf({ status, choice, isStale }: View): string {
  if (status === "resolved" && choice !== null) return `resolved: ${choice}`;
  return isStale ? `${status}, stale` : status;
}

function causeOf({ kind, fields }: View): string {
  return fields.length === 0 ? kindWords[kind] : `${kindWords[kind]}: ${fields.map(plain).join(", ")}`;
}

/** The open conflicts by cause, with what decides a whole group. */
export function renderGroups(look: Look, groups: readonly ConflictGroup[]): string {
  const { paint, width } = look;
  const now = look.now();
  if (groups.length === 0) return `${paint.green(sign.yes)} Nothing needs a decision.`;
  const rows = groups.map((each): readonly Cell[] => [
    { text: String(each.count), paint: paint.bold },
    { text: plain(each.collection) },
    { text: each.kind, paint: paint.yellow },
    { text: each.fields.map(plain).join(", ") },
    { text: plain(each.author), paint: paint.dim },
    { text: formatRelative(each.oldestAt, now), paint: paint.dim },
  ]);
  const columns = [
    { title: "COUNT", isRight: true },
    { title: "COLLECTION" },
    { title: "KIND" },
    { title: "FIELDS", isFlexible: true },
    { title: "THEIRS BY" },
    { title: "OLDEST", isOptional: true, isWhole: true },
  ];
  const [first] = groups;
  const hint =
    first === undefined
      ? ""
      : `\n\n${paint.dim(`${sign.hint} holdfast conflicts resolve --all${filterOf(first)} --choose local|remote`)}`;
  return `${table(columns, rows, { width: Math.min(width, widest), head: paint.dim })}${hint}`;
}

/** The filter that leaves exactly this group, or as near to it as a filter comes: it takes one field. */
function filterOf({ collection, kind, fields, author }: ConflictGroup): string {
  const [field = ""] = fields;
  const parts = { collection, kind, field, author };
  return Object.entries(parts)
    .filter(([, value]) => value !== "")
    .map(([name, value]) => ` --${name} ${shellWord(value)}`)
    .join("");
}

/** One conflict with its three sides. */
export function renderConflict(look: Look, conflict: View): string {
  const { paint } = look;
  const now = look.now();
  const say = (at: number | null): string | null =>
    at === null ? null : `${formatRelative(at, now)} (${formatInstant(at)})`;
  const head = `${paint.bold(`${plain(conflict.collection)} ${plain(conflict.key)}`)}: ${kindWords[conflict.kind]}`;
  const rows = facts(
    [
      ["Conflict", `${shortId(conflict.id)} (${statusOf(conflict)})`],
      ["Since", say(conflict.createdAt)],
      ["Theirs by", conflict.remoteAuthor === "" ? null : plain(conflict.remoteAuthor)],
      ["Operation", conflict.operation === null ? null : shortId(conflict.operation)],
      ["Message", conflict.message === "" ? null : plainLines(conflict.message)],
      [
        "Decided",
        conflict.decidedAt === null
          ? null
          : `${say(conflict.decidedAt)} ${deciderWords[conflict.decidedBy ?? "person"]}`,
      ],
    ],
    paint.dim,
  );
  return [head, rows, renderSides(look, conflict), hintsFor(look, conflict)].filter((part) => part !== "").join("\n\n");
}

const deciderWords = {
  automatic: "by a declared rule",
  person: "by a person",
  prechosen: "by a choice made before",
  agreement: "by itself: both sides say the same",
  withdrawal: "its operation was given up",
} as const;

function hintsFor({ paint }: Look, view: View): string {
  const { id, status, kind, choice, collection, key } = view;
  const short = shortId(id);
  if (status === "resolved" && choice === "local")
    return paint.dim(`${sign.hint} holdfast records history ${collection} ${shellWord(key)}   has what the server had`);
  if (status === "resolved")
    return paint.dim(`${sign.hint} holdfast conflicts undo ${short}   to take the decision back`);
  const merge = kind === "version_mismatch" ? "|merge" : "";
  return [
    paint.dim(`${sign.hint} holdfast conflicts resolve ${short} --choose local|remote${merge}`),
    paint.dim(`${sign.hint} holdfast conflicts resolve ${short} --choose value --data '{…}'`),
  ].join("\n");
}

/** Base, local and remote next to each other; a field in dispute is marked, what agrees is only counted. */
function renderSides({ paint, width }: Look, conflict: View): string {
  const { base, local, remote, fields } = conflict;
  const sides = [base, local, remote];
  const names = [...new Set(sides.flatMap((side) => Object.keys(side ?? {})))];
  const isDisputed = (name: string): boolean => fields.includes(name);
  const differs = (name: string): boolean => new Set(sides.map((side) => JSON.stringify(side?.[name]))).size > 1;
  const shown = [...names.filter(isDisputed), ...names.filter((name) => !isDisputed(name) && differs(name))];
  const agreed = names.length - shown.length;
  const total = width === Number.MAX_SAFE_INTEGER ? standardWidth : Math.min(width, widest);
  const nameWidth = Math.min(20, Math.max(5, ...shown.map((name) => widthOf(plain(name)))));
  const valueWidth = Math.max(8, Math.floor((total - 2 - nameWidth - 6) / 3));
  const line = (mark: string, cells: readonly string[]): string =>
    `${mark} ${cells.map((cell, at) => padEnd(cell, at === 0 ? nameWidth : valueWidth)).join("  ")}`.trimEnd();
  const head = paint.dim(line(" ", ["FIELD", "BASE", "LOCAL", "REMOTE"]));
  const gone = sides.some((side) => side === null)
    ? [line(" ", ["", ...sides.map((side) => (side === null ? "(no record)" : ""))])]
    : [];
  const rows = shown.flatMap((name) => {
    const columns = sides.map((side) => cellLines(side, name, valueWidth));
    const height = Math.max(...columns.map((each) => each.length));
    const isMarked = isDisputed(name);
    const nth = (at: number): string =>
      line(isMarked && at === 0 ? sign.warn : " ", [
        at === 0 ? truncate(plain(name), nameWidth) : "",
        ...columns.map((each) => each[at] ?? ""),
      ]);
    return Array.from({ length: height }, (_, at) => (isMarked ? paint.yellow(nth(at)) : nth(at)));
  });
  const rest =
    agreed === 0
      ? []
      : [paint.dim(`  ${plural(agreed, "other field")} ${agreed === 1 ? "is" : "are"} the same on all sides`)];
  const legend = shown.some(isDisputed) ? [paint.dim(`  ${sign.warn} in dispute`)] : [];
  return [head, ...gone, ...rows, ...rest, ...legend].join("\n");
}

function cellLines(side: Fields | null, name: string, width: number): readonly string[] {
  if (side === null) return [""];
  const value = side[name];
  if (value === undefined) return ["∅"];
  const lines = wordsOf(value).flatMap((text) => wrap(text, width));
  return lines.length <= linesOfValue ? lines : [...lines.slice(0, linesOfValue - 1), "…"];
}

function wordsOf(value: Json): readonly string[] {
  if (typeof value !== "string") return [plain(JSON.stringify(value))];
  return plainLines(value).split("\n");
}

/** Breaks between words where that fits, within a word where it does not. */
function wrap(text: string, width: number): readonly string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    const joined = line === "" ? word : `${line} ${word}`;
    if (widthOf(joined) <= width) {
      line = joined;
      continue;
    }
    if (line !== "") lines.push(line);
    line = word;
    while (widthOf(line) > width) {
      const head = truncate(line, width + 1).slice(0, -1);
      lines.push(head);
      line = line.slice(head.length);
    }
  }
  return [...lines, line];
}
