// Owns the promise that an upload arrives whole and nearly once over the wire, whatever the network and the processes do.
// Leaves the pure rules of tus to src/tus.test.ts and the checksum extension to checksum.test.ts.
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, truncateSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Blobs } from "../../src/node/blobs.ts";
import { makeBlobs } from "../../src/node/blobs.ts";
import { makeFileUpload } from "../../src/node/upload.ts";
import type { Answer, Json } from "../../src/operation.ts";
import type { AttemptOptions, Recorded } from "./support/attempts.ts";
import { makeAttempt, operationId } from "./support/attempts.ts";
import type { FaultProxy } from "./support/proxy.ts";
import { openFaultProxy } from "./support/proxy.ts";
import type { TusServer } from "./support/tus-server.ts";
import { sha256Of, startTusServer, uploadsOf } from "./support/tus-server.ts";

const mebibyte = 1_048_576;
const size = 64 * mebibyte;

let folder: string;
let received: string;
let source: string;
let blobs: Blobs;
let server: TusServer;
let proxy: FaultProxy;

beforeEach(async () => {
  folder = mkdtempSync(path.join(tmpdir(), "holdfast-tus-"));
  received = path.join(folder, "received");
  mkdirSync(received);
  source = path.join(folder, "big.bin");
  writeFileSync(source, randomBytes(size));
  blobs = makeBlobs(folder);
  server = await startTusServer(received);
  proxy = await openFaultProxy(server.port);
});

afterEach(async () => {
  expect(proxy.armed()).toEqual([]);
  await proxy.close();
  await server.close();
  rmSync(folder, { recursive: true, force: true });
});

const url = () => `http://127.0.0.1:${proxy.port}/files`;
const payload = async (more: object = {}) => ({
  file: await blobs.captureFile(source),
  url: url(),
  protocol: "tus",
  chunkBytes: 16 * mebibyte,
  ...more,
});

async function send(
  input: unknown,
  options: AttemptOptions & { readonly stallMs?: number; readonly answerMs?: number } = {},
): Promise<Recorded & { answer: Answer }> {
  const recorded = makeAttempt(input, options);
  const { stallMs, answerMs } = options;
  const timing = {
    reconnectMs: 50,
    ...(stallMs === undefined ? {} : { stallMs }),
    ...(answerMs === undefined ? {} : { answerMs }),
  };
  const upload = makeFileUpload({ blobs, credentials: { headersFor: async () => ({}) }, timing });
  const answer = await upload.run?.(recorded.attempt);
  if (answer === undefined) throw new Error("the type has no run");
  return { ...recorded, answer };
}

async function expectArrived(answer: Answer): Promise<void> {
  expect(answer).toMatchObject({ kind: "applied", result: { sizeBytes: size, isVerified: true } });
  const whole = uploadsOf(received, size);
  expect(whole).toHaveLength(1);
  expect(await sha256Of(whole[0] as string)).toBe(await sha256Of(source));
  expect(proxy.sentBytes()).toBeLessThan(1.5 * size);
}

const methods = () => server.seen.map(({ method }) => method);

describe("a tus upload", () => {
  test("arrives whole, in parts, with its place noted before the first byte and after every part", async () => {
    const { answer, checkpoints, progress } = await send(await payload());
    await expectArrived(answer);
    expect(methods()).toEqual(["OPTIONS", "POST", "PATCH", "PATCH", "PATCH", "PATCH", "HEAD"]);
    expect(server.seen[1]?.headers["idempotency-key"]).toBe(operationId);
    expect(checkpoints.map((each) => (each as { offset: number }).offset / mebibyte)).toEqual([0, 16, 32, 48, 64, 64]);
    expect(progress.at(-1)).toEqual({ done: size, total: size, unit: "bytes" });
    const steps = progress.map(({ done }) => done);
    expect(steps).toEqual([...steps].sort((left, right) => left - right));
    expect((answer as { serverId?: string }).serverId).toMatch(/^[0-9a-f]+$/);
  });

  test("goes on where it was after the connection is cut in the middle", async () => {
    proxy.cutAfter(30 * mebibyte);
    const { answer } = await send(await payload());
    await expectArrived(answer);
    expect(methods().filter((method) => method === "POST")).toHaveLength(1);
    expect(methods()).toContain("HEAD");
  });

  // The part is larger than what socket buffers take (6 MB as Linux comes, 37 MB where they were raised): bytes stop going out.
  test("ends a connection that takes no more bytes, and goes on", async () => {
    proxy.stallAfter(mebibyte);
    const { answer, progress } = await send(await payload({ chunkBytes: size }), { stallMs: 3_000 });
    await expectArrived(answer);
    // What ended it was no wait for an answer: most of the part was still here, and its time is longer than the test's.
    const steps = progress.map(({ done }) => done);
    expect(steps[steps.findIndex((done, index) => done < (steps[index - 1] ?? 0)) - 1]).toBeLessThan(size);
    expect(methods()).toContain("HEAD");
  });

  test("ends a connection whose answer does not come, and goes on", async () => {
    proxy.withholdAnswerWith(`Upload-Offset: ${16 * mebibyte}`);
    const { answer } = await send(await payload(), { answerMs: 3_000 });
    await expectArrived(answer);
    // The server had the part: its place was asked for, and the part was not sent again.
    expect(proxy.sentBytes()).toBeLessThan(size + 16 * mebibyte);
  });

  test("is given back uncharged when the server stays away, and goes on after its restart", async () => {
    const input = await payload();
    proxy.cutAfter(40 * mebibyte);
    let isDown: Promise<void> | undefined;
    const first = await send(input, {
      onProgress: ({ done }) => {
        if (done > 30 * mebibyte) isDown ??= server.close();
      },
    });
    await isDown;
    expect(first.answer).toMatchObject({ kind: "unknown", mayHaveLanded: false });
    server = await startTusServer(received);
    proxy.aim(server.port);
    const second = await send(input, { checkpoint: first.checkpoints.at(-1) as Json });
    await expectArrived(second.answer);
    expect(methods()[1]).toBe("HEAD");
    expect(methods()).not.toContain("POST");
  });

  test("leaves at most an empty upload behind when the answer to its creation is lost", async () => {
    proxy.loseAnswerWith("HTTP/1.1 201");
    const { answer } = await send(await payload());
    await expectArrived(answer);
    const keys = server.seen.filter(({ method }) => method === "POST").map(({ headers }) => headers["idempotency-key"]);
    expect(keys).toEqual([operationId, operationId]);
    expect(uploadsOf(received, 0)).toHaveLength(1);
  });

  test("is not sent again when only the answer to its last part is lost", async () => {
    proxy.loseAnswerWith(`Upload-Offset: ${size}`);
    const { answer } = await send(await payload({ chunkBytes: size }));
    await expectArrived(answer);
    expect(methods().filter((method) => method === "PATCH")).toHaveLength(1);
  });

  test("starts again when the server has lost it midway", async () => {
    const input = await payload();
    let isLost = false;
    const { answer } = await send(input, {
      onCheckpoint: (value) => {
        const { offset, uploadUrl } = value as { offset: number; uploadUrl: string };
        if (isLost || offset < 16 * mebibyte) return;
        isLost = true;
        const file = path.join(received, path.basename(uploadUrl));
        rmSync(file);
        rmSync(`${file}.json`);
      },
    });
    await expectArrived(answer);
    expect(methods().filter((method) => method === "POST")).toHaveLength(2);
  });

  test("is never sent as another content: a file that changes under its reference parks it, with the reason", async () => {
    const file = await blobs.captureFile(source, { mode: "reference" });
    const input = await payload({ file });
    const { answer, checkpoints } = await send(input, {
      onCheckpoint: (value) => {
        if ((value as { offset?: number } | null)?.offset === 16 * mebibyte)
          writeFileSync(source, "other", { flag: "r+" });
      },
    });
    expect(answer).toMatchObject({ kind: "rejected", problem: { code: "file_changed" } });
    expect(checkpoints.at(-1)).toBeNull();
    expect(uploadsOf(received, size)).toEqual([]);
    const again = await send(input);
    expect(again.answer).toMatchObject({ kind: "rejected", problem: { code: "file_changed" } });
    rmSync(source);
    const gone = await send(input);
    expect(gone.answer).toMatchObject({ kind: "rejected", problem: { code: "file_missing" } });
  });

  test("by reference goes out when the file was only touched", async () => {
    const input = await payload({ file: await blobs.captureFile(source, { mode: "reference" }) });
    utimesSync(source, new Date(1_000_000_000_000), new Date(1_000_000_000_000));
    await expectArrived((await send(input)).answer);
  });

  test("ignores a place that belongs to another file or address", async () => {
    const first = await send(await payload());
    truncateSync(source, size - 1);
    writeFileSync(source, "x", { flag: "a" });
    const { answer } = await send(await payload(), { checkpoint: first.checkpoints.at(-1) as Json });
    expect(answer).toMatchObject({ kind: "applied", result: { sha256: await sha256Of(source) } });
    expect(methods().filter((method) => method === "POST")).toHaveLength(2);
  });

  test("of an empty file arrives too", async () => {
    truncateSync(source, 0);
    const { answer } = await send(await payload());
    expect(answer).toMatchObject({ kind: "applied", result: { sizeBytes: 0, isVerified: true } });
    expect(uploadsOf(received, 0)).toHaveLength(1);
  });

  test("ends at once when it is stopped, and goes on later", async () => {
    const input = await payload();
    const stopped: Recorded & { answer?: Answer } = makeAttempt(input, {
      onProgress: ({ done }) => {
        if (done > 20 * mebibyte) stopped.abort();
      },
    });
    const upload = makeFileUpload({ blobs, credentials: { headersFor: async () => ({}) } });
    const answer = await upload.run?.(stopped.attempt);
    expect(answer).toMatchObject({ kind: "unknown", mayHaveLanded: false, problem: { code: "stopped" } });
    await expectArrived((await send(input, { checkpoint: stopped.checkpoints.at(-1) as Json })).answer);
  });
});

describe("a process that is killed in the middle", () => {
  test("costs what was in the air: the next one goes on from the noted place", async () => {
    const job = path.join(folder, "job.json");
    writeFileSync(job, JSON.stringify(await payload()));
    for (const killAt of [10 * mebibyte, 35 * mebibyte]) {
      expect(await runUploader(job, killAt)).toBeNull();
    }
    const answer = await runUploader(job, Number.POSITIVE_INFINITY);
    await expectArrived(answer as Answer);
    expect(methods().filter((method) => method === "POST")).toHaveLength(1);
  });
});

/** The child's answer, or `null` when it was killed at `killAt` bytes. */
async function runUploader(job: string, killAt: number): Promise<Answer | null> {
  const script = path.join(import.meta.dirname, "support/uploader.ts");
  const child = spawn(process.execPath, [script, folder, job], { stdio: ["ignore", "pipe", "inherit"] });
  const ended = new Promise((resolve) => child.once("close", resolve));
  let answer: Answer | null = null;
  for await (const line of createInterface({ input: child.stdout })) {
    if (line.startsWith("answer ")) answer = JSON.parse(line.slice(7));
    else if (Number(line) >= killAt) child.kill("SIGKILL");
  }
  await ended;
  return answer;
}
