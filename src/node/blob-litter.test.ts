/**
 * Owns the promise that a collection takes nothing that was captured after it had looked, at the worst moment for it.
 * Collecting and sweeping in quiet are left to blobs.test.ts.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, expect, test, vi } from "vitest";
import { makeBlobs } from "./blobs.ts";

/** What happens between the collector's look at a file and its taking it aside. */
const meanwhile = vi.hoisted(() => ({ run: async () => {} }));

vi.mock("node:fs/promises", async (original) => {
  const actual = await original<typeof import("node:fs/promises")>();
  const rename: typeof actual.rename = async (from, to) => {
    if (path.basename(String(to)).startsWith("trash-")) await meanwhile.run();
    return actual.rename(from, to);
  };
  return { ...actual, rename };
});

const folder = mkdtempSync(path.join(tmpdir(), "holdfast-litter-"));
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test("a capture between the look and the taking keeps its content", async () => {
  const source = path.join(folder, "a.txt");
  writeFileSync(source, "text");
  const blobs = makeBlobs(folder);
  await blobs.captureFile(source);
  let captured = 0;
  meanwhile.run = async () => {
    captured += 1;
    await blobs.captureFile(source);
  };
  const ref = await blobs.captureFile(source);
  expect(await blobs.collect([], { minAgeMs: 0 })).toEqual({ removed: 0, freedBytes: 0 });
  expect(captured).toBe(1);
  const file = await blobs.open(ref);
  await file.close();
});
