// Owns the rules of config.toml: its errors, its edits, its meaning, the types that it names. Leaves a live reload to test/crash/.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  checkConfig,
  configKeys,
  daemonConfigOf,
  defaultDaemonConfig,
  networkConfigOf,
  parseDuration,
  parseSize,
  settingsDifference,
  settingsOf,
} from "../config.ts";
import { applySettings, getConfigValue, parseConfig, parseConfigValue, readConfig, setConfigValue } from "./config.ts";

let base = "";
let path = "";
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), "holdfast-config-"));
  path = join(base, "config.toml");
});
afterEach(() => rmSync(base, { recursive: true, force: true }));

const messageOf = (text: string): string => {
  try {
    parseConfig(text, "/c.toml");
  } catch (error) {
    return (error as Error).message;
  }
  return "accepted";
};

test.each([
  ["30s", 30_000],
  ["1.5 h", 5_400_000],
  ["7d", 604_800_000],
  [250, 250],
  ["250", null],
  ["-1s", null],
  ["1 year", null],
  [1.5, null],
])("the duration %j is %j ms", (text, ms) => expect(parseDuration(text)).toBe(ms));

test.each([
  ["64 MiB", 67_108_864],
  ["10MB", 10_000_000],
  [5, 5],
  ["5 potatoes", null],
])("the size %j is %j bytes", (text, bytes) => expect(parseSize(text)).toBe(bytes));

test("an empty file is the defaults, and says nothing about the settings", () => {
  const config = readConfig(path);
  expect(daemonConfigOf(config)).toEqual(defaultDaemonConfig);
  expect(settingsOf(config)).toEqual({});
  expect(networkConfigOf(config)).toEqual({ probes: [] });
});

test("every section becomes settings", () => {
  const text = `
[queue]
max_size = "64 MiB"
retain_for = "2d"
[retry]
default = "progressive"
"file.upload" = "transfer"
[retry."http.request"]
preset = "lock"
max_attempts = 9
delays = ["1s", "1m"]
[sync]
mode = "periodic"
interval = "1m"
record_history = "30d"
decision_stale = "12h"
[conflict]
default = "merge"
"http.request" = "local_wins"
[command]
enabled = true
[[network.probes]]
remote = "https://api.example.com"
url = "https://api.example.com/health"
status = 204
`;
  const config = parseConfig(text, path);
  expect(settingsOf(config)).toEqual({
    maxBytes: 67_108_864,
    retainMs: 172_800_000,
    retry: "progressive",
    retryPresets: {},
    retryByType: {
      "file.upload": "transfer",
      "http.request": { maxAttempts: 9, initialMs: 1_000, maxMs: 15_000, jitter: 0.2, delaysMs: [1_000, 60_000] },
    },
    syncMode: "periodic",
    syncIntervalMs: 60_000,
    recordHistoryMs: 30 * 86_400_000,
    conflictStaleMs: 43_200_000,
    conflict: "merge",
    conflictByType: { "http.request": "local_wins" },
    isCommandEnabled: true,
  });
  expect(networkConfigOf(config).probes).toEqual([
    { remote: "https://api.example.com", url: "https://api.example.com/health", status: 204 },
  ]);
});

test("a table under the name of a preset changes what the preset means", () => {
  const text = `
[retry]
default = "progressive"
lock = { max_attempts = 9 }
transfer = { preset = "lock", max = "1m" }
"file.upload" = "transfer"
"http.request" = { preset = "lock", jitter = 0 }
`;
  const lock = { maxAttempts: 9, initialMs: 1_000, maxMs: 15_000, jitter: 0.2 };
  expect(settingsOf(parseConfig(text, path))).toEqual({
    retry: "progressive",
    retryPresets: { lock, transfer: { maxAttempts: 5, initialMs: 1_000, maxMs: 60_000, jitter: 0.2 } },
    retryByType: { "file.upload": "transfer", "http.request": { ...lock, jitter: 0 } },
  });
  const general = settingsOf(parseConfig("[retry.default]\nmax_attempts = 2\n", path));
  expect(general.retryPresets?.default?.maxAttempts).toBe(2);
  expect(() => parseConfig("[retry]\nlock = { tries = 3 }\n", path)).toThrow("retry.lock");
});

describe("an error names file, line and key:", () => {
  test.each([
    ["[queue]\n\nconcurency = 3\n", '/c.toml:3: queue.concurency: there is no such key; did you mean "concurrency"?'],
    ["[deamon]\nport = 1\n", '/c.toml:1: deamon: there is no such key; did you mean "daemon"?'],
    ["[daemon]\nport = 70000\n", "/c.toml:2: daemon.port: expected at most 65535"],
    ['[daemon]\nport = "80"\n', "/c.toml:2: daemon.port: expected a number"],
    ['[daemon]\nallowed_origins = ["*"]\n', "/c.toml:2: daemon.allowed_origins.0: expected an origin such as"],
    ['[daemon]\nallowed_origins = ["https://a.example/"]\n', "expected an origin such as"],
    ['[sync]\nmode = "sometimes"\n', "/c.toml:2: sync.mode: expected one of eager, periodic, manual"],
    ['[sync]\ninterval = "10ms"\n', "/c.toml:2: sync.interval: expected at least one second"],
    ['[queue]\nretain_for = "soon"\n', "/c.toml:2: queue.retain_for: expected a duration"],
    ['[retry]\n"http.request" = "often"\n', "/c.toml:2: retry.http.request: expected a preset"],
    ["[queue]\nconcurrency = \n", "/c.toml:2: "],
    ["[queue]\nconcurrency = 1\nconcurrency = 2\n", "/c.toml:3: "],
  ])("%j", (text, expected) => expect(messageOf(text)).toContain(expected));
});

describe("setting one value", () => {
  const set = (text: string, key: string, value: unknown): string => {
    writeFileSync(path, text);
    setConfigValue(path, key, value);
    return readFileSync(path, "utf8");
  };

  test.each([
    ["", "queue.concurrency", 3, "[queue]\nconcurrency = 3\n"],
    [
      "# mine\n[queue] # here\nconcurrency = 2 # few\n\n# next\n[sync]\n",
      "queue.concurrency",
      3,
      "# mine\n[queue] # here\nconcurrency = 3 # few\n\n# next\n[sync]\n",
    ],
    [
      "[queue]\nretain_count = 1\n\n# about sync\n[sync]\n",
      "queue.concurrency",
      3,
      "[queue]\nretain_count = 1\nconcurrency = 3\n\n# about sync\n[sync]\n",
    ],
    [
      '[daemon]\nallowed_origins = [\n  "http://a", # one\n]\nport = 1\n',
      "daemon.allowed_origins",
      ["http://b"],
      '[daemon]\nallowed_origins = [ "http://b" ]\nport = 1\n',
    ],
    ["queue.concurrency = 2\n", "queue.concurrency", 3, "queue.concurrency = 3\n"],
    ["[queue]\nconcurrency = 2\n", "queue.concurrency", undefined, "[queue]\n"],
    ["[queue]\n", "types", ["a.mjs"], 'types = [ "a.mjs" ]\n\n[queue]\n'],
    ["[retry]\ndefault = 'lock' # \"#\"\n", "retry.default", "transfer", '[retry]\ndefault = "transfer" # "#"\n'],
    ["", "retry.http.request", "lock", '[retry]\n"http.request" = "lock"\n'],
    ["", "conflict.http.request", "merge", '[conflict]\n"http.request" = "merge"\n'],
  ])("in %j: %s = %j", (text, key, value, expected) => {
    expect(set(text, key, value)).toBe(expected);
    expect(getConfigValue(path, key)).toEqual(value);
  });

  test.each([
    ["[queue]\nconcurrency = 2\n", "queue.concurency", 3, "did you mean"],
    ["[queue]\nconcurrency = 2\n", "queue.concurrency", "many", "expected"],
    ["queue = { concurrency = 2 }\n", "queue.concurrency", 3, "cannot be changed"],
    ["", "queue..x", 3, "not a configuration key"],
  ])("is refused and leaves the file as it is, in %j: %s = %j", (text, key, value, words) => {
    writeFileSync(path, text);
    expect(() => setConfigValue(path, key, value)).toThrow(words);
    expect(readFileSync(path, "utf8")).toBe(text);
  });

  test("whatever comments and order a file has, they survive any edit", () => {
    const lines = fc.shuffledSubarray(["# top", "[queue]", "[sync]", "[command]", "", "# c = 1"], { minLength: 1 });
    const edits = fc.array(
      fc.tuple(fc.constantFrom("queue.concurrency", "queue.retain_count"), fc.integer({ min: 1, max: 999 })),
      { minLength: 1, maxLength: 5 },
    );
    fc.assert(
      fc.property(lines, edits, (content, changes) => {
        writeFileSync(path, `${content.join("\n")}\n`);
        for (const [key, value] of changes) setConfigValue(path, key, value);
        const after = readFileSync(path, "utf8").split("\n");
        for (const line of content.filter((each) => each !== "")) expect(after).toContain(line);
        for (const [key, value] of new Map(changes)) expect(getConfigValue(path, key)).toBe(value);
      }),
      { numRuns: 100 },
    );
  });
});

test("a value is read as a person types it", () => {
  expect(["3", "true", '"3"', "30s", '["a"]', "http://a"].map(parseConfigValue)).toEqual([
    3,
    true,
    "3",
    "30s",
    ["a"],
    "http://a",
  ]);
});

test("only what changed in the file goes to the engine, and what was taken out goes back to its default", () => {
  expect(settingsDifference({ concurrency: 3, retry: "lock" }, { concurrency: 3, syncMode: "manual" })).toEqual({
    retry: "default",
    syncMode: "manual",
  });
  const told: unknown[] = [];
  const engine = { handle: (_verb: string, input: unknown) => told.push(input) } as unknown as Parameters<
    typeof applySettings
  >[0];
  const applied = join(base, "applied.json");
  applySettings(engine, applied, { concurrency: 3 });
  applySettings(engine, applied, { concurrency: 3 });
  applySettings(engine, applied, { concurrency: 4 });
  expect(told).toEqual([{ concurrency: 3 }, { concurrency: 4 }]);
});

test("the list of keys names nothing that the shape refuses", () => {
  for (const { key } of configKeys.filter((each) => !each.key.includes("<"))) {
    const [section, name] = key.split(".");
    const content = name === undefined ? { [section ?? ""]: null } : { [section ?? ""]: { [name]: null } };
    expect(checkConfig(content).issues.filter((issue) => issue.message.includes("no such key"))).toEqual([]);
  }
});
