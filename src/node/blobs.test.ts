/**
 * Owns the promise that what was captured is what is read, that nothing half-written is ever found, and that collecting is safe.
 * A full disk and big files are left to test/transfer/blobs.test.ts.
 */
import { createHash } from "node:crypto";
import {
  appendFileSync,
  chmodSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fc, test as property } from "@fast-check/vitest";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { FileRef } from "../upload.ts";
import { checkFileRef } from "../upload.ts";
import type { Blobs } from "./blobs.ts";
import { makeBlobs } from "./blobs.ts";

let folder: string;
let source: string;
let blobs: Blobs;
const text = "the quick brown fox";
const hashOf = (content: string | Uint8Array) => createHash("sha256").update(content).digest("hex");

test("content whose folder cannot be looked into at this moment is not gone", async () => {
  const looped = path.join(folder, "data", "blobs", "ab");
  mkdirSync(path.dirname(looped), { recursive: true });
  symlinkSync(looped, looped);
  await expect(blobs.open({ blob: "ab".repeat(32), sizeBytes: 1 })).rejects.toMatchObject({ code: "io_failed" });
  await expect(blobs.open({ blob: "cd".repeat(32), sizeBytes: 1 })).rejects.toMatchObject({ code: "file_missing" });
});

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "holdfast-blobs-"));
  source = path.join(folder, "fox.txt");
  writeFileSync(source, text);
  blobs = makeBlobs(path.join(folder, "data"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

async function contentOf(ref: FileRef, from: Blobs = blobs): Promise<string> {
  const file = await from.open(ref);
  const blocks: Uint8Array[] = [];
  for await (const block of file.read(0, file.sizeBytes)) blocks.push(block);
  await file.assertUnchanged();
  await file.close();
  return Buffer.concat(blocks).toString();
}
const inStore = () =>
  readdirSync(path.join(folder, "data/blobs"), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath, entry.name));
const refused = (code: string) => expect.objectContaining({ code });
const overwrite = (file: string, content: string) => {
  chmodSync(file, 0o600);
  writeFileSync(file, content, { flag: "r+" });
};

describe("a captured file", () => {
  test.each(["copy", "link", "reference"] as const)(
    "by %s gives a valid reference and its content back",
    async (mode) => {
      const ref = await blobs.captureFile(source, { mode, mediaType: "text/plain" });
      expect(checkFileRef(ref)).toEqual(ref);
      expect(ref).toMatchObject({ sizeBytes: text.length, name: "fox.txt", mediaType: "text/plain" });
      expect("blob" in ref ? ref.blob : ref.sha256).toBe(hashOf(text));
      expect(await contentOf(ref)).toBe(text);
      expect(await contentOf(ref, makeBlobs(path.join(folder, "data")))).toBe(text);
    },
  );

  test("by copy stays what it was when the original is changed or deleted", async () => {
    const ref = await blobs.captureFile(source);
    overwrite(source, "another");
    expect(await contentOf(ref)).toBe(text);
    rmSync(source);
    expect(await contentOf(ref)).toBe(text);
    expect(inStore()).toEqual([path.join(folder, "data/blobs", hashOf(text).slice(0, 2), hashOf(text))]);
    expect(statSync(inStore()[0] as string).mode & 0o777).toBe(0o400);
  });

  test("by link survives deletion and replacement of the original, and takes no room", async () => {
    const ref = await blobs.captureFile(source, { mode: "link" });
    expect(statSync(source).nlink).toBe(2);
    rmSync(source);
    writeFileSync(source, "another");
    expect(await contentOf(ref)).toBe(text);
  });

  test("by link is refused, not altered, when the original was edited in place, and a later copy heals it", async () => {
    const ref = await blobs.captureFile(source, { mode: "link" });
    overwrite(source, "THE");
    await expect(blobs.open(ref)).rejects.toEqual(refused("file_changed"));
    writeFileSync(path.join(folder, "again.txt"), text);
    await blobs.captureFile(path.join(folder, "again.txt"));
    expect(await contentOf(ref)).toBe(text);
  });

  test("by link is found beside another link of the same content that was edited", async () => {
    const other = path.join(folder, "other.txt");
    writeFileSync(other, text);
    await blobs.captureFile(source, { mode: "link" });
    const ref = await blobs.captureFile(other, { mode: "link" });
    overwrite(source, "THE");
    expect(await contentOf(ref)).toBe(text);
  });

  test("by link through a symbolic link captures the file behind it", async () => {
    const alias = path.join(folder, "alias");
    symlinkSync(source, alias);
    const ref = await blobs.captureFile(alias, { mode: "link" });
    rmSync(alias);
    expect(await contentOf(ref)).toBe(text);
  });

  test("by reference is refused once it is gone, longer, or other, even with the old times", async () => {
    const ref = await blobs.captureFile(source, { mode: "reference" });
    const { atime, mtime } = statSync(source);
    overwrite(source, "THE");
    utimesSync(source, atime, mtime);
    await expect(blobs.open(ref)).rejects.toEqual(refused("file_changed"));
    appendFileSync(source, "x");
    await expect(blobs.open(ref)).rejects.toEqual(refused("file_changed"));
    rmSync(source);
    await expect(blobs.open(ref)).rejects.toEqual(refused("file_missing"));
  });

  test("by reference that changes while it is read gives no further block", async () => {
    writeFileSync(source, "x".repeat(2_000_000));
    const file = await blobs.open(await blobs.captureFile(source, { mode: "reference" }));
    const blocks = file.read(0, file.sizeBytes);
    await blocks.next();
    overwrite(source, "THE");
    await expect(blocks.next()).rejects.toEqual(refused("file_changed"));
    await expect(file.assertUnchanged()).rejects.toEqual(refused("file_changed"));
    await file.close();
  });

  test("whose stored copy is damaged or deleted is refused, and capturing it again heals it", async () => {
    const ref = await blobs.captureFile(source);
    overwrite(inStore()[0] as string, "THE");
    await expect(blobs.open(ref)).rejects.toEqual(refused("file_changed"));
    await blobs.captureFile(source);
    expect(await contentOf(ref)).toBe(text);
    rmSync(inStore()[0] as string);
    await expect(blobs.open(ref)).rejects.toEqual(refused("file_missing"));
  });

  test("must be a file that is there and is complete", async () => {
    await expect(blobs.captureFile(path.join(folder, "none"))).rejects.toEqual(refused("file_missing"));
    await expect(blobs.captureFile(folder)).rejects.toEqual(refused("invalid_input"));
    await expect(blobs.captureFile("/dev/zero")).rejects.toEqual(refused("invalid_input"));
  });

  test("that is written meanwhile is refused, and nothing of it stays", async () => {
    writeFileSync(source, "x".repeat(30_000_000));
    const capturing = blobs.captureFile(source);
    const writing = setInterval(() => appendFileSync(source, "y"), 1);
    await expect(capturing).rejects.toEqual(refused("file_changed"));
    clearInterval(writing);
    expect(inStore()).toEqual([]);
  });

  property.prop([fc.array(fc.uint8Array({ maxLength: 500 }))], { numRuns: 30 })(
    "from a stream holds its bytes, in whatever blocks they come",
    async (parts) => {
      async function* stream() {
        yield* parts;
      }
      const ref = await blobs.captureStream(stream(), { name: "in" });
      const whole = Buffer.concat(parts);
      expect(ref).toEqual({ blob: hashOf(whole), sizeBytes: whole.length, name: "in" });
      expect(await contentOf(ref)).toBe(whole.toString());
    },
  );

  test("captured many times at once is kept once", async () => {
    const refs = await Promise.all(Array.from({ length: 20 }, () => blobs.captureFile(source)));
    expect(new Set(refs.map((ref) => JSON.stringify(ref))).size).toBe(1);
    expect(inStore()).toHaveLength(1);
  });
});

describe("collecting", () => {
  test("deletes what nobody refers to, once it is old enough", async () => {
    const kept = await blobs.captureFile(source);
    writeFileSync(source, "other");
    const gone = await blobs.captureFile(source);
    const used = ["blob" in kept ? kept.blob : ""];
    expect(await blobs.collect(used)).toEqual({ removed: 0, freedBytes: 0 });
    expect(await blobs.collect(used, { minAgeMs: 0 })).toEqual({ removed: 1, freedBytes: 5 });
    expect(await contentOf(kept)).toBe(text);
    await expect(blobs.open(gone)).rejects.toEqual(refused("file_missing"));
  });

  test("leaves the original of a link alone", async () => {
    await blobs.captureFile(source, { mode: "link" });
    await blobs.collect([], { minAgeMs: 0 });
    expect(inStore()).toEqual([]);
    expect(readFileSync(source, "utf8")).toBe(text);
  });
});

describe("sweeping", () => {
  test("clears what dead processes left behind, and nothing of the living", async () => {
    const temp = path.join(folder, "data/blobs/tmp");
    mkdirSync(temp, { recursive: true });
    writeFileSync(path.join(temp, "99999999-aa"), "half");
    writeFileSync(path.join(temp, `${process.pid}-bb`), "half of one with our number");
    writeFileSync(path.join(temp, `${process.ppid}-cc`), "half of one that lives");
    expect(await blobs.sweep()).toBe(2);
    expect(readdirSync(temp)).toEqual([`${process.ppid}-cc`]);
  });

  test("puts back what a collection took aside when it died", async () => {
    const ref = await blobs.captureFile(source);
    const [stored = ""] = inStore();
    linkSync(stored, path.join(folder, "data/blobs/tmp", `trash-${hashOf(text)}`));
    rmSync(stored, { force: true });
    await blobs.sweep();
    expect(await contentOf(ref)).toBe(text);
    expect(inStore()).toEqual([stored]);
  });

  test("while a file is captured takes nothing from it", async () => {
    writeFileSync(source, "x".repeat(20_000_000));
    const capturing = blobs.captureFile(source);
    const sweeping = (async () => {
      for (let round = 0; round < 20; round += 1) await makeBlobs(path.join(folder, "data")).sweep();
    })();
    expect((await contentOf(await capturing)).length).toBe(20_000_000);
    await sweeping;
  });
});
