/**
 * Owns the promise that output is kept whole where it fits, else by head and tail, in the same memory for every amount of it.
 * Real processes are left to test/transfer/command.test.ts.
 */
import { fc, test as property } from "@fast-check/vitest";
import { describe, expect, test } from "vitest";
import { makeOutput } from "./command-output.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

describe("output", () => {
  property.prop([fc.array(fc.string({ unit: "grapheme" })), fc.nat(40)])(
    "that fits is kept as it is, else its head and tail, whatever blocks it comes in",
    (parts, limit) => {
      const whole = parts.join("");
      const output = makeOutput(limit, []);
      for (const part of parts) output.push(bytes(part));
      const size = bytes(whole).length;
      expect(output.totalBytes()).toBe(size);
      expect(output.isTruncated()).toBe(size > limit);
      if (size <= limit) {
        expect(output.text()).toBe(whole);
        return;
      }
      const cut = /^(.*)\n… (\d+) bytes left out …\n(.*)$/su.exec(output.text());
      const [, head = "", left = "", tail = ""] = cut ?? [];
      expect(whole.startsWith(head)).toBe(true);
      expect(whole.endsWith(tail)).toBe(true);
      expect(bytes(head).length + Number(left) + bytes(tail).length).toBe(size);
      expect(bytes(head).length + bytes(tail).length).toBeLessThanOrEqual(limit);
    },
  );

  test("that is longer than every buffer keeps its first and last bytes", () => {
    const output = makeOutput(100, []);
    for (let index = 0; index < 5_000; index += 1) output.push(bytes(`${index},`));
    expect(output.text()).toMatch(/^0,1,2,.*\n… \d+ bytes left out …\n.*,4998,4999,$/s);
  });

  test("never shows a secret that it was given, also not across a cut", () => {
    const secret = "hunter2-secret";
    for (let before = 0; before < 40; before += 1) {
      const output = makeOutput(40, [secret]);
      output.push(bytes(`${"a".repeat(before)}${secret}${"b".repeat(100 - before)}${secret}${"c".repeat(before)}`));
      expect(output.text()).not.toMatch(/hun|cret|unter/);
    }
  });

  test("never shows a part of a secret, however long it is, and where one is the beginning of another", () => {
    const long = "s".repeat(9_000);
    for (const before of [0, 15, 19]) {
      const output = makeOutput(40, [long]);
      output.push(bytes(`${"a".repeat(before)}${long}${"b".repeat(10_000)}${long}${"c".repeat(before)}`));
      expect(output.text()).not.toContain("s".repeat(2));
    }
    for (const secrets of [
      ["hunter", "hunter2-secret"],
      ["hunter2-secret", "hunter"],
      ["2-secret", "hunter2-"],
    ]) {
      const output = makeOutput(100, secrets);
      output.push(bytes("token=hunter2-secret"));
      expect(output.text()).toBe(`token=${"*".repeat(14)}`);
    }
  });

  test("that is no text is marked and does not throw", () => {
    const output = makeOutput(10, []);
    output.push(Uint8Array.from([0xff, 0x00, 0x80, 0x41]));
    expect(output.text()).toBe("\ufffd\0\ufffdA");
  });
});
