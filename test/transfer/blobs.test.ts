// Owns the promise that a capture fails clearly on a full disk, leaves no litter when it is killed, and holds memory still.
// Leaves the rules of capturing to src/node/blobs.test.ts.
import { execFileSync, spawn } from "node:child_process";
import { createReadStream, mkdirSync, mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { makeBlobs } from "../../src/node/blobs.ts";
import { mostGrownDuring } from "../support/live-memory.ts";

let folder: string;
let source: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "holdfast-disk-"));
  source = path.join(folder, "big.bin");
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const filesIn = (place: string) =>
  readdirSync(place, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());

/** A real file system of a few megabytes. Making one takes rights that not every machine gives. */
function mountSmall(place: string, sizeBytes: number): boolean {
  mkdirSync(place);
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${sizeBytes}`, "tmpfs", place], { stdio: "ignore" });
    return true;
  } catch {
    console.log("skipped: captures on a full disk: no right to mount a small file system here");
    return false;
  }
}

describe("on a full disk", () => {
  test("a capture is refused before anything is acknowledged, leaves nothing, and works again once there is room", async (context) => {
    const place = path.join(folder, "small");
    if (!mountSmall(place, 4_000_000)) return context.skip("no right to mount a small file system here");
    try {
      writeFileSync(source, Buffer.alloc(3_000_000, "x"));
      const full = expect.objectContaining({ code: "disk_full", hint: expect.stringContaining("free some space") });
      // Told beforehand: the file would fit, what is kept for the queue would not.
      const careful = makeBlobs(place, { minFreeBytes: 2_000_000 });
      await expect(careful.captureFile(source)).rejects.toEqual(full);
      // Told by the disk itself, in the middle of the copy.
      const careless = makeBlobs(place, { minFreeBytes: -1_000_000_000 });
      writeFileSync(path.join(place, "other"), Buffer.alloc(2_000_000, "y"));
      await expect(careless.captureFile(source)).rejects.toEqual(full);
      await expect(careless.captureStream(createReadStream(source))).rejects.toEqual(full);
      expect(filesIn(path.join(place, "blobs"))).toEqual([]);
      rmSync(path.join(place, "other"));
      const ref = await careless.captureFile(source);
      const file = await careless.open(ref);
      await file.close();
    } finally {
      execFileSync("umount", ["-l", place]);
    }
  });

  test("a link from another file system becomes a copy", async (context) => {
    const place = path.join(folder, "small");
    if (!mountSmall(place, 40_000_000)) return context.skip("no right to mount a small file system here");
    try {
      writeFileSync(source, "text");
      const blobs = makeBlobs(place);
      const ref = await blobs.captureFile(source, { mode: "link" });
      writeFileSync(source, "TEXT", { flag: "r+" });
      const file = await blobs.open(ref);
      await file.close();
      expect(filesIn(path.join(place, "blobs")).map(({ name }) => name)).toEqual(["blob" in ref ? ref.blob : ""]);
    } finally {
      execFileSync("umount", ["-l", place]);
    }
  });
});

describe("a capture", () => {
  const capturing = `import { makeBlobs } from ${JSON.stringify(path.resolve("src/node/blobs.ts"))};
    const [folder, source] = process.argv.slice(1);
    await makeBlobs(folder).captureFile(source);`;
  const start = () =>
    spawn(process.execPath, ["--input-type=module", "-e", capturing, folder, source], {
      stdio: ["ignore", "pipe", "inherit"],
    });

  test("of 400 MB takes the memory of a few blocks", async () => {
    writeFileSync(source, "");
    truncateSync(source, 400_000_000);
    const { result: ref, grown } = await mostGrownDuring(() => makeBlobs(folder).captureFile(source));
    expect(ref.sizeBytes).toBe(400_000_000);

    expect(grown).toBeLessThan(16_000_000);
  });

  test("that is killed leaves litter that the next start sweeps, and no half content", async () => {
    // Holes are copied like bytes, and that takes longer than it takes to be noticed.
    writeFileSync(source, "");
    truncateSync(source, 800_000_000);
    const child = start();
    const ended = new Promise((resolve) => child.once("close", resolve));
    const temp = path.join(folder, "blobs/tmp");
    const until = Date.now() + 10_000;
    const isCopying = () => {
      try {
        return readdirSync(temp).length > 0;
      } catch {
        return false;
      }
    };
    while (!isCopying() && Date.now() < until) await new Promise((resolve) => setTimeout(resolve, 1));
    child.kill("SIGKILL");
    await ended;
    expect(filesIn(path.join(folder, "blobs")).map(({ parentPath }) => parentPath)).toEqual([temp]);
    expect(await makeBlobs(folder).sweep()).toBe(1);
    expect(filesIn(path.join(folder, "blobs"))).toEqual([]);
  });
});
