// Owns the guard's pure decisions at their limits. Leaves the same checks over real sockets to test/security/.
import fc from "fast-check";
import { expect, test } from "vitest";
import type { GuardPolicy, RequestFacts } from "./guard.ts";
import { hasToken, isLoopback, isProof, judge, openBucket, proofOf } from "./guard.ts";

const token = "t".repeat(43);
const policy: GuardPolicy = { token, allowedOrigins: ["http://localhost:5173"], allowedHosts: [] };
const good: RequestFacts = {
  method: "POST",
  target: "/v1/queue.add",
  hosts: ["127.0.0.1:4000"],
  origin: undefined,
  fetchSite: undefined,
  authorization: `Bearer ${token}`,
  contentType: "application/json",
  contentEncoding: undefined,
  hasBody: true,
  port: 4_000,
};

test("callers are told apart: the owner's programs, allowed pages, strangers at the open route", () => {
  const callerOf = (facts: Partial<RequestFacts>): unknown => {
    const verdict = judge(policy, { ...good, ...facts });
    return verdict.kind === "admitted" ? verdict.caller : verdict.kind;
  };
  expect(callerOf({})).toBe("local");
  expect(callerOf({ origin: "http://localhost:5173" })).toBe("browser");
  const stranger = {
    method: "GET",
    target: "/health?challenge=x",
    authorization: undefined,
    contentType: undefined,
    hasBody: false,
  };
  expect(callerOf(stranger)).toBe("anonymous");
  expect(callerOf({ ...stranger, target: "/metrics" })).toBe("refused");
  expect(callerOf({ ...stranger, authorization: "Bearer wrong" })).toBe("refused");
});

test("the first check that fails is the one that tells least: Host before Origin before token before media type", () => {
  const codeOf = (facts: Partial<RequestFacts>): unknown => {
    const verdict = judge(policy, { ...good, ...facts });
    return verdict.kind === "refused" ? verdict.error.code : verdict.kind;
  };
  const bad = {
    hosts: ["evil.example"],
    origin: "https://evil.example",
    authorization: "x",
    contentType: "text/plain",
  };
  expect(codeOf(bad)).toBe("forbidden_host");
  expect(codeOf({ ...bad, hosts: good.hosts })).toBe("forbidden_origin");
  expect(codeOf({ authorization: "x", contentType: "text/plain" })).toBe("unauthorized");
  expect(codeOf({ contentType: "text/plain" })).toBe("unsupported_media_type");
});

test("no host but the loopback names with the right port passes", () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.domain(), fc.ipV4(), fc.webAuthority()), (host) => {
      fc.pre(!/^(localhost|127\.0\.0\.1|\[::1\]):4000$/i.test(host));
      expect(judge(policy, { ...good, hosts: [host] }).kind).toBe("refused");
    }),
    { numRuns: 1_000 },
  );
});

test("no text but the token passes as one", () => {
  expect(hasToken(token, `bearer  ${token}`)).toBe(true);
  fc.assert(
    fc.property(fc.string({ maxLength: 60 }), (text) => !hasToken(token, text) && !hasToken(token, `Bearer ${text}`)),
  );
});

test("a proof is for one token, one port and one challenge", () => {
  const proof = proofOf(token, 4_000, "c".repeat(16));
  expect(isProof(token, 4_000, "c".repeat(16), proof)).toBe(true);
  for (const other of [
    undefined,
    1,
    "",
    `${proof}x`,
    proofOf(token, 4_001, "c".repeat(16)),
    proofOf("x", 4_000, "c".repeat(16)),
  ]) {
    expect(isProof(token, 4_000, "c".repeat(16), other)).toBe(false);
  }
});

test("a bucket gives its burst at once, then its rate, and never more than both", () => {
  const bucket = openBucket(10, 20);
  expect(Array.from({ length: 20 }, () => bucket.take(0))).toEqual(Array.from({ length: 20 }, () => 0));
  expect(bucket.take(0)).toBe(100);
  expect(bucket.take(99)).toBeGreaterThan(0);
  expect(bucket.take(100)).toBe(0);
  expect(bucket.take(100)).toBeGreaterThan(0);
  // A clock that goes back gives nothing away.
  expect(bucket.take(-10_000)).toBeGreaterThan(0);
  expect(Array.from({ length: 25 }, () => bucket.take(1e9)).filter((wait) => wait === 0)).toHaveLength(20);
});

test.each([
  ["127.0.0.1", true],
  ["127.8.8.8", true],
  ["::1", true],
  ["localhost", true],
  ["0.0.0.0", false],
  ["::", false],
  ["127.0.0.1.example.com", false],
  ["10.0.0.1", false],
])("%s is loopback: %s", (host, expected) => expect(isLoopback(host)).toBe(expected));
