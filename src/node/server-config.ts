/**
 * Owns the configuration of `holdfast server run`: finding the file, loading it, and saying what is wrong with it.
 * What the options mean, and the check of those that are the server's, is in `server/server.ts`.
 */
import { readFileSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { HoldfastError } from "../errors.ts";
import { checkOptions } from "../misuse.ts";
import type { Declared } from "../server/server.ts";

/** What a configuration file exports as its default, or holds as JSON. Words on the command line go before it. */
export type ServerConfig = Declared & {
  /** Directory of the embedded database. */
  readonly data?: string;
  /** `postgres://…`; the environment's HOLDFAST_DATABASE keeps a password out of files and arguments. */
  readonly database?: string;
  /** Connections of one process to PostgreSQL. */
  readonly connections?: number;
  readonly host?: string;
  readonly port?: number;
};

const serverOptions = ["collections", "auth", "limits", "isOpen", "origins"];

const isText = (value: unknown): boolean => typeof value === "string" && value !== "";
const isWhole = (value: unknown, least: number, most: number): boolean =>
  Number.isInteger(value) && (value as number) >= least && (value as number) <= most;

/** What belongs to the process and not to the server in it, which checks its own options. */
const processOptions = {
  data: { fits: isText, words: "the path of a directory" },
  database: { fits: isText, words: 'an address such as "postgres://user@host:5432/name"' },
  connections: { fits: (value: unknown) => isWhole(value, 1, 10_000), words: "a whole number from 1 to 10000" },
  host: { fits: isText, words: "a name or an address" },
  port: { fits: (value: unknown) => isWhole(value, 0, 65_535), words: "a whole number from 0 to 65535" },
} as const;

/** Looked for in the working directory when none is named. */
const configNames = ["holdfast.server.ts", "holdfast.server.mjs", "holdfast.server.js", "holdfast.server.json"];

/** Helps a configuration file to be checked by the compiler: `export default serverConfig({ … })`. */
export const serverConfig = (config: ServerConfig): ServerConfig => config;

/** The file that is meant, or null when none is named and none is there. */
export function findServerConfig(named: string | undefined, directory: string): string | null {
  if (named !== undefined) return resolve(directory, named);
  const found = configNames.find((name) => statSync(resolve(directory, name), { throwIfNoEntry: false })?.isFile());
  return found === undefined ? null : resolve(directory, found);
}

/** Loads a configuration file. It is executed with the rights of whoever starts the server, so not everybody may write it. */
export async function loadServerConfig(path: string): Promise<ServerConfig> {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined) throw cannotLoad(path, "is not there");
  if (process.platform !== "win32" && (found.mode & 0o002) !== 0) throw cannotLoad(path, "can be written by everybody");
  const loaded = path.endsWith(".json") ? readJson(path) : await importDefault(path);
  if (typeof loaded !== "object" || loaded === null) throw cannotLoad(path, "has no `export default { … }`");
  try {
    checkOptions("the configuration", loaded, [...serverOptions, ...Object.keys(processOptions)]);
  } catch (error) {
    throw cannotLoad(path, error instanceof Error ? error.message : String(error), error);
  }
  const { checkDeclared } = await import("../server/server.ts");
  try {
    checkDeclared(loaded);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw cannotLoad(path, `is wrong: ${error.message}`, error);
  }
  for (const [name, { fits, words }] of Object.entries(processOptions)) {
    const value = (loaded as Readonly<Record<string, unknown>>)[name];
    if (value === undefined || fits(value)) continue;
    throw cannotLoad(path, `is wrong: ${name} must be ${words}; got ${JSON.stringify(value)}`);
  }
  return loaded as ServerConfig;
}

function readJson(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, "utf8"));
  } catch (error) {
    throw cannotLoad(path, `is no JSON: ${error instanceof Error ? error.message : String(error)}`, error);
  }
}

async function importDefault(path: string): Promise<unknown> {
  try {
    return ((await import(pathToFileURL(path).href)) as { readonly default?: unknown }).default;
  } catch (error) {
    throw cannotLoad(path, `cannot be loaded: ${error instanceof Error ? error.message : String(error)}`, error);
  }
}

function cannotLoad(path: string, what: string, cause?: unknown): HoldfastError {
  return new HoldfastError("config_invalid", `${path} ${what}`, "docs/server.md shows a configuration that works", {
    ...(cause === undefined ? {} : { cause }),
    details: { path },
  });
}
