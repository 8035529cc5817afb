/**
 * Owns the rules of what an operation may say about a file and an upload: what is refused, its title, remote and ids.
 * What is sent is left to test/transfer.
 */
import { describe, expect, test } from "vitest";
import { blobsIn, checkFileRef, checkUpload, fileUpload, formatBytes, uploadLimits } from "./upload.ts";

const blob = "a".repeat(64);
const file = { blob, sizeBytes: 1_234_567_890, name: "big.bin" };
const upload = { file, url: "https://a.example/files", protocol: "tus" as const };
const refusal = expect.objectContaining({ code: "invalid_input" });

describe("an upload", () => {
  test("is stored as it was given", () => {
    const whole = {
      ...upload,
      headers: { "X-Tenant": "7" },
      metadata: { album: "zażółć" },
      credential: "api",
      checksum: false,
      chunkBytes: 1,
      idFrom: "location" as const,
      timeoutMs: 0,
    };
    expect(checkUpload(whole)).toEqual(whole);
  });

  const refused: readonly (readonly [string, object])[] = [
    ["no address", { url: "files" }],
    ["a password in its address", { url: "https://me:pw@a.example/" }],
    ["an unknown protocol", { protocol: "ftp" }],
    ["a secret among its headers", { headers: { Authorization: "Bearer x" } }],
    ["a header of ours", { headers: { "Upload-Offset": "5" } }],
    ["a header that ends early", { headers: { "x-a": "1\r\nx-b: 2" } }],
    ["a header name with a space", { headers: { "x a": "1" } }],
    ["a space in a metadata key", { metadata: { "a b": "1" } }],
    ["metadata on a PUT", { protocol: "put", metadata: { a: "1" } }],
    ["an id from a body that tus does not send", { idFrom: "/id" }],
    ["parts of nothing", { chunkBytes: 0 }],
    ["a hash that is none", { file: { ...file, blob: blob.toUpperCase() } }],
    ["a media type that ends a header", { file: { ...file, mediaType: "a/b\r\nx: y" } }],
    ["a relative path", { file: { path: "big.bin", sizeBytes: 1, sha256: blob, modifiedAtMs: 1 } }],
    ["a size below zero", { file: { ...file, sizeBytes: -1 } }],
    ["a field that does not exist", { chunkSize: 5 }],
  ];
  test.each(refused)("with %s is refused", (_, more) => {
    expect(() => checkUpload({ ...upload, ...more })).toThrow(refusal);
  });

  test("may have as many headers as the limit says, and not one more", () => {
    const headers = (count: number) =>
      Object.fromEntries(Array.from({ length: count }, (_, index) => [`x-${index}`, ""]));
    checkUpload({ ...upload, headers: headers(uploadLimits.headers) });
    expect(() => checkUpload({ ...upload, headers: headers(uploadLimits.headers + 1) })).toThrow(refusal);
  });

  test("is shown by what and how much goes where, without the query", () => {
    expect(fileUpload.title?.({ ...upload, url: "https://a.example/files?token=x" })).toBe(
      "upload big.bin (1.2 GB) to https://a.example/files",
    );
    const path = { path: "/home/me/photo.jpg", sizeBytes: 1, sha256: blob, modifiedAtMs: 1 };
    expect(fileUpload.title?.({ ...upload, file: path })).toBe("upload photo.jpg (1 byte) to https://a.example/files");
    const long = { ...upload, url: `https://a.example/${"x".repeat(1_000)}` };
    expect(fileUpload.title?.(long)).toHaveLength(uploadLimits.title);
  });

  test("belongs to the origin of its address and moves bytes, so it has slots of its own", () => {
    expect(fileUpload.remoteOf?.(upload)).toBe("https://a.example");
    expect(fileUpload).toMatchObject({ isBulk: true, retry: "transfer" });
  });

  test("leaves this machine without the right that its address carries", () => {
    const signed = {
      ...upload,
      url: "https://a.example/files?X-Amz-Signature=abc",
      headers: { "x-session-token": "t" },
    };
    const shown = JSON.stringify(fileUpload.redact?.(signed));
    expect(shown).not.toMatch(/abc|"t"/);
    expect(shown).toContain("https://a.example/files?[redacted]");
    expect(fileUpload.redact?.(upload)).toEqual(upload);
  });

  test("follows a local id in its address to the server's id", () => {
    const local = { ...upload, url: "https://a.example/notes/local-1/files" };
    expect(fileUpload.mentions?.(local)).toContain("local-1");
    expect(fileUpload.rewrite?.(local, (id) => (id === "local-1" ? "n/7" : null))).toEqual({
      ...upload,
      url: "https://a.example/notes/n%2F7/files",
    });
  });
});

describe("a reference to a file", () => {
  test("names content or a path, never both", () => {
    expect(checkFileRef(file)).toEqual(file);
    expect(() => checkFileRef({ ...file, path: "/a" })).toThrow(refusal);
    expect(() => checkFileRef({ sizeBytes: 1 })).toThrow(refusal);
    expect(() => checkFileRef("a.txt")).toThrow(refusal);
  });

  test("is found anywhere in a payload, however it is named there, each hash once", () => {
    const other = "b".repeat(64);
    const third = "C".repeat(64);
    const fourth = "d".repeat(64);
    const payload = {
      body: { file },
      more: [{ blob }, { blob: other }, { blob: "x" }, { blob: 5 }, null, "blob"],
      args: [`/data/blobs/cc/${third}.link`],
      [fourth]: true,
    };
    expect([...blobsIn(payload)].sort()).toEqual([blob, other, third.toLowerCase(), fourth]);
    expect(blobsIn("text")).toEqual([]);
  });
});

test.each([
  [0, "0 bytes"],
  [1, "1 byte"],
  [999, "999 bytes"],
  [1_000, "1.0 kB"],
  [12_345, "12 kB"],
  [999_499, "999 kB"],
  [999_500, "1.0 MB"],
  [64 * 1_048_576, "67 MB"],
  [1_234_567_890, "1.2 GB"],
])("%i bytes are shown as %s", (count, text) => {
  expect(formatBytes(count)).toBe(text);
});
