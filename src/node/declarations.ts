/**
 * Owns loading what a program declares in files of its own: operation types and collections, named under `types` in config.toml or in a
 * file of the usual name beside it.
 * What a declaration may say is checked by `../handler.ts` and `../collection.ts`; the configuration file itself is `config.ts`.
 */
import { statSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, isAbsolute, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { HoldfastError } from "../errors.ts";
import type { Collection, OperationType } from "../world.ts";
import { typeProblem } from "./engine-options.ts";

export type Declarations = { readonly types: readonly OperationType[]; readonly collections: readonly Collection[] };

/** Files that are loaded from beside the configuration where that names none. */
const usualNames = ["holdfast.config.ts", "holdfast.config.mjs"] as const;

/**
 * Loads the types and collections of the files that the configuration names, or of the one with the usual name where it says nothing of
 * them. Relative paths begin at the configuration file.
 */
export async function loadDeclarations(
  named: readonly string[] | undefined,
  configPath: string,
): Promise<Declarations> {
  const types: OperationType[] = [];
  const collections: Collection[] = [];
  for (const path of named ?? usualFiles(configPath)) {
    const loaded = await loadFrom(resolvePath(path, configPath));
    for (const type of loaded.types) {
      if (types.some((other) => other.type === type.type))
        throw cannotLoad(path, `declares ${type.type}, which another file declares as well`);
      types.push(type);
    }
    for (const collection of loaded.collections) {
      if (collections.some((other) => other.name === collection.name))
        throw cannotLoad(path, `declares the collection ${collection.name}, which another file declares as well`);
      collections.push(collection);
    }
  }
  return { types, collections };
}

function usualFiles(configPath: string): readonly string[] {
  const found = usualNames.filter((name) => statSync(resolvePath(name, configPath), { throwIfNoEntry: false }));
  if (found.length > 1)
    throw new HoldfastError(
      "config_invalid",
      `${found.join(" and ")} are both there`,
      `name those to load under \`types\` in config.toml, or keep one of them`,
    );
  return found;
}

async function loadFrom(path: string): Promise<Declarations> {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined) throw cannotLoad(path, "is not there");
  // It will be executed with the owner's rights.
  if (process.platform !== "win32" && (found.mode & 0o002) !== 0) throw cannotLoad(path, "can be written by everybody");
  let module: { readonly default?: unknown };
  try {
    module = (await import(pathToFileURL(path).href)) as { readonly default?: unknown };
  } catch (error) {
    throw cannotLoad(path, `cannot be loaded: ${error instanceof Error ? error.message : String(error)}`, error);
  }
  const { types, collections } = (module.default ?? {}) as { readonly [name: string]: unknown };
  if (types === undefined && collections === undefined)
    throw cannotLoad(path, "has no `export default { types: [...], collections: [...] }`");
  return {
    types: checkEach<OperationType>(path, "types", types, problemOfType),
    collections: checkEach<Collection>(path, "collections", collections, collectionProblem),
  };
}

function checkEach<T>(
  path: string,
  member: string,
  list: unknown,
  problemOf: (each: unknown) => string | null,
): readonly T[] {
  if (list === undefined) return [];
  if (!Array.isArray(list)) throw cannotLoad(path, `${member} is not a list`);
  list.forEach((each: unknown, index) => {
    const problem = problemOf(each);
    if (problem !== null) throw cannotLoad(path, `${member}[${index}] ${problem}`);
  });
  return list as readonly T[];
}

function problemOfType(type: unknown): string | null {
  const problem = typeProblem(type);
  const { type: name } = (type ?? {}) as { readonly type?: unknown };
  if (problem === null) return null;
  return typeof name === "string" && name !== "" ? `(${name}): ${problem}` : `is wrong: ${problem}`;
}

function collectionProblem(collection: unknown): string | null {
  if (typeof collection !== "object" || collection === null) return "is not an object";
  const { name, check, upcast, decide, schema } = collection as Readonly<Record<string, unknown>>;
  if (typeof name !== "string" || name === "") return "has no name in `name`";
  const wrong = Object.entries({ check, upcast, ...(decide as object | undefined) }).find(
    ([, each]) => each !== undefined && typeof each !== "function",
  );
  if (wrong !== undefined) return `(${name}): ${wrong[0]} is not a function`;
  if (schema !== undefined && check === undefined)
    return `(${name}): a schema needs \`collection({ … })\` of "holdfast" around it`;
  return null;
}

function cannotLoad(path: string, what: string, cause?: unknown): HoldfastError {
  return new HoldfastError(
    "config_invalid",
    `the types file ${path} ${what}`,
    "it is named under `types` in config.toml, or is beside that as holdfast.config.ts or .mjs; see docs/configuration.md",
    {
      details: { path },
      cause,
    },
  );
}

function resolvePath(path: string, configPath: string): string {
  if (path.startsWith("~/")) return join(homedir(), path.slice(2));
  return isAbsolute(path) ? path : resolve(dirname(configPath), path);
}
