/**
 * Owns the daemon's log: JSON lines to a bounded file or to the terminal, with every secret taken out before it is written.
 * What is worth a line is decided by whoever logs; levels come from `world.ts`.
 */
import { closeSync, existsSync, fstatSync, openSync, readSync, renameSync, statSync, writeSync } from "node:fs";
import { StringDecoder } from "node:string_decoder";
import { pino } from "pino";
import type { LogLevel } from "../world.ts";

export const logLimits = {
  /** A full file becomes `daemon.log.1`, that one `.2`, and so on; the oldest is overwritten. */
  fileBytes: 5_242_880,
  keptFiles: 3,
  /** Longer texts in one field are cut. */
  textLength: 4_000,
  depth: 8,
} as const;

export type Log = {
  readonly write: (level: LogLevel, message: string, fields?: Readonly<Record<string, unknown>>) => void;
  readonly setLevel: (level: LogLevel) => void;
  readonly close: () => void;
};

export type LogOptions = {
  /** Path of the log file; without it lines go to standard output, or where `stream` says. */
  readonly path?: string;
  readonly stream?: { readonly write: (line: string) => unknown };
  readonly level?: LogLevel;
  readonly fileBytes?: number;
};

const secretKey =
  /^(proxy-?)?authorization$|^(set-)?cookie2?$|(^|[-_.])(token|secret|password|passwd|passphrase|credentials?|api-?key|private-?key|session-?id)$|^(access|refresh|id|auth|csrf|session)token$|^(apikey|clientsecret|privatekey)$/i;
const secretQuery =
  /([?&;](?:[a-z0-9_.-]*[-_.])?(?:token|secret|password|passwd|api-?key|apikey|key|signature|sig|auth|code|credential|jwt)=)[^&#\s"'<>]+/gi;
// A scheme is short; without a bound, a long word would be searched again from each of its letters.
const userInfo = /([a-z][a-z0-9+.-]{0,30}:\/\/)[^/?#\s"'@]+@/gi;
const bearer = /\b(bearer|basic|token) +[a-z0-9._~+/=-]{8,}/gi;
const removed = "[redacted]";

/** Opens a log. A log that cannot be written (full disk) loses lines; it never stops the daemon. */
export function openLog(options: LogOptions = {}): Log {
  const file = options.path === undefined ? null : openLogFile(options.path, options.fileBytes ?? logLimits.fileBytes);
  const stream = options.stream ?? process.stdout;
  const sink = file ?? { write: (line: string) => void stream.write(line) };
  const logger = pino(
    {
      level: options.level ?? "info",
      base: { pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    sink,
  );
  return {
    write: (level, message, fields) => logger[level](redact(fields ?? {}) as object, redactText(message)),
    setLevel: (level) => {
      logger.level = level;
    },
    close: () => file?.close(),
  };
}

/** Takes secrets out of a value: by the name of the key, and inside texts by their form. */
export function redact(value: unknown, depth = 0): unknown {
  if (typeof value === "string") return redactText(value);
  if (typeof value === "bigint") return value.toString();
  if (typeof value !== "object" || value === null) return value;
  if (depth >= logLimits.depth) return "[too deep]";
  if (value instanceof Error) return redactError(value, depth);
  if (Array.isArray(value)) return value.slice(0, 100).map((each) => redact(each, depth + 1));
  const entries = Object.entries(value).map(([key, each]) => [
    key,
    secretKey.test(key) ? removed : redact(each, depth + 1),
  ]);
  return Object.fromEntries(entries);
}

/** Takes secrets out of a text: user info and secret query values of URLs, and credentials after their scheme's name. */
export function redactText(text: string): string {
  const short = text.length > logLimits.textLength ? `${text.slice(0, logLimits.textLength)}…` : text;
  return short.replace(userInfo, `$1${removed}@`).replace(secretQuery, `$1${removed}`).replace(bearer, `$1 ${removed}`);
}

/** The last lines of the log, oldest first, reaching back into the rotated file when the newest is short. */
export function readLog(path: string, lines: number): readonly string[] {
  const found = tail(path, lines);
  if (found.length >= lines || !existsSync(rotated(path, 1))) return found;
  return [...tail(rotated(path, 1), lines - found.length), ...found];
}

/** Calls `listener` with each line that is appended from now on; returns its end. */
export function followLog(path: string, listener: (line: string) => void, intervalMs = 200): () => void {
  let position = sizeOf(path);
  const decoder = new StringDecoder("utf8");
  let rest = "";
  const readTo = (file: string, end: number): void => {
    const chunk = readRange(file, position, end);
    position += chunk.length;
    const lines = (rest + decoder.write(chunk)).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) listener(line);
  };
  const look = (): void => {
    const size = sizeOf(path);
    if (size < position) {
      // A smaller file is a fresh one: the old one was rotated away, and may have got its last lines since the last look.
      readTo(rotated(path, 1), sizeOf(rotated(path, 1)));
      position = 0;
    }
    if (size > position) readTo(path, size);
  };
  // Looked at by hand: `watchFile` begins with what it finds a moment later, and tells nothing of what was written before.
  const timer = setInterval(() => {
    try {
      look();
    } catch (error) {
      // Rotated away between the look and the reading: the next look finds the fresh file.
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }, intervalMs);
  return () => clearInterval(timer);
}

type LogFile = { readonly write: (line: string) => void; readonly close: () => void };

function openLogFile(path: string, limitBytes: number): LogFile {
  const open = (): number => openSync(path, "a", 0o600);
  let file: number | null = open();
  let size = fstatSync(file).size;
  const rotate = (): void => {
    if (file !== null) closeSync(file);
    file = null;
    for (let index = logLimits.keptFiles - 1; index >= 1; index -= 1) {
      if (existsSync(rotated(path, index))) renameSync(rotated(path, index), rotated(path, index + 1));
    }
    if (existsSync(path)) renameSync(path, rotated(path, 1));
  };
  return {
    write: (line) => {
      try {
        const bytes = Buffer.byteLength(line);
        if (size > 0 && size + bytes > limitBytes) rotate();
        if (file === null) {
          file = open();
          size = fstatSync(file).size;
        }
        // Synchronous: the last line before a crash is the one that is needed.
        writeSync(file, line);
        size += bytes;
      } catch {
        // Nowhere left to say so.
      }
    },
    close: () => {
      if (file !== null) closeSync(file);
      file = null;
    },
  };
}

function redactError(error: Error, depth: number): unknown {
  const { name, message, stack, cause } = error;
  const code = (error as NodeJS.ErrnoException).code;
  return {
    name,
    message: redactText(message),
    ...(code === undefined ? {} : { code }),
    ...(stack === undefined ? {} : { stack: redactText(stack) }),
    ...(cause === undefined ? {} : { cause: redact(cause, depth + 1) }),
  };
}

const rotated = (path: string, index: number): string => `${path}.${index}`;

function tail(path: string, lines: number): readonly string[] {
  if (lines <= 0) return [];
  const size = sizeOf(path);
  for (let wanted = 65_536; ; wanted *= 4) {
    const start = Math.max(0, size - wanted);
    const all = readRange(path, start, size).toString("utf8").split("\n");
    if (all.at(-1) === "") all.pop();
    // The first line may have been cut by where the reading began.
    const whole = start === 0 ? all : all.slice(1);
    if (start === 0 || whole.length >= lines) return whole.slice(-lines);
  }
}

function readRange(path: string, start: number, end: number): Buffer {
  if (end <= start) return Buffer.alloc(0);
  const file = openSync(path, "r");
  try {
    const buffer = Buffer.alloc(end - start);
    return buffer.subarray(0, readSync(file, buffer, 0, buffer.length, start));
  } finally {
    closeSync(file);
  }
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}
