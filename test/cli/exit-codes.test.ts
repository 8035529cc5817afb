// Owns the table of exit codes: what a script can rely on, for each way in which a command can end.
import { describe, expect, it } from "vitest";
import { pageLimit } from "../../src/cli/pages.ts";
import type { ErrorCode } from "../../src/errors.ts";
import { errorTable, HoldfastError } from "../../src/errors.ts";
import { defaultSettings, limits } from "../../src/shapes.ts";
import * as has from "./support/fixtures.ts";
import { collection, syncConfig } from "./support/record-fixtures.ts";
import type { Script } from "./support/script.ts";
import { play } from "./support/script.ts";

const failing = (code: ErrorCode): Script => ({
  answers: {
    "queue.get": () => {
      throw new HoldfastError(code, `it went wrong with ${has.ids.note}`, "do this");
    },
  },
});

describe("an error of the engine ends with the code of the table", () => {
  it.each(Object.entries(errorTable).map(([code, { exit }]) => [code as ErrorCode, exit] as const))(
    "%s ends with %d",
    async (code, exit) => {
      const human = await play(["queue", "show", "0f3a9c21"], failing(code));
      expect([human.exit, human.out]).toEqual([exit, ""]);
      expect(human.err).toBe(`✗ it went wrong with ${has.ids.note}\n→ do this\n`);
      const asJson = await play(["queue", "show", "0f3a9c21", "--json"], failing(code));
      expect(asJson.exit).toBe(exit);
      expect(JSON.parse(asJson.err)).toEqual({ code, message: `it went wrong with ${has.ids.note}`, hint: "do this" });
    },
  );
});

describe("usage", () => {
  it.each<readonly [string, readonly string[], string]>([
    ["a misspelt command", ["statsu"], "did you mean status?"],
    ["a misspelt command of a noun", ["queue", "lits"], "did you mean list?"],
    ["a misspelt option", ["queue", "list", "--lan", "x"], "did you mean --lane?"],
    ["a noun without its verb", ["queue"], "which one? status, list"],
    ["a missing argument", ["queue", "show"], "missing required argument"],
    ["too many arguments", ["status", "now"], "too many arguments"],
    ["a missing value", ["queue", "list", "--lane"], "argument missing"],
    ["a status that is none", ["queue", "list", "--status", "done"], "choose one of draft"],
    ["a priority that is no number", ["request", "GET", "https://a.example", "--priority", "high"], "no whole number"],
    ["two times at once", ["request", "GET", "https://a.example", "--at", "18:30", "--in", "5m"], "--at and --in"],
    [
      "a retry preset that is none",
      ["request", "GET", "https://a.example", "--retry", "often"],
      "choose one of default",
    ],
    ["a payload that is no JSON", ["queue", "add", "--type", "x", "--payload", "{"], "is no JSON"],
    ["a body that is no JSON", ["request", "POST", "https://a.example", "--data", "{", "--json-body"], "is no JSON"],
    ["nothing to retry", ["queue", "retry"], "which operations?"],
    ["nowhere to move", ["queue", "move", "0f3a9c21"], "where to?"],
    ["two places to move", ["queue", "move", "0f3a9c21", "--first", "--last"], "where to?"],
    ["an edit of nothing", ["queue", "edit", "0f3a9c21"], "what is to be changed?"],
    ["two scopes", ["queue", "pause", "--lane", "a", "--type", "b"], "one scope at a time"],
    ["a shell that is none", ["completion", "tcsh"], "choose one of bash"],
    [
      "a credential as an argument",
      ["credentials", "set", "api", "s3cret", "--origin", "https://a.example"],
      "too many arguments",
    ],
    ["help for nothing", ["help", "queue", "wyh"], "did you mean why?"],
    ["an option of the command that is queued, without --", ["exec", "git", "--bare"], "unknown option"],
  ])("%s ends with 2", async (_name, argv, words) => {
    const human = await play(argv);
    expect([human.exit, human.out]).toEqual([2, ""]);
    expect(human.err).toContain(words);
    expect(human.err).not.toMatch(/\n\s+at /);
    const asJson = await play([argv[0] ?? "", "--json", ...argv.slice(1)]);
    expect(asJson.exit).toBe(2);
    expect(JSON.parse(asJson.err)).toMatchObject({ code: "invalid_input" });
  });
});

describe("a sync that only somebody's deed lets go on ends with 5, whatever was asked to sync", () => {
  const status = (more: Partial<ReturnType<typeof has.queueStatus>>) =>
    has.queueStatus({ unsent: 1, counts: { ...has.queueStatus().counts, pending: 1 }, ...more });
  const idle = { mode: "eager" as const, isSyncing: false, run: null };
  const collections = { collections: [collection({ asOf: null })], lastSyncAt: null, clockOffsetMs: 0 };
  const offline = { pending: 1, isOffline: true, sentence: "You work offline: nothing is sent." };
  const online = { ...offline, isOffline: false };
  const all = { kind: "all" as const, name: "", reason: "", since: 0 };
  const asked = { collections: ["bookings"], sentence: "" };
  it.each<readonly [string, readonly string[], NonNullable<Script["answers"]>]>([
    ["sync", ["sync", "--wait"], { "sync.run": offline, "queue.status": status({ isWorkingOffline: true }) }],
    ["sync --all", ["sync", "--all"], { "sync.run": offline, "queue.status": status({ isWorkingOffline: true }) }],
    [
      "collections sync",
      ["collections", "sync", "--wait"],
      { "collections.sync": { ...asked, isOffline: true }, "queue.status": status({ isWorkingOffline: true }) },
    ],
    ["sync while paused", ["sync", "--wait"], { "sync.run": online, "queue.status": status({ paused: [all] }) }],
    [
      "collections sync while paused",
      ["collections", "sync", "--wait"],
      { "collections.sync": { ...asked, isOffline: false }, "queue.status": status({ paused: [all] }) },
    ],
  ])("%s", async (_name, argv, answers) => {
    const played = await play(argv, {
      local: syncConfig({ "sync.url": "https://sync.example.com" }),
      answers: {
        ...{ "sync.status": idle, "collections.list": collections, "queue.list": { operations: [], next: null } },
        ...{ "collections.sync": { ...asked, isOffline: true } },
        ...answers,
      },
    });
    expect(played.exit).toBe(5);
  });

  it("and one that waits for the network alone ends with 1", async () => {
    const answers = {
      "sync.run": online,
      "sync.status": idle,
      "queue.status": status({}),
      "queue.list": { operations: [], next: null },
    };
    expect((await play(["sync", "--wait"], { answers })).exit).toBe(1);
  });
});

it("no daemon ends with 3 and says how to start it", async () => {
  const openError = new HoldfastError("daemon_unreachable", "no daemon runs", "start it with `holdfast daemon start`");
  expect(await play(["status"], { openError })).toMatchObject({
    exit: 3,
    err: "✗ no daemon runs\n→ start it with `holdfast daemon start`\n",
  });
});

it("a missing file ends with 4", async () => {
  const played = await play(["request", "POST", "https://a.example", "--data", "@nope.json"]);
  expect([played.exit, played.err]).toEqual([4, "✗ there is no file /desk/nope.json\n→ check the path\n"]);
});

it("a setting that is none is not found, read or set", async () => {
  const answers = { "settings.get": defaultSettings };
  const read = await play(["settings", "get", "retainCont"], { answers });
  const set = await play(["settings", "set", "retainCont", "5"], { answers });
  const err = "✗ there is no setting retainCont\n→ did you mean retainCount?\n";
  expect([read.exit, read.err, set.exit, set.err]).toEqual([4, err, 4, err]);
});

it("a record that is not here cannot be pinned, and the others are", async () => {
  const answers = { "records.pin": { changed: 1, missing: ["n9"] } };
  expect(await play(["records", "pin", "notes", "n1", "n9"], { answers })).toMatchObject({
    exit: 4,
    out: "✓ 1 record stays on this device\n",
    err: "✗ notes has no record n9 on this device\n→ `holdfast collections sync notes n9` asks the server\n",
  });
  const again = { "records.pin": { changed: 0, missing: [] } };
  expect(await play(["records", "pin", "notes", "n1"], { answers: again })).toMatchObject({
    exit: 0,
    out: "Nothing was changed.\n",
  });
});

it("a refused id gives its own code although others were done", async () => {
  const refused = [{ id: has.ids.upload, code: "not_found", message: `no operation ${has.ids.upload}`, hint: "" }];
  const played = await play(["queue", "cancel", "0f3a9c21", "77aa01bc"], {
    answers: { "queue.cancel": { done: [has.ids.note], refused } },
  });
  expect([played.exit, played.err]).toEqual([4, "✗ no operation 77aa01bc\n"]);
});

it("a stack is shown only under --verbose", async () => {
  const script: Script = { answers: {} };
  expect((await play(["status"], script)).err).not.toContain("script.ts");
  expect((await play(["status", "--verbose"], script)).err).toContain("script.ts");
  expect(JSON.parse((await play(["status", "--verbose", "--json"], script)).err)).toHaveProperty("stack");
});

it("the version and help end with 0", async () => {
  expect(await play(["--version"])).toMatchObject({ exit: 0, out: "0.1.0\n" });
  expect((await play([])).out).toContain("Exit codes:");
  expect((await play(["help", "queue", "why"])).out).toContain("$ holdfast queue why");
  expect((await play(["queue", "why", "--help"])).exit).toBe(0);
});

it("the page of a list is as large as the contract allows", () => {
  expect(pageLimit).toBe(limits.page);
});
