// Owns that every example of the help can be typed: a real shell takes it apart, and the command understands each word and sends
// what the contract allows. Leaves what the verbs then do to their own tests, and the examples of the guides to test/docs.test.ts.
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { buildTree, everyCommand } from "../../src/cli/tree.ts";
import { examplesOf } from "./reference.ts";
import { hostFor, play } from "./support/script.ts";

const tree = () => buildTree(hostFor({}), { context: undefined, exit: 0 });
const examples = [...new Set(everyCommand(tree()).flatMap(examplesOf))];

const scratch = mkdtempSync(path.join(tmpdir(), "holdfast-examples-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

/** What the shell hands to the command, for each call of it in the line; nothing else of the line happens. */
function wordsOf(line: string, number: number): readonly (readonly string[])[] {
  const said = path.join(scratch, `${number}.words`);
  const folder = path.join(scratch, String(number));
  mkdirSync(folder);
  const stubs = `holdfast() { printf '%s\\0' "$@" $'\\036' >> "$SAID"; }; for each in jq ssh pass source code "$EDITOR"; do eval "$each() { :; }"; done`;
  execFileSync("bash", ["-c", `${stubs}\n${line.replace(/\bssh \w+ /g, "")}\nwait`], {
    cwd: folder,
    env: { PATH: "/usr/bin:/bin", SAID: said, EDITOR: "edit" },
    stdio: "ignore",
  });
  return readFileSync(said, "utf8")
    .split("\u001e\0")
    .slice(0, -1)
    .map((call) => call.split("\0").slice(0, -1));
}

/** Files that examples name: each holds what fits there. */
const files = Object.fromEntries(
  ["note", "cover", "fixed", "merged", "spec"].map((name) => [`${name}.json`, '{"title":"Tides"}']),
);
const rows = '[{"id":"n1","title":"Tides"}]';
const env = { BACKUP_TARGET: "/backups", EDITOR: "edit" };
const script = {
  files: { ...files, "notes.json": rows, "saved.jsonl": rows.slice(1, -1) },
  stdin: rows.slice(1, -1),
  env,
};

describe("every example of the help", () => {
  it("is found, of every command", () => expect(examples.length).toBeGreaterThan(140));

  it.each(examples.map((line, number) => [line, number] as const))("%s", async (line, number) => {
    const calls = wordsOf(line, number);
    expect(calls.length).toBeGreaterThan(0);
    for (const argv of calls) {
      const root = tree();
      for (const command of everyCommand(root)) command.action(() => {});
      await root.parseAsync([...argv], { from: "user" });
      // A server would really start; that its words are understood is enough.
      if (argv[0] === "server") continue;
      const { exit, err } = await play(argv, script);
      expect([exit, err]).not.toEqual([2, err]);
    }
  });
});
