// Owns that a folder is made, or refused with a reason, wherever a person points.
// Leaves who may read a data directory to home.test.ts.
import { mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { makeFolder } from "./folder.ts";

let place = "";
beforeEach(() => {
  place = mkdtempSync(join(tmpdir(), "holdfast-folder-"));
});
afterEach(() => rmSync(place, { recursive: true, force: true }));

test("a folder is made with its parents, for its owner alone, and one that is there stays as it is", () => {
  mkdirSync(join(place, "open"), { mode: 0o755 });
  makeFolder(join(place, "open"));
  makeFolder(join(place, "open", "a", "b"));
  const modeOf = (...names: string[]) => statSync(join(place, ...names)).mode & 0o777;
  expect([modeOf("open"), modeOf("open", "a"), modeOf("open", "a", "b")]).toEqual([0o755, 0o700, 0o700]);
});

test("a name that can be no folder is refused with the place that refuses it", () => {
  writeFileSync(join(place, "file"), "");
  symlinkSync(join(place, "nowhere"), join(place, "dangling"));
  for (const name of [join("file", "in", "it"), join("dangling", "in"), "x".repeat(300)])
    expect(() => makeFolder(join(place, name)), name.slice(0, 20)).toThrow(
      expect.objectContaining({ code: "config_invalid", message: expect.stringContaining("cannot be made") }),
    );
});

// Where there is no /proc, nothing there is endless either.
test.runIf(process.platform === "linux")("a place below /proc is refused at once, and not tried for ever", () => {
  expect(() => makeFolder("/proc/nope/data")).toThrow(
    "the folder /proc/nope/data cannot be made: /proc takes no folder",
  );
});
