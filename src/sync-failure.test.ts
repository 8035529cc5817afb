// Proves what a refusal of a whole request by a sync server leads to. Leaves everything else that can go wrong to failure.test.ts.
import { expect, test } from "vitest";
import { classifySyncAnswer } from "./sync-failure.ts";
import { wireCodes } from "./wire.ts";

const request = { method: "POST", isTrusted: true, expect: "json" } as const;
const answer = (status: number, body: object | string, headers: Record<string, string> = {}) =>
  classifySyncAnswer({
    status,
    headers: { "content-type": typeof body === "string" ? "text/html" : "application/problem+json", ...headers },
    bodyText: typeof body === "string" ? body : JSON.stringify(body),
    request,
  });

test("a success is left to the check of its body", () => {
  expect(answer(200, { records: [] }, { "content-type": "application/json" })).toBeNull();
});

test.each([
  [401, "token_expired", "auth"],
  [401, "token_missing", "auth"],
  [403, "account_suspended", "auth"],
  [403, "token_revoked", "auth"],
  [403, "space_forbidden", "auth"],
  [426, "protocol_unsupported", "retry"],
])("%s %s stops the subject or waits, in the server's own words", (status, code, kind) => {
  const found = answer(status, { code, detail: "Your plan ended on Friday.", hint: "call Ada" });
  expect(found).toMatchObject({
    kind,
    problem: { code, message: "Your plan ended on Friday.", hint: "call Ada", status },
  });
});

test("every code of the wire has its row and its words", () => {
  for (const code of wireCodes) expect(answer(403, { code })?.problem.message).not.toBe("");
});

test("no refusal of a whole request parks operations, but one about what was sent", () => {
  for (const status of [402, 403, 404, 405, 406, 409, 410, 412, 415, 426, 431])
    expect(answer(status, { title: "no" })?.kind, String(status)).toMatch(/^(retry|auth)$/);
  for (const status of [400, 413, 422]) expect(answer(status, { title: "no" })?.kind).toBe("rejected");
});

test("waiting for a change on one of the two sides costs no attempt and is not hammered", () => {
  expect(answer(404, { title: "nothing here" })).toMatchObject({
    kind: "retry",
    isCharged: false,
    scope: "remote",
    afterMs: 60_000,
    problem: { code: "not_a_sync_server" },
  });
});

test("a portal's page, a proxy's failure and broken JSON are no answer", () => {
  expect(answer(200, "<html>Welcome to the hotel</html>")?.kind).toBe("unknown");
  expect(answer(403, "<html>Blocked</html>", { "proxy-status": "squid; error=dns_timeout" })?.kind).toBe("unknown");
  expect(
    classifySyncAnswer({ status: 200, headers: { "content-type": "application/json" }, bodyText: '{"rec', request })
      ?.kind,
  ).toBe("unknown");
});

test("a pause that the server asks for is kept", () => {
  expect(answer(429, { title: "slow down" }, { "retry-after": "7" })).toMatchObject({ kind: "retry", afterMs: 7_000 });
  expect(answer(503, { title: "upgrade" }, { "retry-after": "20" })).toMatchObject({ kind: "retry", afterMs: 20_000 });
});
