/**
 * Owns the promise that a mistake in what a program gives to `openEngine` is named before anything is opened.
 */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import * as z from "zod/mini";
import { operation } from "../handler.ts";
import { openEngine } from "./engine.ts";

const scratch = mkdtempSync(join(tmpdir(), "holdfast-options-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

test.each<[string, object, string]>([
  ["no directory", { directory: undefined }, 'openEngine: directory must be a path, e.g. "./data"; got undefined'],
  ["a misspelt option", { setings: {} }, 'openEngine: the option "setings" does not exist; did you mean "settings"?'],
  [
    "a misspelt setting",
    { settings: { concurency: 3 } },
    'openEngine: settings: the option "concurency" does not exist; did you mean "concurrency"?',
  ],
  ["a text for a number", { settings: { concurrency: "3" } }, "openEngine: settings.concurrency: expected a number"],
  ["a type without its name", { types: [{ run: () => {} }] }, "openEngine: a type: type: expected a string"],
  ["a name that nothing can be queued under", { types: [{ type: "a".repeat(201) }] }, "type: expected at most 200"],
  [
    "a preset that does not exist",
    { types: [{ type: "a", retry: "defualt" }] },
    'openEngine: the type "a": retry: expected one of default, lock, transfer, progressive, or an object',
  ],
  ["a time before now", { types: [{ type: "a", timeoutMs: -1 }] }, "timeoutMs: expected at least 0"],
  ["a priority in words", { types: [{ type: "a", priority: "high" }] }, "priority: expected a number"],
  [
    "an end that does not exist",
    { types: [{ type: "a", onFailure: "stop" }] },
    "onFailure: expected one of hold, skip",
  ],
  ["a misspelt part of a type", { types: [{ type: "a", runn: () => {} }] }, 'did you mean "run"?'],
  ["one type for a list", { types: { type: "a" } }, "openEngine: types must be a list"],
  ["a misspelt policy", { network: { probBudget: 3 } }, 'did you mean "probeBudget"?'],
  [
    "a policy of another kind",
    { network: { probeBudget: "3" } },
    'network: probeBudget must be a number from 0 on; got "3"',
  ],
  ["a text for a yes", { commands: "no" }, 'commands must be true or false; got "no"'],
  ["a log that is no function", { log: console }, "openEngine: log must be a function"],
])("%s is named, and nothing is opened", async (_name, wrong, message) => {
  const directory = join(scratch, "never");
  await expect(openEngine({ directory, ...wrong } as never)).rejects.toThrow(message);
  expect(existsSync(directory)).toBe(false);
});

test("what is right opens, with a declared type and settings that are left out", async () => {
  const type = operation({ type: "note.save", input: z.unknown(), run: async () => null });
  const directory = join(scratch, "right");
  const engine = await openEngine({
    directory,
    types: [type],
    settings: { concurrency: 2 },
    network: {},
    log: () => {},
  });
  expect(() => engine.register({ type: "later", retry: "never" } as never)).toThrow('the type "later": retry');
  expect(engine.handle("settings.get", {})).toMatchObject({ concurrency: 2 });
  engine.close();
});
