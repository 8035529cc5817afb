// Owns one real case of every row, and that no input makes the judgement throw. Leaves reading waits to pacing.test.ts
// and reading words to problem.test.ts.
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Phase, RequestFacts } from "./failure.ts";
import { answerOfCode, classifyError, classifyResponse } from "./failure.ts";
import { failureTable } from "./failures.ts";
import { localCodes } from "./network.ts";
import type { Answer } from "./operation.ts";

const trusted: RequestFacts = { method: "POST", isTrusted: true };
const plain: RequestFacts = { method: "POST", isTrusted: false };
const json = { "content-type": "application/json" };
const html = { "content-type": "text/html; charset=utf-8" };
const page = "<!doctype html><title>Welcome to the hotel</title>";

type Given = { readonly headers?: Record<string, string>; readonly body?: string; readonly request?: RequestFacts };
const answered = (status: number, { headers = json, body = "{}", request = trusted }: Given = {}) =>
  classifyResponse({ status, headers, bodyText: body, request });

/** What undici throws: a TypeError whose cause carries the code. */
const thrown = (code: string, more: object = {}, phase: Phase = "request") =>
  classifyError(new TypeError("fetch failed", { cause: Object.assign(new Error(code), { code }, more) }), phase);
const named = (name: string, message = "x") => classifyError(Object.assign(new Error(message), { name }), "request");

/** The whole judgement in one word, e.g. "unknown, not landed". */
function verdict(answer: Answer): string {
  if (answer.kind === "unknown") return answer.mayHaveLanded ? "unknown" : "unknown, not landed";
  if (answer.kind === "retry") {
    return `retry ${answer.isCharged ? "charged" : "free"}${answer.scope === "remote" ? " for the remote" : ""}`;
  }
  return answer.kind === "rejected" && answer.mayHaveLanded === true ? "rejected, may have landed" : answer.kind;
}
const codeOf = (answer: Answer) => ("problem" in answer ? answer.problem.code : answer.kind);

const unsent = "unknown, not landed";
/** One real case of every row: its code, what happened, and the judgement that the row must give. */
const cases: readonly (readonly [code: string, answer: Answer, verdict: string])[] = [
  ["dns_not_found", thrown("ENOTFOUND", { syscall: "getaddrinfo" }), unsent],
  ["dns_unavailable", thrown("EAI_AGAIN", { syscall: "getaddrinfo" }), unsent],
  ["refused", thrown("ECONNREFUSED", { syscall: "connect" }), unsent],
  ["unreachable", thrown("EHOSTUNREACH", { syscall: "connect" }), unsent],
  ["unreachable", thrown("ENETUNREACH", { syscall: "read" }), "unknown"],
  ["timed_out_network", thrown("ETIMEDOUT", { syscall: "connect" }), unsent],
  ["timed_out_network", thrown("ETIMEDOUT", { syscall: "read" }), "unknown"],
  ["connect_timed_out", thrown("UND_ERR_CONNECT_TIMEOUT"), unsent],
  ["out_of_sockets", thrown("EMFILE"), unsent],
  ["certificate_expired", thrown("CERT_HAS_EXPIRED"), unsent],
  ["certificate_untrusted", thrown("DEPTH_ZERO_SELF_SIGNED_CERT"), unsent],
  ["certificate_of_another", thrown("ERR_TLS_CERT_ALTNAME_INVALID"), unsent],
  ["tls_mismatch", thrown("ERR_SSL_WRONG_VERSION_NUMBER", { syscall: "connect" }), unsent],
  ["tls_mismatch", thrown("ERR_SSL_WRONG_VERSION_NUMBER"), "unknown"],
  ["tls_failed", thrown("ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC"), "unknown"],
  ["timed_out", named("TimeoutError"), "unknown"],
  ["reset", thrown("ECONNRESET"), "unknown"],
  ["reset", thrown("EPIPE"), "unknown"],
  ["closed", thrown("UND_ERR_SOCKET", {}, "body"), "unknown"],
  ["answer_cut", thrown("UND_ERR_RES_CONTENT_LENGTH_MISMATCH", {}, "body"), "unknown"],
  ["answer_undecodable", thrown("Z_DATA_ERROR", {}, "body"), "unknown"],
  ["not_http", thrown("HPE_INVALID_CONSTANT"), "unknown"],
  ["not_http", named("HTTPParserError"), "unknown"],
  ["stopped", named("AbortError"), "unknown"],
  [
    "blocked_port",
    classifyError(new TypeError("fetch failed", { cause: new Error("bad port") }), "request"),
    "rejected",
  ],
  ["request_unusable", thrown("ERR_INVALID_URL"), "rejected"],
  ["request_unusable", named("TypeError", "Failed to parse URL from x"), "rejected"],
  ["no_answer", named("Error"), "unknown"],
  ["portal_page", answered(200, { headers: html, body: page, request: plain }), "unknown"],
  ["portal_page", answered(404, { headers: html, body: page, request: plain }), "unknown"],
  ["portal_page", answered(502, { headers: html, body: page, request: plain }), "unknown"],
  [
    "page_instead_of_json",
    answered(200, { headers: html, body: page, request: { ...trusted, expect: "json" } }),
    "unknown",
  ],
  ["page_instead_of_refusal", answered(404, { headers: html, body: page }), "retry charged"],
  ["malformed_answer", answered(200, { body: '{"id":', request: { ...trusted, expect: "json" } }), "unknown"],
  ["malformed_answer", answered(422, { body: '{"title":' }), "unknown"],
  ["malformed_status", answered(101), "unknown"],
  ["malformed_status", answered(999), "unknown"],
  ["intermediary_failed", answered(404, { headers: { "proxy-status": "edge; error=dns_error" } }), "unknown"],
  ["portal_redirect", answered(302, { request: plain }), "unknown"],
  ["redirect_loop", answerOfCode("redirect_loop"), "retry charged"],
  ["redirect_downgrade", answerOfCode("redirect_downgrade"), "retry charged"],
  ["redirect_unusable", answered(302), "retry charged"],
  ["network_sign_in", answered(511, { headers: html, body: page }), "unknown"],
  ["unexpected_success", answered(200, { request: { ...trusted, success: [201] } }), "rejected, may have landed"],
  ["unproven_refusal", answered(444, { headers: {}, body: "", request: plain }), "unknown"],
  ["bad_request", answered(400), "rejected"],
  ["unauthorized", answered(401), "auth"],
  ["payment_required", answered(402), "rejected"],
  ["forbidden", answered(403), "rejected"],
  [
    "rate_limited_forbidden",
    answered(403, { headers: { ...json, "x-ratelimit-remaining": "0" } }),
    "retry free for the remote",
  ],
  ["not_there", answered(404), "rejected"],
  ["method_not_allowed", answered(405), "rejected"],
  ["not_acceptable", answered(406), "rejected"],
  ["proxy_unauthorized", answered(407, { headers: html, body: page, request: plain }), "auth"],
  ["request_timed_out", answered(408), "retry charged"],
  ["conflict", answered(409), "conflict"],
  [
    "still_running",
    answered(409, { body: '{"title":"A request is outstanding for this Idempotency-Key"}' }),
    "retry free",
  ],
  ["key_reused", answered(422, { body: '{"title":"Idempotency-Key is already used"}' }), "rejected"],
  ["gone", answered(410), "rejected"],
  ["length_required", answered(411), "rejected"],
  ["precondition_failed", answered(412), "conflict"],
  ["too_large", answered(413), "rejected"],
  ["uri_too_long", answered(414), "rejected"],
  ["media_type_refused", answered(415), "rejected"],
  ["range_refused", answered(416), "rejected"],
  ["expectation_failed", answered(417), "rejected"],
  ["teapot", answered(418), "rejected"],
  ["misdirected", answered(421), "retry charged"],
  ["unprocessable", answered(422), "rejected"],
  ["locked", answered(423), "retry charged"],
  ["failed_dependency", answered(424), "retry charged"],
  ["too_early", answered(425), "retry charged"],
  ["upgrade_required", answered(426), "rejected"],
  ["precondition_required", answered(428), "rejected"],
  ["rate_limited", answered(429), "retry free for the remote"],
  ["headers_too_large", answered(431), "rejected"],
  ["legal_reasons", answered(451), "rejected"],
  ["refused_by_server", answered(499), "rejected"],
  ["server_error", answered(500), "retry charged"],
  ["not_implemented", answered(501), "retry charged"],
  ["bad_gateway", answered(502, { headers: html, body: page }), "retry charged"],
  ["unavailable", answered(503), "retry charged"],
  ["unavailable_until", answered(503, { headers: { "retry-after": "7" } }), "retry free for the remote"],
  ["gateway_timed_out", answered(504), "retry charged"],
  ["http_version_refused", answered(505), "retry charged"],
  ["insufficient_storage", answered(507), "retry charged"],
  ["loop_detected", answered(508), "retry charged"],
  ["server_failed", answered(599), "retry charged"],
  ["credential_missing", answerOfCode("credential_missing"), "auth"],
  ["credential_refused", answerOfCode("credential_refused"), "auth"],
  ["token_failed", answerOfCode("token_failed"), "auth"],
  ["file_missing", answerOfCode("file_missing"), "rejected"],
  ["token_missing", answerOfCode("token_missing"), "auth"],
  ["token_invalid", answerOfCode("token_invalid"), "auth"],
  ["token_expired", answerOfCode("token_expired"), "auth"],
  ["token_revoked", answerOfCode("token_revoked"), "auth"],
  ["account_suspended", answerOfCode("account_suspended"), "auth"],
  ["space_forbidden", answerOfCode("space_forbidden"), "auth"],
  ["protocol_unsupported", answerOfCode("protocol_unsupported"), "retry free for the remote"],
  ["not_offered", answerOfCode("not_offered"), "retry free for the remote"],
  ["not_a_sync_server", answerOfCode("not_a_sync_server"), "retry free for the remote"],
  ["not_offered", answerOfCode("not_offered"), "retry free for the remote"],
  ["answer_too_large", answerOfCode("answer_too_large"), "unknown"],
];

describe("the table", () => {
  test.each(cases)("%s: %#", (code, answer, expected) => {
    expect(codeOf(answer)).toBe(code);
    expect(verdict(answer)).toBe(expected);
    if ("problem" in answer) {
      expect(answer.problem.message).not.toBe("");
      expect(answer.problem.hint).not.toBe("");
    }
  });

  test("every row has a case, and every case a row", () => {
    expect([...new Set(cases.map(([code]) => code))].sort()).toEqual(failureTable.map((row) => row.code).sort());
  });

  test("no two rows answer to the same key or code", () => {
    const keys = failureTable.flatMap((row) => row.on);
    expect(new Set(keys).size).toBe(keys.length);
    expect(new Set(failureTable.map((row) => row.code)).size).toBe(failureTable.length);
  });

  test("only a charged row is charged, and nothing that no remote answered ever is", () => {
    for (const row of failureTable) {
      if (row.isCharged) expect(row.kind).toBe("retry");
    }
  });

  test("every failure that arises here is known to be no evidence of the remote", () => {
    const codes = new Set(failureTable.map((row) => row.code));
    const others = ["file_changed"];
    expect([...localCodes].filter((code) => !codes.has(code))).toEqual(others);
  });
});

describe("errors", () => {
  test("several addresses that all refuse (AggregateError) are one refusal", () => {
    const each = Object.assign(new Error("connect"), { code: "ECONNREFUSED", syscall: "connect" });
    const cause = new AggregateError([each, each]);
    expect(codeOf(classifyError(new TypeError("fetch failed", { cause }), "request"))).toBe("refused");
  });

  test("the same error after a redirect or in a body may have landed", () => {
    for (const phase of ["redirected", "body"] as const) {
      expect(verdict(thrown("ECONNREFUSED", { syscall: "connect" }, phase))).toBe("unknown");
    }
  });

  test("a cause that points back at itself ends", () => {
    const loop: { cause?: unknown } = {};
    loop.cause = loop;
    expect(classifyError(loop, "request").kind).toBe("unknown");
  });
});

describe("answers", () => {
  test("success is 2xx, 304 and what the operation counts as success", () => {
    expect(answered(200).kind).toBe("applied");
    expect(answered(204, { headers: {}, body: "" }).kind).toBe("applied");
    expect(answered(304, { headers: {}, body: "" }).kind).toBe("applied");
    expect(answered(404, { request: { ...trusted, success: [204, 404] } }).kind).toBe("applied");
  });

  test("an answer that the server replays is a duplicate", () => {
    expect(answered(201, { headers: { ...json, "idempotent-replayed": "true" } }).kind).toBe("duplicate");
  });

  test("a page is an answer where one was asked for, where the remote is proven, or over https", () => {
    const given = { headers: html, body: page };
    expect(answered(200, { ...given, request: { ...plain, expect: "any" } }).kind).toBe("applied");
    expect(answered(200, { ...given, request: { ...plain, accept: "text/html" } }).kind).toBe("applied");
    expect(answered(200, { ...given, request: { ...plain, isProven: true } }).kind).toBe("applied");
    expect(answered(200, given).kind).toBe("applied");
  });

  test("a page without a content type is recognised by its beginning", () => {
    expect(answered(200, { headers: {}, body: page, request: plain }).kind).toBe("unknown");
  });

  test("a sign-in page of a server that names its scheme pauses, a portal's 401 page does not", () => {
    const asks = { ...html, "www-authenticate": "Basic" };
    expect(answered(401, { headers: asks, body: page, request: plain }).kind).toBe("auth");
    expect(answered(401, { headers: html, body: page, request: plain }).kind).toBe("unknown");
  });

  test("Retry-After counts in seconds and as a date, and a date is measured against the answer's own clock", () => {
    const until = "Sun, 06 Nov 1994 08:50:37 GMT";
    const dates = { "retry-after": until, date: "Sun, 06 Nov 1994 08:49:37 GMT" };
    expect(answered(429, { headers: { "retry-after": "120" } })).toMatchObject({ afterMs: 120_000 });
    expect(answered(429, { headers: dates })).toMatchObject({ afterMs: 60_000 });
    expect(answered(503, { headers: dates })).toMatchObject({ afterMs: 60_000, isCharged: false });
    const receivedAt = Date.UTC(1994, 10, 6, 8, 50, 7);
    const request = { ...trusted, receivedAt };
    expect(answered(429, { headers: { "retry-after": until }, request })).toMatchObject({ afterMs: 30_000 });
  });

  test("a 429 without any time still makes the remote wait", () => {
    expect(answered(429, { headers: {} })).toMatchObject({ scope: "remote", afterMs: 10_000 });
  });

  test("the remote's own words, field and body are carried along", () => {
    const body = '{"title":"Invalid","detail":"name is too long","errors":[{"pointer":"#/name","detail":"x"}]}';
    const answer = answered(422, { headers: { "content-type": "application/problem+json" }, body });
    expect(answer).toMatchObject({
      kind: "rejected",
      problem: { status: 422, field: "#/name", detail: { title: "Invalid" } },
    });
    expect("problem" in answer && answer.problem.message).toContain("Invalid: name is too long");
  });

  test("Stripe's words for its keys are told from a version conflict", () => {
    const busy = '{"error":{"type":"idempotency_error","code":"idempotency_key_in_use","message":"another request"}}';
    const reused =
      '{"error":{"type":"idempotency_error","message":"Keys for idempotent requests can only be used with the same parameters they were first used with"}}';
    expect(codeOf(answered(409, { body: busy }))).toBe("still_running");
    expect(codeOf(answered(400, { body: reused }))).toBe("key_reused");
  });

  test("a conflict carries the remote's side with what a new precondition needs", () => {
    const answer = answered(412, { headers: { ...json, etag: '"v7"' }, body: '{"n":7}' });
    expect(answer).toMatchObject({ remote: { status: 412, headers: { etag: '"v7"' }, body: { n: 7 } } });
  });
});

describe("properties", () => {
  const kinds = ["applied", "duplicate", "rejected", "conflict", "retry", "auth", "unknown"];

  test("no input makes the judgement throw", () => {
    fc.assert(
      fc.property(fc.anything({ withBigInt: true, withDate: true, withMap: true }), (error) => {
        for (const phase of ["request", "redirected", "body"] as const) {
          expect(kinds).toContain(classifyError(error, phase).kind);
        }
      }),
      { numRuns: 300 },
    );
    const header = fc.constantFrom(
      "content-type",
      "retry-after",
      "date",
      "ratelimit",
      "ratelimit-reset",
      "etag",
      "proxy-status",
    );
    const value = fc.oneof(
      fc.string(),
      fc.constantFrom("0", "-1", "application/json", "text/html", "Sun, 99 Foo 9999 99:99:99 GMT"),
    );
    fc.assert(
      fc.property(
        fc.oneof(fc.integer({ min: -5, max: 1_000 }), fc.double()),
        fc.dictionary(header, value),
        fc.oneof(fc.string(), fc.json(), fc.constant(page)),
        fc.record({
          method: fc.constantFrom("GET", "HEAD", "POST"),
          isTrusted: fc.boolean(),
          isProven: fc.boolean(),
          isTruncated: fc.boolean(),
        }),
        (status, headers, bodyText, request) => {
          const answer = classifyResponse({ status, headers, bodyText, request });
          expect(kinds).toContain(answer.kind);
          if (answer.kind === "retry" && answer.afterMs !== undefined) {
            expect(answer.afterMs).toBeGreaterThanOrEqual(0);
            expect(answer.afterMs).toBeLessThanOrEqual(86_400_000);
          }
        },
      ),
      { numRuns: 2_000 },
    );
  });

  test("a page over plain http from a remote that was never proven is never the end of an operation", () => {
    fc.assert(
      fc.property(fc.integer({ min: 100, max: 599 }), (status) => {
        const { kind } = answered(status, { headers: html, body: page, request: plain });
        expect(["unknown", "retry", "auth"]).toContain(kind);
      }),
    );
  });
});
