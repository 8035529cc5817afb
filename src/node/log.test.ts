// Owns the rules of the log: secrets, size, reading back. Leaves what is logged to its callers.
import { mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { followLog, logLimits, openLog, readLog, redact, redactText } from "./log.ts";

let base = "";
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), "holdfast-log-"));
});
afterEach(() => rmSync(base, { recursive: true, force: true }));

test.each([
  ["https://user:hunter2@example.com/a", "https://[redacted]@example.com/a"],
  ["https://example.com/a?x=1&access_token=hunter2&y=2", "https://example.com/a?x=1&access_token=[redacted]&y=2"],
  ["https://example.com/?api_key=hunter2#part", "https://example.com/?api_key=[redacted]#part"],
  ["https://s3.example.com/o?X-Amz-Signature=hunter2&x=1", "https://s3.example.com/o?X-Amz-Signature=[redacted]&x=1"],
  ["sent Authorization: Bearer abcdefgh.hunter2", "sent Authorization: Bearer [redacted]"],
  ["https://example.com/keys?monkey=1", "https://example.com/keys?monkey=1"],
])("%s becomes %s", (text, expected) => expect(redactText(text)).toBe(expected));

test("secrets go by the name of their key, at any depth and in errors; the idempotency key stays", () => {
  const secret = "hunter2";
  const value = {
    headers: {
      Authorization: secret,
      cookie: secret,
      "Set-Cookie": secret,
      "X-Api-Key": secret,
      "Idempotency-Key": "kept",
    },
    deep: [{ refresh_token: secret, password: secret, clientSecret: secret, credentials: { a: secret } }],
    error: new Error(`GET https://a:${secret}@b/`, { cause: new Error(`?token=${secret}`) }),
  };
  const text = JSON.stringify(redact(value));
  expect(text).not.toContain(secret);
  expect(text).toContain('"Idempotency-Key":"kept"');
});

test("what refers to itself is cut at a depth, and long texts at a length", () => {
  const loop: { self?: unknown } = {};
  loop.self = loop;
  expect(JSON.stringify(redact(loop))).toContain("[too deep]");
  expect(redactText("x".repeat(logLimits.textLength + 1))).toHaveLength(logLimits.textLength + 1);
});

test("lines go to a private file, from the chosen level on", () => {
  const path = join(base, "daemon.log");
  const log = openLog({ path, level: "warn" });
  log.write("info", "not this");
  log.write("warn", "this", { token: "hunter2" });
  log.setLevel("debug");
  log.write("debug", "and this");
  log.close();
  const lines = readFileSync(path, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  expect(lines.map((line) => [line.level, line.msg, line.token])).toEqual([
    ["warn", "this", "[redacted]"],
    ["debug", "and this", undefined],
  ]);
  expect(statSync(path).mode & 0o777).toBe(0o600);
});

test("files never grow beyond their limit and never become more than four", () => {
  const path = join(base, "daemon.log");
  const log = openLog({ path, fileBytes: 2_000 });
  for (let index = 0; index < 200; index += 1) log.write("info", `line ${index}`);
  log.close();
  const files = readdirSync(base).sort();
  expect(files).toEqual(["daemon.log", "daemon.log.1", "daemon.log.2", "daemon.log.3"]);
  for (const file of files) expect(statSync(join(base, file)).size).toBeLessThanOrEqual(2_000);
  expect(readLog(path, 30).map((line) => (JSON.parse(line) as { msg: string }).msg)).toEqual(
    Array.from({ length: 30 }, (_, index) => `line ${170 + index}`).slice(-readLog(path, 30).length),
  );
});

test("a log that cannot be written loses lines and nothing else", () => {
  const log = openLog({ path: join(base, "daemon.log"), fileBytes: 10 });
  rmSync(base, { recursive: true });
  expect(() => {
    for (let index = 0; index < 10; index += 1) log.write("error", "lost");
  }).not.toThrow();
  log.close();
});

test("following tells each new line once, across a rotation", async () => {
  const path = join(base, "daemon.log");
  const log = openLog({ path });
  log.write("info", "before");
  const seen: string[] = [];
  const stop = followLog(path, (line) => seen.push((JSON.parse(line) as { msg: string }).msg), 10);
  log.write("info", "one");
  log.write("info", "two");
  await expect.poll(() => seen, { timeout: 10_000 }).toEqual(["one", "two"]);
  // In one step, so that the look after it finds the old file gone with a line that nobody has heard.
  log.write("info", "three ö");
  renameSync(path, `${path}.1`);
  writeFileSync(path, `${JSON.stringify({ msg: "four" })}\n`);
  await expect.poll(() => seen, { timeout: 10_000 }).toEqual(["one", "two", "three ö", "four"]);
  stop();
  log.close();
});

test("lines go to the stream that is named, and not where a command answers", () => {
  const lines: string[] = [];
  const log = openLog({ stream: { write: (line) => lines.push(line) } });
  log.write("info", "the server is ready");
  log.close();
  expect(lines.map((line) => JSON.parse(line).msg)).toEqual(["the server is ready"]);
});
