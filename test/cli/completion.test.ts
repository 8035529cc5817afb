// Owns completion as shells use it: the scripts are sourced in the real shells that are here, candidates come from the live queue.
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { HoldfastError } from "../../src/errors.ts";
import * as has from "./support/fixtures.ts";
import { conflict } from "./support/record-fixtures.ts";
import type { Script } from "./support/script.ts";
import { play } from "./support/script.ts";

const scratch = mkdtempSync(path.join(tmpdir(), "holdfast-completion-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));
const main = path.resolve("src/cli/main.ts");

const live: Script = {
  answers: {
    "queue.list": {
      operations: [has.waitingNote, has.failedPush, has.operation({ lane: "needs quoting $(x)" })],
      next: null,
    },
    "conflicts.list": { conflicts: [conflict()], next: null, open: 1 },
    "network.status": {
      status: "online",
      isWorkingOffline: false,
      pokes: [],
      lastCheckAt: null,
      remotes: [has.onlineRemote],
    },
  },
};

async function candidates(...words: readonly string[]): Promise<readonly string[]> {
  const { out, exit, err } = await play(["complete", "--", ...words], live);
  expect([exit, err]).toEqual([0, ""]);
  const lines = out.trimEnd().split("\n");
  expect(lines.at(-1)).toMatch(/^:\d+$/);
  return lines.slice(0, -1).map((line) => line.split("\t")[0] ?? "");
}

describe("candidates", () => {
  it.each<readonly [readonly string[], readonly string[]]>([
    [["req"], ["request"]],
    [["queue", "wh"], ["why"]],
    [
      ["queue", "why", ""],
      ["0f3a9c21", "5b1e00d4"],
    ],
    [["queue", "why", "5b"], ["5b1e00d4"]],
    [["queue", "list", "--lane", ""], ["notes"]],
    [["queue", "list", "--status", "f"], ["failed"]],
    [["queue", "list", "--remote", ""], ["https://api.example.com"]],
    [["queue", "resolve", "0f3a9c21", "--choose", "re"], ["remote"]],
    [["queue", "resolve", "0f3a9c21", "--choose", "v"], []],
    [["conflicts", "resolve", "c0ffee01", "--choose", "v"], ["value"]],
    [["conflicts", "show", ""], ["0000c0ff"]],
    [["conflicts", "list", "--status", "un"], ["undone"]],
    [["queue", "list", "--order", "o"], ["oldest"]],
    [["records", "list", "notes", "--order", ""], []],
    [["config", "get", "daemon.po"], ["daemon.port"]],
    [["settings", "set", "syncM"], ["syncMode"]],
    [["request", "PO"], ["POST"]],
    [
      ["completion", ""],
      ["bash", "zsh", "fish"],
    ],
    [
      ["queue", "show", "--ver"],
      ["--version", "--verbose"],
    ],
  ])("after %j", async (words, expected) => {
    expect(new Set(await candidates(...words))).toEqual(new Set(expected));
  });

  it.each<readonly [readonly string[], string]>([
    [["upload", ""], ":0"],
    [["upload", "./bi"], ":0"],
    [["upload", "big.bin", ""], ":4"],
    [["queue", "export", "--output", ""], ":0"],
    [["queue", "import", ""], ":0"],
    [["--home", "/tm"], ":0"],
    [["exec", "--", "./back"], ":0"],
    [["queue", "show", "nothing-like-it"], ":4"],
    [["records", "list", ""], ":4"],
    [["queue", "list", "--lane", ""], ":4"],
  ])("after %j may be files (:0), or not (:4)", async (words, directive) => {
    const { out } = await play(["complete", "--", ...words], live);
    expect(out.trimEnd().split("\n").at(-1)).toBe(directive);
  });

  it("from outside are names that every shell takes as they are", async () => {
    const names = ["a;reboot", "a&b", "a>b", "~root", "-rf", "a*", "a!b", "a(b", "a|b", "{a,b}", "#a", "[a]"];
    const good = ["notes", "mail.2", "größe", "https://api.example.com:8080/x", "a_b-c"];
    const operations = [...names, ...good].map((lane) => has.operation({ lane }));
    const { out } = await play(["complete", "--", "queue", "list", "--lane", ""], {
      ...live,
      answers: { ...live.answers, "queue.list": { operations, next: null } },
    });
    expect(out.split("\n").flatMap((line) => (line.includes("\t") ? [line.split("\t")[0]] : []))).toEqual(good);
  });

  it("are there without a daemon too, which is not started for them", async () => {
    const openError = new HoldfastError("daemon_unreachable", "no daemon runs", "");
    const played = await play(["complete", "--", "queue", "l"], { openError });
    expect([played.exit, played.out.split("\n")[0]?.split("\t")[0]]).toEqual([0, "list"]);
  });
});

// What each shell does when a person has typed "holdfast queue wh" and presses Tab.
const bashTab = `
source "$1"; source "$1"
ask() { COMP_LINE=$1; COMP_POINT=\${#1}; read -ra COMP_WORDS <<< "$1"; COMP_CWORD=$((\${#COMP_WORDS[@]} - 1)); _holdfast; printf "%s\\n" "\${COMPREPLY[@]}"; }
ask "holdfast queue wh"; ask 'holdfast queue $(touch evaluated)'
compopt() { printf "no-files %s\\n" "$*"; }
ask "holdfast upload ./"; printf "then\\n"; ask "holdfast request POST "`;
const shells = [
  ["bash", bashTab],
  ["zsh", 'autoload -U compinit; compinit -D; source "$1"; print ok'],
  ["fish", "source $argv[1]; complete -C 'holdfast queue wh'"],
] as const;

describe("the script is sourced", () => {
  for (const [shell, test] of shells) {
    const isHere = spawnSync(shell, ["-c", "exit 0"]).status === 0;
    it.skipIf(!isHere)(`in ${shell}${isHere ? "" : " (not on this machine)"}`, async () => {
      const { out } = await play(["completion", shell]);
      const script = path.join(scratch, `holdfast.${shell}`);
      writeFileSync(script, out);
      const bin = path.join(scratch, "holdfast");
      writeFileSync(bin, `#!/bin/sh\nexec '${process.execPath}' '${main}' "$@"\n`, { mode: 0o755 });
      const env = { ...process.env, PATH: `${scratch}:${process.env.PATH}`, HOLDFAST_HOME: path.join(scratch, "home") };
      const said = execFileSync(shell, shell === "fish" ? ["-c", test, script] : ["-c", test, shell, script], {
        env,
        encoding: "utf8",
        stdio: ["ignore", "pipe", "pipe"],
        cwd: scratch,
      });
      expect(said).toMatch(shell === "zsh" ? /ok/ : /^why/m);
      // A word that a file may be is left to the shell, any other is not.
      if (shell === "bash") expect(said).toMatch(/\n\s*then\nno-files \+o default\n/);
      expect(existsSync(path.join(scratch, "evaluated")), "what was typed is not evaluated").toBe(false);
    });
  }
});
