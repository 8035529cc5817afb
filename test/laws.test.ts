// Owns holding the tree to the laws of CONTRIBUTING.md, and proving with planted offences that a breach is reported.
// Leaves the laws themselves to test/support/laws.ts.
import { globSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { findOwners, findViolations, packageHomes } from "./support/laws.ts";

const root = path.resolve(import.meta.dirname, "..");
const read = (file: string): string => readFileSync(path.join(root, file), "utf8");

const tree = new Map(
  globSync(["src/**/*.{ts,tsx}", "{test,bench}/**/*.ts", "scripts/*.{ts,mjs}", "*.ts"], { cwd: root })
    .map((file) => file.split(path.sep).join("/"))
    .filter((file) => !file.includes("/node_modules/"))
    .sort()
    .map((file) => [file, read(file)] as const),
);

/** Law 3, spelled out: a table that changes hands changes this list in the same commit. */
const tableOwners: Readonly<Record<string, string>> = {
  alias: "src/engine/ids.ts",
  channel: "src/engine/meta.ts",
  choice: "src/engine/choices.ts",
  collection: "src/engine/collections.ts",
  conflict: "src/engine/conflicts.ts",
  counter: "src/engine/store.ts",
  dep: "src/engine/lanes.ts",
  evicted: "src/engine/evicted.ts",
  gate: "src/engine/gates.ts",
  history: "src/engine/history.ts",
  lift: "src/engine/lanes.ts",
  mention: "src/engine/records.ts",
  meta: "src/engine/meta.ts",
  op: "src/engine/queue.ts",
  pending: "src/engine/pending.ts",
  record: "src/engine/records.ts",
  record_history: "src/engine/record-log.ts",
  ref: "src/engine/ids.ts",
  remote: "src/engine/network.ts",
  run: "src/engine/runs.ts",
  space: "src/engine/spaces.ts",
};

/** The same for the sync server; its stores keep count of the migrations, each in its own way. */
const serverTableOwners: Readonly<Record<string, string>> = {
  hf_account: "src/server/tokens.ts",
  hf_client: "src/server/receipts.ts",
  hf_migration: "src/server/embedded.ts",
  hf_receipt: "src/server/receipts.ts",
  hf_record: "src/server/records.ts",
  hf_space: "src/server/spaces.ts",
  hf_token: "src/server/tokens.ts",
  hf_unique: "src/server/unique.ts",
  hf_unique_built: "src/server/unique.ts",
  holdfast_schema: "src/server/postgres-migrations.ts",
};

describe("the tree", () => {
  test("keeps the laws", () => {
    expect(findViolations(tree)).toEqual([]);
  });

  test("gives every table to the file that is written here", () => {
    const ownersIn = (place: string) =>
      Object.fromEntries([...findOwners(tree, place)].map(([table, files]) => [table, files.join(" and ")]));
    expect(ownersIn("engine")).toEqual(tableOwners);
    expect(ownersIn("server")).toEqual(serverTableOwners);
  });

  test("has a home for every dependency, and a dependency for every home", () => {
    const { dependencies } = JSON.parse(read("package.json"));
    const homes = Object.keys(packageHomes).filter((name) => !name.startsWith("node:") && name !== "zod/mini");
    expect(homes.sort()).toEqual(Object.keys(dependencies).sort());
  });

  test("pins every dependency to one version", () => {
    const { dependencies, devDependencies, overrides } = JSON.parse(read("package.json"));
    const loose = Object.entries<string>({ ...dependencies, ...devDependencies, ...overrides });
    expect(loose.filter(([, version]) => !/^(npm:[\w@/.-]+@)?\d+\.\d+\.\d+(-[\w.]+)?$/.test(version))).toEqual([]);
  });

  test("names no host in package-lock.json", () => {
    expect(findHosts(read("package-lock.json"))).toEqual([]);
  });
});

/** Where a package was fetched from says something about the machine that wrote the lock and nothing to the next one. */
function findHosts(lock: string): readonly string[] {
  const packages: Record<string, { readonly resolved?: string }> = JSON.parse(lock).packages;
  return Object.entries(packages).flatMap(([place, { resolved }]) =>
    resolved !== undefined && /^[a-z+]+:\/\//.test(resolved) ? [`${place}: ${resolved}`] : [],
  );
}

const violationsOf = (...files: readonly (readonly [string, string])[]): readonly string[] =>
  findViolations(new Map(files.map(([file, text]) => [file, `// Owns a plant. Leaves the rest.\n${text}`])));

describe("a breach is reported:", () => {
  const imports: readonly (readonly [string, string, string])[] = [
    ["src/retry.ts", 'import { a } from "./engine/queue.ts";', "rules may not import engine"],
    ["src/retry.ts", 'import type { A } from "./node/world.ts";', "rules may not import node"],
    ["src/engine/queue.ts", 'import { a } from "../client/client.ts";', "engine may not import client"],
    ["src/engine/queue.ts", 'type A = import("../server/store.ts").A;', "engine may not import server"],
    ["src/client/client.ts", 'const a = await import("../node/http.ts");', "client may not import node"],
    ["src/cli/queue.ts", 'import { a } from "../engine/queue.ts";', "cli may not import engine"],
    ["src/testing/database.ts", 'import { a } from "../node/sqlite.ts";', "testing may not import node"],
    ["src/testing/database.ts", 'import fs from "node:fs";', "imports node:fs, whose home is src/node/, src/cli/"],
    ["src/node/daemon.ts", 'import "node:sqlite";', "imports node:sqlite, whose home is src/node/sqlite.ts"],
    ["src/client/client.ts", 'const s = process.getBuiltinModule("node:sqlite");', "imports node:sqlite, whose home"],
    ["src/verbs.ts", 'import { z } from "zod";', "imports zod, whose home is src/node/, src/cli/"],
    ["src/engine/queue.ts", 'import { z } from "zod/mini";', "imports zod/mini, whose home is rules"],
    ["src/node/daemon.ts", 'import { Command } from "commander";', "imports commander, whose home is src/cli/"],
    [
      "src/node/daemon.ts",
      'import { streamSSE } from "hono-x/streaming";',
      "imports hono-x/streaming, which has no home",
    ],
    ["src/client/client.ts", "const a = (name: string) => import(name);", "imports a module whose name is computed"],
    ["src/node/daemon.ts", 'export * from "./sqlite.ts";', "passes on ./sqlite.ts"],
    ["src/cli/queue.ts", 'import { openEngine } from "../node/index.ts";', "imports the door src/node/index.ts"],
    ["src/node/daemon.ts", 'import { a } from "../../scripts/build.ts";', "imports scripts/build.ts from outside src/"],
    ["src/storage/a.ts", "", "the folder storage is no place"],
  ];
  test.each(imports)("%s with %s", (file, text, wrong) => {
    expect(violationsOf([file, text])).toEqual([expect.stringContaining(wrong)]);
  });

  const impurities: readonly (readonly [string, string, string])[] = [
    ["src/engine/queue.ts", "export const now = () => Date.now();", "Date.now"],
    ["src/retry.ts", "export const now = () => new Date();", "reads the clock"],
    ["src/retry.ts", "export const roll = () => Math.random();", "Math.random"],
    ["src/id.ts", "export const id = () => crypto.randomUUID();", "uses crypto"],
    ["src/engine/push.ts", "export const f = async () => 1;", "is async outside loop.ts"],
    ["src/engine/push.ts", "await 1;", "awaits outside loop.ts"],
    ["src/engine/loop.ts", "await Date.now();", "Date.now"],
    ["src/engine/queue.ts", "class Queue {}", "declares the class Queue"],
  ];
  test.each(impurities)("%s with %s", (file, text, wrong) => {
    expect(violationsOf([file, text])).toEqual([expect.stringContaining(wrong)]);
  });

  test("two files that write one table, however the statement is written", () => {
    const first = ["src/engine/queue.ts", "export const a = 'INSERT INTO operation(id) VALUES (?)';"] as const;
    const writes = [
      '"UPDATE operation SET state = 1"',
      `\`DELETE FROM operation WHERE id = \${1}\``,
      "`INSERT OR REPLACE INTO operation VALUES (1)`",
      '"update operation " + "set state = 1"',
    ];
    for (const write of writes) {
      const second = ["src/engine/ids.ts", `export const b = ${write};`] as const;
      expect(violationsOf(first, second)).toEqual([
        "src/engine/queue.ts and src/engine/ids.ts both write the table operation",
      ]);
    }
  });

  test("two files that write one table of the server, or one from outside of it", () => {
    const schema = ["src/server/schema.ts", `export const a = \`CREATE TABLE hf_space (name \${1})\`;`] as const;
    const first = ["src/server/spaces.ts", 'export const a = "UPDATE hf_space SET head = 1";'] as const;
    const second = ["src/server/push.ts", 'export const b = "DELETE FROM hf_space";'] as const;
    expect(violationsOf(schema, first)).toEqual([]);
    expect(violationsOf(schema, first, second)).toEqual([
      "src/server/spaces.ts and src/server/push.ts both write the table hf_space",
    ]);
    const outside = ["src/node/server-store.ts", 'export const c = "DELETE FROM hf_space";'] as const;
    expect(violationsOf(schema, first, outside)).toEqual([
      expect.stringContaining("writes the table hf_space, which belongs to the server"),
    ]);
  });

  test("a table written from outside the engine, or under a computed name", () => {
    const schema = ["src/engine/schema.ts", "export const a = `CREATE TABLE operation(id TEXT)`;"] as const;
    const outside = ["src/node/daemon.ts", 'export const b = "DELETE FROM operation";'] as const;
    expect(violationsOf(schema, outside)).toEqual([expect.stringContaining("belongs to the engine")]);
    const hidden = ["src/engine/ids.ts", `export const c = (t: string) => \`DELETE FROM \${t}\`;`] as const;
    expect(violationsOf(hidden)).toEqual([expect.stringContaining("whose name is computed")]);
  });

  test("a file of 501 lines and a function of 71, but not one line less", () => {
    const file = (lines: number) => violationsOf(["src/retry.ts", "//\n".repeat(lines - 1)]);
    expect(file(500)).toEqual([]);
    expect(file(501)).toEqual(["src/retry.ts:1 has 501 lines, more than 500"]);
    const body = (lines: number) => violationsOf(["src/retry.ts", `function f() {\n${"//\n".repeat(lines - 2)}}\n`]);
    expect(body(70)).toEqual([]);
    expect(body(71)).toEqual(["src/retry.ts:2 f has 71 lines, more than 70"]);
  });

  test("a file that does not say what it owns, and a name that is not in kebab-case", () => {
    expect(findViolations(new Map([["src/retry.ts", "const a = 1;"]]))).toEqual([
      expect.stringContaining("does not open"),
    ]);
    expect(violationsOf(["test/simulation/runAll.ts", ""])).toEqual([expect.stringContaining("kebab-case")]);
  });

  test("a lock that names a host", () => {
    const lock = (resolved: string) => JSON.stringify({ packages: { "node_modules/a": { resolved } } });
    expect(findHosts(lock("https://npm.example.com/a.tgz"))).toEqual(["node_modules/a: https://npm.example.com/a.tgz"]);
    expect(findHosts(lock("apps/tracker"))).toEqual([]);
  });
});

describe("what the laws allow passes:", () => {
  const allowed: readonly (readonly [string, string])[] = [
    ["src/index.ts", 'export { connect } from "./client/client.ts";\nexport type { A } from "./operation.ts";'],
    ["src/verbs.ts", 'import * as z from "zod/mini";\nimport type { S } from "@standard-schema/spec";'],
    ["src/node/sqlite.ts", 'import { DatabaseSync } from "node:sqlite";\nimport type { D } from "../database.ts";'],
    ["src/node/handlers.ts", "export const load = (file: string) => import(file);"],
    ["src/node/routes.ts", 'import { streamSSE } from "hono/streaming";'],
    ["src/engine/loop.ts", "export async function drain() { await 1; }"],
    ["src/retry.ts", "export const at = (ms: number) => new Date(ms).toISOString();\nexport const o = { crypto: 1 };"],
    ["src/engine/queue.test.ts", 'import { test } from "vitest";\nimport { open } from "../node/sqlite.ts";\nawait 1;'],
    ["src/engine/queue.ts", 'export const a = "INSERT INTO op VALUES (1) ON CONFLICT DO UPDATE SET a = 1";'],
    ["src/errors.ts", "export class HoldfastError extends Error {}"],
  ];
  test.each(allowed)("%s with %s", (file, text) => {
    expect(violationsOf([file, text])).toEqual([]);
  });
});
