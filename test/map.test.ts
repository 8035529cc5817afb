// Owns that the map in ARCHITECTURE.md is whole: every source file stands in the table of its place, and no table names another.
// Leaves what the lines say to whoever changes a file.
import { globSync, readFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";

const root = path.resolve(import.meta.dirname, "..");
const map = readFileSync(path.join(root, "ARCHITECTURE.md"), "utf8");

/** Files named in the table that begins with this place. */
function namedIn(place: string): readonly string[] {
  const table = map.split("\n\n").find((part) => part.startsWith(place)) ?? "";
  const cells = table.split("\n").map((line) => line.split("|")[1] ?? "");
  return cells.flatMap((cell) => [...cell.matchAll(/`([\w.-]+\.ts)`/g)].map(([, name = ""]) => name)).sort();
}

const filesOf = (folder: string): readonly string[] =>
  globSync(`${folder}*.ts`, { cwd: root })
    .map((file) => path.basename(file))
    .filter((file) => !file.endsWith(".test.ts"))
    .sort();

test.each([
  ["| rules: `src/`", "src/"],
  ["| `src/engine/`", "src/engine/"],
  ["| `src/client/`", "src/client/"],
  ["| `src/node/`", "src/node/"],
  ["| `src/cli/`", "src/cli/"],
  ["| `src/server/`", "src/server/"],
  ["| `src/testing/`", "src/testing/"],
])("%s names the files of %s and no others", (place, folder) => {
  expect(namedIn(place)).toEqual(filesOf(folder));
});
