// Owns what a queued request may hold, where ids stand in it and what is sent again. Leaves sending to node/request.test.ts.
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isCode } from "./errors.ts";
import type { Json } from "./operation.ts";
import { checkRequest, httpRequest, redactRequest, requestLimits } from "./request.ts";

const post = (more: object = {}) => ({ method: "POST", url: "https://api.example.com/notes", ...more }) as Json;

function refusal(payload: unknown): string {
  try {
    checkRequest(payload as Json);
  } catch (error) {
    if (isCode(error, "invalid_input")) return `${error.message} | ${error.hint}`;
    throw error;
  }
  throw new Error("it was accepted");
}

describe("at enqueue", () => {
  test("a request is stored in one form: method upper, host lower, no default port, no fragment, header names lower", () => {
    const given = { method: "post", url: "HTTPS://API.Example.com:443/Notes?a=1#top", headers: { "X-Kind": " note " } };
    expect(checkRequest(given)).toEqual({
      method: "POST",
      url: "https://api.example.com/Notes?a=1",
      headers: { "x-kind": "note" },
    });
  });

  test("storing it again changes nothing", () => {
    const once = checkRequest(post({ headers: { "If-Match": '"1"' }, body: { json: { a: [1] } } }));
    expect(checkRequest(once as Json)).toEqual(once);
  });

  test.each([
    [post({ url: "https://ada:pw@api.example.com/" }), "credential"],
    [post({ headers: { Authorization: "Bearer x" } }), "credential"],
    [post({ headers: { COOKIE: "sid=1" } }), "credential"],
    [post({ headers: { "x-api-key": "k" } }), "credential"],
    [post({ headers: { "Idempotency-Key": "k" } }), "written by the sender"],
    [post({ headers: { "x-a": "b\r\nhost: evil" } }), "no header can carry"],
    [post({ headers: { "x a": "b" } }), "no header name"],
    [post({ headers: { "x-a": "1", "X-A": "2" } }), "given twice"],
    [post({ url: "ftp://example.com/" }), "http or https"],
    [post({ url: "/relative" }), "http or https"],
    [post({ method: "TRACE" }), "cannot be sent"],
    [post({ method: "GET", body: { text: "x" } }), "carries none"],
    [post({ body: { json: 1, text: "x" } }), "body"],
    [post({ surprise: 1 }), "payload"],
    [post({ idFrom: "data/id" }), "idFrom"],
    [post({ timeoutMs: requestLimits.timeoutMs.max + 1 }), "timeoutMs"],
    [post({ keep: { bodyBytes: requestLimits.keptBytes.max + 1 } }), "keep.bodyBytes"],
    [post({ credential: "../etc" }), "credential"],
    ["text", "payload"],
    [null, "payload"],
  ])("%j is refused with an explanation", (payload, words) => {
    expect(refusal(payload)).toContain(words);
  });

  test("limits hold at the limit", () => {
    const { timeoutMs, keptBytes } = requestLimits;
    expect(() => checkRequest(post({ timeoutMs: timeoutMs.max, keep: { bodyBytes: keptBytes.max } }))).not.toThrow();
  });

  test("no payload makes the check throw anything but invalid_input", () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), fc.string(), (headers, body, url) => {
        for (const payload of [headers, post({ headers }), post({ body }), post({ url })]) {
          try {
            checkRequest(payload as Json);
          } catch (error) {
            expect(isCode(error, "invalid_input")).toBe(true);
          }
        }
      }),
    );
  });
});

describe("what people see", () => {
  test("the title has neither query nor fragment, and the remote is the origin", () => {
    const payload = checkRequest(post({ url: "https://api.example.com:8443/notes?token=secret" })) as Json;
    expect(httpRequest.title?.(payload)).toBe("POST https://api.example.com:8443/notes");
    expect(httpRequest.remoteOf?.(payload)).toBe("https://api.example.com:8443");
  });

  test("redaction keeps the request readable and takes every value with a secret's name", () => {
    const payload = post({
      url: "https://a.example/x?api_key=abc&page=2&sig=q",
      credential: "work",
      headers: { "x-csrf-token": "t", "x-kind": "note" },
      body: { json: { user: { name: "Ada", password: "pw" }, tokens: ["a"] } },
    });
    expect(redactRequest(payload)).toEqual({
      method: "POST",
      url: "https://a.example/x?api_key=%5Bredacted%5D&page=2&sig=%5Bredacted%5D",
      credential: "work",
      headers: { "x-csrf-token": "[redacted]", "x-kind": "note" },
      body: { json: { user: { name: "Ada", password: "[redacted]" }, tokens: "[redacted]" } },
    });
  });
});

describe("local ids", () => {
  const url = "https://a.example/notes/local-1/parts/local%2F2?parent=local-1&q=about+local-1";
  const payload = checkRequest(post({ url })) as Json;
  const rewrite = (known: Record<string, string>) =>
    (httpRequest.rewrite?.(payload, (id) => known[id] ?? null) as { url: string } | undefined)?.url;

  test("path segments and query values may be ids, decoded", () => {
    expect(httpRequest.mentions?.(payload)).toEqual(["notes", "local-1", "parts", "local/2", "about local-1"]);
  });

  test("only what equals an id exactly is replaced, and encoded", () => {
    expect(rewrite({ "local-1": "a/b" })).toBe(
      "https://a.example/notes/a%2Fb/parts/local%2F2?parent=a%2Fb&q=about+local-1",
    );
    expect(rewrite({ "local/2": "2&3" })).toBe(
      "https://a.example/notes/local-1/parts/2%263?parent=local-1&q=about+local-1",
    );
    expect(rewrite({})).toBe(url);
  });

  test("a server id cannot climb the path", () => {
    expect(rewrite({ "local-1": ".." })).toContain("/notes/local-1/parts/");
  });

  test("host and names are never rewritten", () => {
    expect(rewrite({ "a.example": "evil.example", parent: "x", q: "x" })).toBe(url);
  });
});

describe("when the local side wins", () => {
  const resend = (headers: Record<string, string>, remote: Json) =>
    (httpRequest.resend?.(checkRequest(post({ headers })) as Json, remote) as { headers?: object } | undefined)
      ?.headers;

  test("the precondition names the version that the conflict showed", () => {
    const remote = { status: 412, headers: { etag: '"v7"', "last-modified": "Sun, 06 Nov 1994 08:49:37 GMT" } };
    expect(resend({ "If-Match": '"v6"', "x-a": "1" }, remote)).toEqual({ "if-match": '"v7"', "x-a": "1" });
    expect(resend({ "If-Unmodified-Since": "x" }, remote)).toEqual({
      "if-unmodified-since": "Sun, 06 Nov 1994 08:49:37 GMT",
    });
  });

  test("it is left out where the remote named no version, or a weak one", () => {
    expect(resend({ "If-Match": '"v6"' }, { status: 412, headers: {} })).toBeUndefined();
    expect(resend({ "If-Match": '"v6"' }, { status: 412, headers: { etag: 'W/"v7"' } })).toBeUndefined();
    expect(resend({ "If-None-Match": "*" }, null)).toBeUndefined();
  });
});
