/**
 * Owns the rules of tus: what each answer leads to, when a stored place still counts, what an expiry means.
 * A real server is left to test/transfer/tus.test.ts.
 */
import { fc, test as property } from "@fast-check/vitest";
import { describe, expect, test } from "vitest";
import {
  judgeCreation,
  judgeHead,
  judgePatch,
  readCheckpoint,
  readExpiry,
  readExtensions,
  settleUploadUrl,
} from "./tus.ts";

const size = 100;
const at = (offset: unknown, more: object = {}) => ({ "upload-offset": String(offset), ...more });

describe("the answer to a creation", () => {
  const tus = { "tus-resumable": "1.0.0" };
  test.each([
    [201, { ...tus, location: "/files/1" }, "created"],
    [201, { ...tus }, "malformed"],
    [201, { location: "/files/1" }, "malformed"],
    [200, { ...tus, location: "/login" }, "malformed"],
    [302, { location: "/login" }, "judge"],
    [413, tus, "judge"],
    [500, {}, "judge"],
  ])("%i with %j means %s", (status, headers, kind) => {
    expect(judgeCreation({ status, headers }).kind).toBe(kind);
  });
});

describe("the answer to HEAD", () => {
  test.each([
    [200, at(0), { kind: "at", offset: 0 }],
    [204, at(100), { kind: "at", offset: 100 }],
    [200, at(40, { "upload-length": "100" }), { kind: "at", offset: 40 }],
    [200, at(101), { kind: "foreign" }],
    [200, at(40, { "upload-length": "99" }), { kind: "foreign" }],
    [200, {}, { kind: "malformed" }],
    [200, at("-1"), { kind: "malformed" }],
    [200, at("4e1"), { kind: "malformed" }],
    [200, at("99999999999999999"), { kind: "malformed" }],
    [404, {}, { kind: "restart" }],
    [410, {}, { kind: "restart" }],
    [423, {}, { kind: "locked" }],
    [401, {}, { kind: "judge" }],
    [403, {}, { kind: "judge" }],
    [302, {}, { kind: "judge" }],
    [503, {}, { kind: "judge" }],
  ])("%i with %j means %j", (status, headers, step) => {
    expect(judgeHead({ status, headers }, { sizeBytes: size, isExpired: false })).toMatchObject(step);
  });

  test("403 means that the upload is gone once it has expired, and no sooner", () => {
    expect(judgeHead({ status: 403, headers: {} }, { sizeBytes: size, isExpired: true })).toEqual({ kind: "restart" });
  });
});

describe("the answer to a part", () => {
  const part = { start: 20, end: 60 };
  test.each([
    [204, at(60), { kind: "at", offset: 60 }],
    [204, at(35), { kind: "at", offset: 35 }],
    [204, at(20), { kind: "at", offset: 20 }],
    [204, at(19), { kind: "check" }],
    [204, at(61), { kind: "foreign" }],
    [204, {}, { kind: "malformed" }],
    [409, {}, { kind: "check" }],
    [404, {}, { kind: "restart" }],
    [410, {}, { kind: "restart" }],
    [423, {}, { kind: "locked" }],
    [460, {}, { kind: "checksum" }],
    [413, {}, { kind: "judge" }],
    [500, {}, { kind: "judge" }],
  ])("%i with %j means %j", (status, headers, step) => {
    expect(judgePatch({ status, headers }, part)).toMatchObject(step);
  });

  property.prop([fc.integer({ min: 100, max: 599 }), fc.string()])(
    "never leads beyond what was sent, whatever it says",
    (status, offset) => {
      const step = judgePatch({ status, headers: at(offset) }, part);
      if (step.kind === "at") expect(step.offset >= part.start && step.offset <= part.end).toBe(true);
    },
  );
});

describe("a stored place", () => {
  const upload = { url: "https://a.example/files", sha256: "a".repeat(64), sizeBytes: size };
  const place = {
    uploadUrl: "https://a.example/files/1",
    offset: 40,
    createdAt: 1,
    expiresAt: null,
    url: upload.url,
    sha256: upload.sha256,
  };
  test("counts for the same file and address", () => {
    expect(readCheckpoint(place, upload)).toEqual(place);
  });
  test.each([
    [null],
    ["text"],
    [[]],
    [{}],
    [{ ...place, url: "https://b.example/files" }],
    [{ ...place, sha256: "b".repeat(64) }],
    [{ ...place, offset: 101 }],
    [{ ...place, offset: -1 }],
    [{ ...place, offset: "40" }],
    [{ ...place, uploadUrl: "/files/1" }],
  ])("that reads %j counts for nothing", (stored) => {
    expect(readCheckpoint(stored, upload)).toBeNull();
  });
});

describe("what a server offers", () => {
  test.each([
    [{ "tus-extension": "creation,checksum", "tus-checksum-algorithm": "md5,sha1,sha256" }, "sha256"],
    [{ "tus-extension": "creation, checksum", "tus-checksum-algorithm": "md5, sha1" }, "sha1"],
    [{ "tus-extension": "checksum", "tus-checksum-algorithm": "md5" }, null],
    [{ "tus-extension": "creation", "tus-checksum-algorithm": "sha1" }, null],
    [{}, null],
  ])("%j lets parts be checked by %s", (headers, checksum) => {
    expect(readExtensions({ status: 204, headers }).checksum).toBe(checksum);
  });
  test("is nothing where it does not answer the question", () => {
    const headers = { "tus-extension": "checksum", "tus-checksum-algorithm": "sha1", "tus-max-size": "5" };
    expect(readExtensions({ status: 405, headers })).toEqual({ checksum: null, maxBytes: null });
    expect(readExtensions({ status: 200, headers }).maxBytes).toBe(5);
  });
});

test("an expiry is read as a span of the server's clock, which may be wrong", () => {
  const expires = "Wed, 25 Jun 2014 16:00:00 GMT";
  const date = "Wed, 25 Jun 2014 15:00:00 GMT";
  expect(readExpiry({ "upload-expires": expires, date }, 5_000)).toBe(5_000 + 3_600_000);
  expect(readExpiry({ "upload-expires": expires }, 5_000)).toBe(Date.UTC(2014, 5, 25, 16));
  expect(readExpiry({ "upload-expires": "tomorrow" }, 5_000)).toBeNull();
  expect(readExpiry({}, 5_000)).toBeNull();
});

test.each([
  ["https://a.example/f/1", "https://a.example/f", "https://a.example/f/1"],
  ["http://a.example/f/1", "https://a.example/f", "https://a.example/f/1"],
  ["http://a.example:8443/f/1", "https://a.example:8443/f", "https://a.example:8443/f/1"],
  ["http://b.example/f/1", "https://a.example/f", null],
  ["https://b.example/f/1", "https://a.example/f", "https://b.example/f/1"],
  ["http://b.example/f/1", "http://a.example/f", "http://b.example/f/1"],
  ["", "https://a.example/f", null],
])("an upload at %s, created at %s, goes to %s", (uploadUrl, createdAt, settled) => {
  expect(settleUploadUrl(uploadUrl, createdAt)).toBe(settled);
});
