// Owns the laws of the source tree as functions over its texts; test/laws.test.ts applies them to the real tree.
// Leaves reading imports to test/support/imports.ts and reading SQL to test/support/sql-writes.ts.
import path from "node:path";
import ts from "typescript";
import type { Import } from "./imports.ts";
import { findImports, lineOf, parse, walk } from "./imports.ts";
import type { Write } from "./sql-writes.ts";
import { computed, findTables, findWrites } from "./sql-writes.ts";

/** The texts of the tree by path from the root, with forward slashes. */
export type Tree = ReadonlyMap<string, string>;

/** Law 1: what each place may import besides itself. */
const placeImports: Readonly<Record<string, readonly string[]>> = {
  rules: [],
  index: ["rules", "client"],
  engine: ["rules"],
  client: ["rules"],
  server: ["rules"],
  node: ["rules", "engine", "client", "server"],
  browser: ["rules", "engine", "client"],
  react: ["rules", "client"],
  cli: ["rules", "client", "node"],
  testing: ["rules", "engine", "client", "server"],
};

/** Law 2: each outside package and where it lives. "rules" stands for every rule file; a folder ends with a slash. */
export const packageHomes: Readonly<Record<string, readonly string[]>> = {
  "node:sqlite": ["src/node/sqlite.ts"],
  "node:*": ["src/node/", "src/cli/"],
  zod: ["src/node/", "src/cli/"],
  "zod/mini": ["rules", "src/node/", "src/cli/", "src/server/openapi.ts"],
  "@standard-schema/spec": ["rules"],
  "eventsource-parser": ["src/client/", "src/node/sync-watch.ts"],
  jose: ["src/server/auth.ts"],
  "env-paths": ["src/node/"],
  "smol-toml": ["src/node/"],
  hono: ["src/node/"],
  "@hono/node-server": ["src/node/"],
  pino: ["src/node/"],
  "prom-client": ["src/node/"],
  commander: ["src/cli/"],
  "@clack/prompts": ["src/cli/"],
  picocolors: ["src/cli/"],
  "@bomb.sh/tab": ["src/cli/"],
  postgres: ["src/server/postgres.ts"],
};

/** Where a module may be loaded whose name is known at run time only: the user's own configuration. */
const computedImportHomes = ["src/node/", "src/cli/"];

const fileLimitLines = 500;
const functionLimitLines = 70;
const fileName = /^[a-z0-9]+(-[a-z0-9]+)*(\.(test|web\.test|pg\.test|config))?\.(ts|tsx|mjs)$/;

/** All violations of the tree as "path:line what is wrong", in the order of the files. */
export function findViolations(tree: Tree): readonly string[] {
  const perFile = [...tree].flatMap(([file, text]) => {
    const source = parse(file, text);
    return [...judgeImports(file, source), ...judgePurity(file, source), ...judgeShape(file, source)];
  });
  return [...perFile, ...judgeWrites(tree)];
}

// ---- places and packages ----------------------------------------------------------------------------------------

function placeOf(file: string): string | undefined {
  const [first, second, third] = file.split("/");
  if (first !== "src" || second === undefined) return undefined;
  if (third !== undefined) return second;
  return second === "index.ts" ? "index" : "rules";
}

const isTest = (file: string): boolean => /\.test\.tsx?$/.test(file);

function judgeImports(file: string, source: ts.SourceFile): readonly string[] {
  const place = placeOf(file);
  if (place === undefined) return [];
  if (!(place in placeImports)) return [`${file}:1 the folder ${place} is no place that the laws know`];
  return findImports(source).flatMap((found) => {
    const wrong = judgeImport(file, place, found);
    return wrong === undefined ? [] : [`${file}:${found.line} ${wrong}`];
  });
}

function judgeImport(file: string, place: string, { specifier, isReexport }: Import): string | undefined {
  if (specifier === undefined) {
    const isHome = isTest(file) || computedImportHomes.some((home) => file.startsWith(home));
    return isHome ? undefined : "imports a module whose name is computed";
  }
  if (!specifier.startsWith(".")) return judgePackage(file, specifier);
  const target = path.posix.join(path.posix.dirname(file), specifier);
  const isDoor = path.posix.basename(file) === "index.ts";
  if (isReexport && !isDoor) return `passes on ${specifier}: import from the file that defines the thing`;
  const targetPlace = placeOf(target);
  if (targetPlace === undefined) return isTest(file) ? undefined : `imports ${target} from outside src/`;
  if (isTest(target)) return `imports the test ${target}`;
  // A test needs a database and a world to try its place in, whatever the place itself may import.
  const allowed = [...(placeImports[place] ?? []), place, ...(isTest(file) ? ["node", "testing", "engine"] : [])];
  if (!isTest(file) && isMixedDoor(target)) return `imports the door ${target}: import the file behind it`;
  return allowed.includes(targetPlace) || isRule(targetPlace) ? undefined : `${place} may not import ${targetPlace}`;
}

const isRule = (place: string): boolean => place === "rules";

/** A door gathers several places, so an import of it from inside would reach past the laws. */
function isMixedDoor(target: string): boolean {
  return target.startsWith("src/") && path.posix.basename(target) === "index.ts";
}

function judgePackage(file: string, specifier: string): string | undefined {
  if (isTest(file)) return undefined;
  const homes = packageHomes[homeKey(specifier)];
  if (homes === undefined) return `imports ${specifier}, which has no home in the laws`;
  const isHome = homes.some((home) => {
    if (home === "rules") return placeOf(file) === "rules";
    return home.endsWith("/") ? file.startsWith(home) : file === home;
  });
  return isHome ? undefined : `imports ${specifier}, whose home is ${homes.join(", ")}`;
}

/** The most exact row of the table: "node:sqlite" before "node:*", "zod/mini" before "zod". */
function homeKey(specifier: string): string {
  if (specifier in packageHomes) return specifier;
  if (specifier.startsWith("node:")) return "node:*";
  const depth = specifier.startsWith("@") ? 2 : 1;
  return specifier.split("/").slice(0, depth).join("/");
}

// ---- purity -----------------------------------------------------------------------------------------------------

const outsideNames = ["crypto", "performance", "globalThis", "process"];

function judgePurity(file: string, source: ts.SourceFile): readonly string[] {
  const place = placeOf(file);
  if ((place !== "rules" && place !== "engine") || isTest(file)) return [];
  const violations: string[] = [];
  const isSynchronous = file !== "src/engine/loop.ts";
  walk(source, (node) => {
    const wrong = judgeNode(node, isSynchronous);
    if (wrong !== undefined) violations.push(`${file}:${lineOf(source, node)} ${wrong}`);
  });
  return violations;
}

function judgeNode(node: ts.Node, isSynchronous: boolean): string | undefined {
  if (isSynchronous) {
    if (ts.isAwaitExpression(node) || (ts.isForOfStatement(node) && node.awaitModifier))
      return "awaits outside loop.ts";
    if (node.kind === ts.SyntaxKind.AsyncKeyword) return "is async outside loop.ts";
  }
  if (ts.isPropertyAccessExpression(node) && ts.isIdentifier(node.expression)) {
    const name = `${node.expression.text}.${node.name.text}`;
    if (name === "Date.now" || name === "Math.random") return `takes ${name} from outside its input`;
  }
  if (ts.isIdentifier(node) && node.text === "Date" && isClockReading(node)) return "reads the clock";
  if (ts.isIdentifier(node) && outsideNames.includes(node.text) && isReference(node)) return `uses ${node.text}`;
  return undefined;
}

/** `new Date()` and `Date()` read the clock; `new Date(ms)` only formats. */
function isClockReading(node: ts.Identifier): boolean {
  const { parent } = node;
  if (ts.isCallExpression(parent)) return parent.expression === node;
  return ts.isNewExpression(parent) && parent.expression === node && (parent.arguments?.length ?? 0) === 0;
}

/** A use of the global, not a property, key, declared name or type of the same spelling. */
function isReference(node: ts.Identifier): boolean {
  const { parent } = node;
  if (ts.isPropertyAccessExpression(parent)) return parent.expression === node;
  if (ts.isPropertyAssignment(parent)) return parent.initializer === node;
  if (ts.isExpression(parent) || ts.isVariableDeclaration(parent)) return !("name" in parent && parent.name === node);
  return ts.isStatement(parent) || ts.isShorthandPropertyAssignment(parent);
}

// ---- shape ------------------------------------------------------------------------------------------------------

function judgeShape(file: string, source: ts.SourceFile): readonly string[] {
  const violations: string[] = [];
  const lines = source.text.replace(/\n$/, "").split("\n");
  if (!fileName.test(path.posix.basename(file))) violations.push(`${file}:1 is not named in kebab-case`);
  if (lines.length > fileLimitLines)
    violations.push(`${file}:1 has ${lines.length} lines, more than ${fileLimitLines}`);
  const opening = lines.find((line) => !line.startsWith("#!"));
  if (!/^\s*(\/\/|\/\*)/.test(opening ?? "")) violations.push(`${file}:1 does not open with what it owns`);
  const isInPlace = placeOf(file) !== undefined;
  walk(source, (node) => {
    const wrong = judgeLength(source, node) ?? (isInPlace ? judgeClass(node) : undefined);
    if (wrong !== undefined) violations.push(`${file}:${lineOf(source, node)} ${wrong}`);
  });
  return violations;
}

function judgeLength(source: ts.SourceFile, node: ts.Node): string | undefined {
  if (!ts.isFunctionLike(node) || isGrouping(node)) return undefined;
  const end = source.getLineAndCharacterOfPosition(node.end).line + 1;
  const length = end - lineOf(source, node) + 1;
  if (length <= functionLimitLines) return undefined;
  const name = node.name && ts.isIdentifier(node.name) ? node.name.text : "a function";
  return `${name} has ${length} lines, more than ${functionLimitLines}`;
}

/** The function given to `describe` is a heading over tests, not a piece of work. */
function isGrouping(node: ts.Node): boolean {
  const call = node.parent;
  return ts.isCallExpression(call) && /^describe\b/.test(call.expression.getText());
}

function judgeClass(node: ts.Node): string | undefined {
  if (!ts.isClassLike(node) || node.name?.text === "HoldfastError") return undefined;
  return `declares the class ${node.name?.text ?? "without a name"}; the only class is HoldfastError`;
}

// ---- tables -----------------------------------------------------------------------------------------------------

/** The places that have tables of their own, and the file that creates them without owning them. */
const schemaFiles: Readonly<Record<string, string>> = {
  engine: "src/engine/schema.ts",
  server: "src/server/schema.ts",
};

const isSchema = (file: string): boolean => Object.values(schemaFiles).includes(file);

type Writing = Write & { readonly file: string };

/** Every statement of src/ that writes, read once: the tree is large. */
function findWritings(tree: Tree): readonly Writing[] {
  return [...tree]
    .filter(([file]) => placeOf(file) !== undefined && !isTest(file) && !isSchema(file))
    .flatMap(([file, text]) => findWrites(parse(file, text)).map((write) => ({ file, ...write })));
}

/** Law 3: which file of a place writes which of its tables. */
export function findOwners(tree: Tree, place: string): ReadonlyMap<string, readonly string[]> {
  return ownersAmong(findWritings(new Map([...tree].filter(([file]) => placeOf(file) === place))), place);
}

function ownersAmong(writings: readonly Writing[], place: string): ReadonlyMap<string, readonly string[]> {
  const owners = new Map<string, readonly string[]>();
  for (const { file, table } of writings) {
    if (placeOf(file) !== place || table === computed) continue;
    owners.set(table, [...new Set([...(owners.get(table) ?? []), file])]);
  }
  return owners;
}

function judgeWrites(tree: Tree): readonly string[] {
  const writings = findWritings(tree);
  return Object.entries(schemaFiles).flatMap(([place, schemaFile]) => {
    const tables = new Set(findTables(parse(schemaFile, tree.get(schemaFile) ?? "")));
    return judgeWritesOf(place, tables, writings);
  });
}

function judgeWritesOf(place: string, tables: ReadonlySet<string>, writings: readonly Writing[]): readonly string[] {
  const shared = [...ownersAmong(writings, place)]
    .filter(([, files]) => files.length > 1)
    .map(([table, files]) => `${files.join(" and ")} both write the table ${table}`);
  const strange = writings.flatMap(({ file, table, line }) => {
    if (placeOf(file) === place && table === computed) return [`${file}:${line} writes a table whose name is computed`];
    const isForeign = placeOf(file) !== place && tables.has(table);
    return isForeign ? [`${file}:${line} writes the table ${table}, which belongs to the ${place}`] : [];
  });
  return [...shared, ...strange];
}
