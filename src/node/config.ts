/**
 * Owns config.toml as a file: reading it with errors that name the line, changing one value without touching the rest,
 * and watching it. What keys there are and what they mean is `../config.ts`; the files that it names are loaded by `declarations.ts`.
 */
import { existsSync, readFileSync, watch } from "node:fs";
import { basename, dirname } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { parse, stringify, TomlError } from "smol-toml";
import type { Config, ConfigIssue } from "../config.ts";
import { checkConfig, settingsDifference } from "../config.ts";
import type { Engine } from "../engine/engine.ts";
import { HoldfastError } from "../errors.ts";
import type { Settings } from "../shapes.ts";
import { makeFolder } from "./folder.ts";
import { writeFileAtomically } from "./home.ts";

/** Editors save in several steps; this is how long the file must rest before it is read again. */
const restMs = 200;
const bareKey = /^[A-Za-z0-9_-]+$/;

type Table = { readonly [key: string]: unknown };

/** Reads and checks the file; a missing one says nothing. */
export function readConfig(path: string): Config {
  return parseConfig(existsSync(path) ? readFileSync(path, "utf8") : "", path);
}

/** Checks the text of a file; the error names the file, the line and the key. */
export function parseConfig(text: string, path: string): Config {
  const { config, issues } = checkConfig(parseToml(text, path));
  if (config !== null) return config;
  const lines = issues.map((issue) => describeIssue(text, path, issue));
  throw new HoldfastError("config_invalid", lines.join("\n"), `edit ${path}; see docs/configuration.md for its keys`, {
    details: {
      path,
      issues: issues.map((issue) => ({
        key: issue.path.join("."),
        line: lineOf(text, issue.path),
        message: issue.message,
      })),
    },
  });
}

/** The value that the file has for a key such as "queue.concurrency"; undefined when it says nothing. */
export function getConfigValue(path: string, key: string): unknown {
  const text = existsSync(path) ? readFileSync(path, "utf8") : "";
  parseConfig(text, path);
  return valueAt(parseToml(text, path), splitKey(key));
}

/**
 * Sets one value, or takes it out with undefined; comments, order and everything else in the file stay as they are.
 * The new text is checked before it replaces the old one.
 */
export function setConfigValue(path: string, key: string, value: unknown): void {
  const text = existsSync(path) ? readFileSync(path, "utf8") : "";
  const edited = editToml(text, { path, keys: splitKey(key), value });
  parseConfig(edited, path);
  makeFolder(dirname(path));
  writeFileAtomically(path, edited);
}

/** Reads a value as a person types it: TOML where it is TOML, else a plain text. */
export function parseConfigValue(typed: string): unknown {
  try {
    return parse(`value = ${typed}`).value;
  } catch {
    return typed;
  }
}

/** Calls `onChange` with each new valid content, `onInvalid` with what is wrong; the last valid content stays in force. */
export function watchConfig(
  path: string,
  hear: { readonly onChange: (config: Config) => void; readonly onInvalid: (error: unknown) => void },
): () => void {
  let last = existsSync(path) ? readFileSync(path, "utf8") : "";
  let timer: NodeJS.Timeout | undefined;
  const read = (): void => {
    try {
      const text = existsSync(path) ? readFileSync(path, "utf8") : "";
      if (text === last) return;
      last = text;
      hear.onChange(parseConfig(text, path));
    } catch (error) {
      hear.onInvalid(error);
    }
  };
  // The directory, not the file: a save by rename leaves a watcher of the file with the old inode.
  const watcher = watch(dirname(path), { persistent: false }, (_event, name) => {
    if (name !== null && name !== basename(path)) return;
    clearTimeout(timer);
    timer = setTimeout(read, restMs);
    timer.unref();
  });
  watcher.on("error", hear.onInvalid);
  return () => {
    clearTimeout(timer);
    watcher.close();
  };
}

/**
 * Brings what changed in the file since it was last applied into the engine's settings, and nothing else: what a person has set
 * at run time stays, until the file says something new about it. Returns the names of what changed.
 */
export function applySettings(
  engine: Pick<Engine, "handle">,
  appliedPath: string,
  settings: Partial<Settings>,
): readonly string[] {
  const before = readApplied(appliedPath);
  if (before !== null && isDeepStrictEqual(before, settings)) return [];
  const difference = settingsDifference(before ?? {}, settings);
  if (Object.keys(difference).length > 0) engine.handle("settings.set", difference);
  // Written afterwards: a crash in between applies the same values again, which changes nothing.
  writeFileAtomically(appliedPath, `${JSON.stringify(settings)}\n`);
  return Object.keys(difference);
}

function readApplied(path: string): Partial<Settings> | null {
  try {
    return JSON.parse(readFileSync(path, "utf8")) as Partial<Settings>;
  } catch {
    return null;
  }
}

function parseToml(text: string, path: string): Table {
  try {
    return parse(text) as Table;
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const words = error.message.split("\n")[0] ?? "unreadable";
    throw new HoldfastError("config_invalid", `${path}:${error.line}: ${words}`, `edit ${path}, line ${error.line}`, {
      details: { path, line: error.line, column: error.column },
      cause: error,
    });
  }
}

function describeIssue(text: string, path: string, issue: ConfigIssue): string {
  const line = lineOf(text, issue.path);
  const meant = issue.suggestion === null ? "" : `; did you mean "${issue.suggestion}"?`;
  return `${path}${line === null ? "" : `:${line}`}: ${issue.path.join(".")}: ${issue.message}${meant}`;
}

/** The line where the longest known beginning of a path stands; 1 is the first. */
function lineOf(text: string, path: readonly string[]): number | null {
  for (let length = path.length; length > 0; length -= 1) {
    const place = findKey(text.split("\n"), path.slice(0, length));
    if (place !== null) return place.line + 1;
  }
  return null;
}

type Place = { readonly line: number; readonly kind: "value" | "header" };
type Edit = { readonly path: string; readonly keys: readonly string[]; readonly value: unknown };

function editToml(text: string, edit: Edit): string {
  const before = parseToml(text, edit.path);
  const wanted = withValue(before, edit.keys, edit.value);
  if (isDeepStrictEqual(before, wanted)) return text;
  const lines = text === "" ? [] : text.replace(/\n$/, "").split("\n");
  const place = findKey(lines, edit.keys);
  const edited = place?.kind === "value" ? replaceValue(lines, place.line, edit.value) : insertValue(lines, edit);
  const result = `${edited.join("\n")}\n`;
  if (edited.length === 0) return "";
  // A file written in a way that this line-wise edit does not see through is left alone.
  if (parsesTo(result, wanted)) return result;
  throw new HoldfastError(
    "config_invalid",
    `${edit.path} is written in a way that ${edit.keys.join(".")} cannot be changed in by itself`,
    `edit the file by hand: ${edit.path}`,
  );
}

function replaceValue(lines: readonly string[], line: number, value: unknown): readonly string[] {
  const end = endOfValue(lines, line);
  if (value === undefined) return [...lines.slice(0, line), ...lines.slice(end + 1)];
  const first = lines[line] ?? "";
  const name =
    /^\s*(?:"(?:[^"\\]|\\.)*"|'[^']*'|[A-Za-z0-9_.-]|\s*\.\s*)+?\s*=\s*/.exec(first)?.[0] ??
    first.slice(0, first.indexOf("=") + 1);
  const comment = end === line ? commentOf(first) : "";
  return [...lines.slice(0, line), `${name.trimEnd()} ${valueText(value)}${comment}`, ...lines.slice(end + 1)];
}

function insertValue(lines: readonly string[], edit: Edit): readonly string[] {
  if (edit.value === undefined) return lines;
  const [section, rest] = edit.keys.length === 1 ? [[], edit.keys] : [edit.keys.slice(0, 1), edit.keys.slice(1)];
  const assignment = `${rest.map(keyText).join(".")} = ${valueText(edit.value)}`;
  if (section.length === 0) {
    const first = lines.findIndex((line) => /^\s*\[/.test(line));
    const at = first === -1 ? lines.length : first;
    return [...lines.slice(0, at), assignment, ...(at < lines.length ? [""] : []), ...lines.slice(at)];
  }
  const header = lines.findIndex((line) => isDeepStrictEqual(headerOf(line), section));
  if (header === -1)
    return [...lines, ...(lines.length === 0 ? [] : [""]), `[${section.map(keyText).join(".")}]`, assignment];
  let end = header + 1;
  while (end < lines.length && !/^\s*\[/.test(lines[end] ?? "")) end += 1;
  // Comments and blank lines above the next header belong to that one.
  while (end > header + 1 && /^\s*(#.*)?$/.test(lines[end - 1] ?? "")) end -= 1;
  return [...lines.slice(0, end), assignment, ...lines.slice(end)];
}

/** Finds the line that assigns a key, or that opens the table of this name. */
function findKey(lines: readonly string[], keys: readonly string[]): Place | null {
  let section: readonly string[] = [];
  let header: number | null = null;
  for (let line = 0; line < lines.length; line += 1) {
    const opened = headerOf(lines[line] ?? "");
    if (opened !== null) {
      section = opened;
      if (header === null && isDeepStrictEqual(opened, keys)) header = line;
      continue;
    }
    const assigned = assignedKey(lines, line);
    if (assigned === null) continue;
    if (isDeepStrictEqual([...section, ...assigned.keys], keys)) return { line, kind: "value" };
    line = assigned.end;
  }
  return header === null ? null : { line: header, kind: "header" };
}

function headerOf(line: string): readonly string[] | null {
  if (!/^\s*\[/.test(line)) return null;
  try {
    return onlyPath(parse(line) as Table);
  } catch {
    return null;
  }
}

function assignedKey(
  lines: readonly string[],
  line: number,
): { readonly keys: readonly string[]; readonly end: number } | null {
  if (!/^\s*["'A-Za-z0-9_-]/.test(lines[line] ?? "")) return null;
  const name =
    /^\s*((?:"(?:[^"\\]|\\.)*"|'[^']*'|[A-Za-z0-9_-]+)(?:\s*\.\s*(?:"(?:[^"\\]|\\.)*"|'[^']*'|[A-Za-z0-9_-]+))*)\s*=/.exec(
      lines[line] ?? "",
    )?.[1];
  if (name === undefined) return null;
  return { keys: onlyPath(parse(`${name} = 0`) as Table), end: endOfValue(lines, line) };
}

/** The keys of a table that holds one value, from outside in. */
function onlyPath(table: Table): readonly string[] {
  const [key] = Object.keys(table);
  if (key === undefined) return [];
  const inner = table[key];
  const next = Array.isArray(inner) ? inner[0] : inner;
  return typeof next === "object" && next !== null ? [key, ...onlyPath(next as Table)] : [key];
}

/** A value ends where the lines so far are whole TOML: that is true of arrays and of texts over several lines. */
function endOfValue(lines: readonly string[], line: number): number {
  for (let end = line; end < lines.length; end += 1) {
    if (parses(lines.slice(line, end + 1).join("\n"))) return end;
  }
  return line;
}

/** The comment behind a value, with the space before it. */
function commentOf(line: string): string {
  for (let at = line.indexOf("#"); at !== -1; at = line.indexOf("#", at + 1)) {
    const before = line.slice(0, at);
    if (parses(before)) return before.slice(before.trimEnd().length) + line.slice(at);
  }
  return "";
}

function withValue(table: Table, keys: readonly string[], value: unknown): Table {
  const [key, ...rest] = keys;
  if (key === undefined) return table;
  if (rest.length > 0) {
    const inner = table[key];
    if (value === undefined && inner === undefined) return table;
    return {
      ...table,
      [key]: withValue(typeof inner === "object" && inner !== null ? (inner as Table) : {}, rest, value),
    };
  }
  const { [key]: _old, ...others } = table;
  return value === undefined ? others : { ...table, [key]: value };
}

function valueAt(table: unknown, keys: readonly string[]): unknown {
  let found = table;
  for (const key of keys) {
    if (typeof found !== "object" || found === null || !Object.hasOwn(found, key)) return undefined;
    found = (found as Table)[key];
  }
  return found;
}

/** Types have dots in their names: below `retry` and `conflict` everything up to a known field is one key. */
function splitKey(key: string): readonly string[] {
  const [section, ...rest] = key.split(".");
  if (section === undefined || section === "" || rest.some((part) => part === "")) {
    throw new HoldfastError(
      "invalid_input",
      `"${key}" is not a configuration key`,
      "write it as section.key, e.g. queue.concurrency",
    );
  }
  if ((section !== "retry" && section !== "conflict") || rest.length === 0) return [section, ...rest];
  const last = rest.at(-1) ?? "";
  const isField =
    section === "retry" &&
    rest.length > 1 &&
    ["preset", "max_attempts", "initial", "max", "jitter", "delays"].includes(last);
  return isField ? [section, rest.slice(0, -1).join("."), last] : [section, rest.join(".")];
}

function keyText(key: string): string {
  return bareKey.test(key) ? key : JSON.stringify(key);
}

function valueText(value: unknown): string {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    const parts = Object.entries(value).map(([key, each]) => `${keyText(key)} = ${valueText(each)}`);
    return `{ ${parts.join(", ")} }`;
  }
  return stringify({ value })
    .trim()
    .replace(/^value\s*=\s*/, "");
}

function parses(text: string): boolean {
  try {
    parse(text);
    return true;
  } catch {
    return false;
  }
}

function parsesTo(text: string, wanted: Table): boolean {
  try {
    return isDeepStrictEqual(normal(parse(text)), normal(wanted));
  } catch {
    return false;
  }
}

/** Rows of the parser have no prototype, and an empty table says nothing. */
function normal(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(normal);
  if (typeof value !== "object" || value === null || value instanceof Date) return value;
  const entries = Object.entries(value).map(([key, each]) => [key, normal(each)] as const);
  return Object.fromEntries(entries.filter(([, each]) => !isEmptyTable(each)));
}

function isEmptyTable(value: unknown): boolean {
  return (
    typeof value === "object" &&
    value !== null &&
    !Array.isArray(value) &&
    !(value instanceof Date) &&
    Object.keys(value).length === 0
  );
}
