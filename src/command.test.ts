/**
 * Owns the rules of commands: what is refused at enqueue, what each exit means, where text may be cut.
 * Real processes are left to test/transfer/command.test.ts.
 */
import { fc, test as property } from "@fast-check/vitest";
import { describe, expect, test } from "vitest";
import type { CommandPayload, CommandResult } from "./command.ts";
import {
  answerOfEnding,
  checkCommand,
  commandLimits,
  commandRun,
  cutAfter,
  cutBefore,
  displayCommand,
} from "./command.ts";

const command = { argv: ["git", "push"], cwd: "/desk" };
const result: CommandResult = {
  exitCode: 1,
  stdout: "",
  stderr: "remote: no\nfatal: refused\n",
  stdoutBytes: 0,
  stderrBytes: 26,
  isTruncated: false,
  durationMs: 5,
};

describe("a command", () => {
  test("is stored as it was given", () => {
    const whole = {
      ...command,
      env: { LC_ALL: "C" },
      envCredentials: { TOKEN: "ci" },
      timeoutMs: 1,
      stdin: "yes\n",
      successOn: [0, 3],
      retryOn: [1],
      failOn: [75],
      outputBytes: 0,
    };
    expect(checkCommand(whole)).toEqual(whole);
  });

  const refused: readonly (readonly [string, unknown])[] = [
    ["no program", { ...command, argv: [] }],
    ["an empty program", { ...command, argv: [""] }],
    ["a line for a shell", { ...command, argv: "git push" }],
    ["a NUL in an argument", { ...command, argv: ["a", "b\0c"] }],
    ["a relative folder", { ...command, cwd: "work" }],
    ["a name that is no variable", { ...command, env: { "A=B": "1" } }],
    ["a variable of ours", { ...command, env: { HOLDFAST_ATTEMPT: "1" } }],
    ["a variable given twice", { ...command, env: { A: "1" }, envCredentials: { A: "x" } }],
    ["a code with two meanings", { ...command, retryOn: [0] }],
    ["a code to retry and to fail on", { ...command, retryOn: [2], failOn: [2] }],
    ["a code that no process has", { ...command, retryOn: [256] }],
    ["a field that does not exist", { ...command, shell: true }],
    ["one argument too many", { ...command, argv: Array(commandLimits.arguments + 1).fill("x") }],
    ["input of one character too many", { ...command, stdin: "x".repeat(commandLimits.stdinLength + 1) }],
  ];
  test.each(refused)("with %s is refused", (_, payload) => {
    expect(() => checkCommand(payload)).toThrow(expect.objectContaining({ code: "invalid_input" }));
  });

  test("at its limits is accepted", () => {
    checkCommand({ ...command, argv: Array(commandLimits.arguments).fill("x") });
    checkCommand({ ...command, stdin: "x".repeat(commandLimits.stdinLength) });
  });

  test("is shown as one line that a shell would read the same way", () => {
    expect(commandRun.title?.({ argv: ["git", "commit", "-m", "it's\ndone"], cwd: "/" })).toBe(
      "git commit -m 'it'\\''s done'",
    );
    expect(commandRun.title?.({ argv: ["x".repeat(500)], cwd: "/" })).toHaveLength(commandLimits.title);
    expect(displayCommand(["a", ""])).toBe("a ''");
  });

  test("leaves this machine without what its options call secret, its variables' values and its input", () => {
    const argv = ["curl", "--token", "abc", "--password=def", "TOKEN=ghi", "--verbose", "page", "--secret", "--next"];
    const payload = { ...command, argv, env: { A: "jkl" }, envCredentials: { T: "ci" }, stdin: "mno" };
    expect(commandRun.redact?.(payload)).toEqual({
      ...payload,
      argv: [
        "curl",
        "--token",
        "[redacted]",
        "--password=[redacted]",
        "TOKEN=[redacted]",
        "--verbose",
        "page",
        "--secret",
        "--next",
      ],
      env: { A: "[redacted]" },
      stdin: "[redacted]",
    });
  });

  test("asks a person after a crash, because nobody knows whether it may run twice", () => {
    expect(commandRun.onCrash).toBe("ask");
  });
});

describe("an ending", () => {
  const meanings: readonly (readonly [Partial<CommandPayload>, number, string])[] = [
    [{}, 0, "applied"],
    [{}, 75, "retry"],
    [{}, 1, "rejected"],
    [{ successOn: [3] }, 3, "applied"],
    [{ successOn: [3] }, 0, "rejected"],
    [{ successOn: [75] }, 75, "applied"],
    [{ failOn: [75] }, 75, "rejected"],
    [{ retryOn: [1] }, 1, "retry"],
    [{ retryOn: [1] }, 75, "rejected"],
    [{ retryOn: [] }, 75, "rejected"],
  ];
  test.each(meanings)("under %j with code %i is %s", (more, code, kind) => {
    expect(answerOfEnding({ ...command, ...more }, { kind: "exited", code }, result).kind).toBe(kind);
  });

  test("that is a failure says what the program said last, and keeps all it said", () => {
    const answer = answerOfEnding(command, { kind: "exited", code: 1 }, result);
    expect(answer).toMatchObject({
      problem: { code: "command_failed", status: 1, message: "git ended with code 1: fatal: refused", detail: result },
    });
  });

  test("by a signal or the clock is charged, by our own stop is unknown", () => {
    const charged = { kind: "retry", isCharged: true };
    expect(answerOfEnding(command, { kind: "signalled", signal: "SIGSEGV" }, result)).toMatchObject(charged);
    expect(answerOfEnding(command, { kind: "timed_out", afterMs: 9 }, result)).toMatchObject(charged);
    expect(answerOfEnding(command, { kind: "stopped" }, result)).toMatchObject({
      kind: "unknown",
      mayHaveLanded: true,
    });
  });
});

describe("text is cut", () => {
  property.prop([fc.string({ unit: "binary" }), fc.nat(200)])(
    "between characters, at most three bytes away",
    (text, at) => {
      const bytes = new TextEncoder().encode(text);
      const place = Math.min(at, bytes.length);
      const before = cutBefore(bytes, place);
      const after = cutAfter(bytes, place);
      const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
      expect(strict.decode(bytes.subarray(0, before)) + strict.decode(bytes.subarray(before))).toBe(
        strict.decode(bytes),
      );
      strict.decode(bytes.subarray(after));
      expect(place - before).toBeLessThan(4);
      expect(after - place).toBeLessThan(4);
    },
  );

  property.prop([fc.uint8Array(), fc.nat(200)])("somewhere close even in what is no text", (bytes, at) => {
    const place = Math.min(at, bytes.length);
    expect(place - cutBefore(bytes, place)).toBeLessThan(4);
    expect(cutAfter(bytes, place) - place).toBeLessThan(4);
  });
});
