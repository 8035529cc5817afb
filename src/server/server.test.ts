/**
 * Owns the rules of the server's face: who is let in, what is refused and how, limits, events, metrics, the document.
 */
import { CompactSign, exportJWK, generateKeyPair, SignJWT } from "jose";
import { afterEach, describe, expect, test } from "vitest";
import { closeServers, openTestServer } from "../../test/support/sync-server.ts";
import { hello, routes } from "../wire.ts";
import type { AuthOptions } from "./auth.ts";
import { listTokens, reinstateAccount, revokeToken, suspendAccount } from "./tokens.ts";

afterEach(closeServers);

type OpenApi = { readonly paths: object; readonly components: { readonly schemas: object } };

const jwt = { jwks: "https://login.test/keys", issuer: "https://login.test", audience: "holdfast" };
const pullBody = { space: "main", history: "", wants: [{ collection: "notes", after: 0 }], limit: 10 };
const pushBody = (fields: object = {}) => ({
  ...{ space: "main", client: "c", floor: 0 },
  items: [
    {
      id: "op-1",
      number: 1,
      at: 1,
      changes: [{ collection: "notes", key: "k", kind: "create", base: 0, fields, schema: 1 }],
    },
  ],
});

describe("a token", () => {
  test("opens its spaces and no others", async () => {
    const server = await openTestServer();
    expect((await server.ask(routes.pull, { body: pullBody })).status).toBe(200);
    const refused = { status: 403, code: "space_forbidden" };
    const other = { ...pullBody, space: "other" };
    expect(await server.problem(routes.pull, { body: other })).toMatchObject(refused);
    expect(await server.problem(routes.push, { body: { ...pushBody(), space: "other" } })).toMatchObject(refused);
    expect(
      await server.problem(routes.fetch, { body: { space: "other", collection: "notes", keys: ["k"] } }),
    ).toMatchObject(refused);
    expect(await server.problem(`${routes.events}?space=other`)).toMatchObject(refused);
  });

  test.each([
    ["none", null, "token_missing"],
    ["a strange one", "hf_nonsense", "token_invalid"],
    ["one that is too long", "x".repeat(9_000), "token_invalid"],
  ])("%s: 401 with a code", async (_name, token, code) => {
    const server = await openTestServer();
    const response = await server.ask(routes.hello, { token });
    expect(response.status).toBe(401);
    expect(response.headers.get("www-authenticate")).toContain("Bearer");
    expect(response.headers.get("content-type")).toBe("application/problem+json");
    expect(await response.json()).toMatchObject({ code, hint: expect.stringMatching(/.+/) });
  });

  test("that has expired waits for fresh credentials; that is revoked, or whose account is suspended, does not", async () => {
    const server = await openTestServer();
    const token = await server.addToken("bob", undefined, server.clock.now + 1_000);
    expect((await server.ask(routes.hello, { token })).status).toBe(200);
    await suspendAccount(server.store, { subject: "bob", reason: "unpaid" }, 0);
    expect(await server.problem(routes.hello, { token })).toMatchObject({
      ...{ status: 403, code: "account_suspended", details: { subject: "bob", reason: "unpaid" } },
    });
    await reinstateAccount(server.store, "bob");
    server.clock.now += 1_000;
    expect(await server.problem(routes.hello, { token })).toMatchObject({ status: 401, code: "token_expired" });
    const { listTokens } = await import("./tokens.ts");
    const own = (await listTokens(server.store)).find(({ subject }) => subject === "ana");
    expect(await revokeToken(server.store, own?.id ?? "", 0)).toBe(true);
    expect(await revokeToken(server.store, own?.id ?? "", 0)).toBe(false);
    expect(await server.problem(routes.hello)).toMatchObject({ status: 403, code: "token_revoked" });
  });

  test("is kept as a hash only", async () => {
    const server = await openTestServer();
    const rows = await server.store.read((tx) => tx.all("SELECT * FROM hf_token"));
    expect(JSON.stringify(rows)).not.toContain(server.token);
    expect(rows[0]?.hash).toMatch(/^[0-9a-f]{64}$/);
  });
});

describe("a JSON Web Token", () => {
  const issuer = "https://login.test";
  const open = async () => {
    const { publicKey, privateKey } = await generateKeyPair("ES256");
    const jwks = { keys: [{ ...(await exportJWK(publicKey)), alg: "ES256", kid: "k1" }] };
    const server = await openTestServer({ auth: { jwt: { jwks, issuer, audience: "holdfast" } } });
    const sign = (
      claims: object,
      more: { readonly iss?: string; readonly key?: typeof privateKey; readonly sub?: string } = {},
    ) =>
      new SignJWT({ spaces: ["main"], ...claims })
        .setProtectedHeader({ alg: "ES256", kid: "k1" })
        .setIssuer(more.iss ?? issuer)
        .setAudience("holdfast")
        .setSubject(more.sub ?? "user-7")
        .setExpirationTime(server.clock.now / 1_000 + 60)
        .sign(more.key ?? privateKey);
    const signText = (claims: string) =>
      new CompactSign(Buffer.from(claims)).setProtectedHeader({ alg: "ES256", kid: "k1" }).sign(privateKey);
    return { server, sign, signText };
  };

  test("becomes its subject with spaces and roles, and static tokens stay good", async () => {
    const { server, sign } = await open();
    const token = await sign({ spaces: { main: ["clerk"], other: [] }, roles: ["staff"] });
    expect(await (await server.ask(routes.hello, { token })).json()).toMatchObject({
      subject: "user-7",
      spaces: [
        { space: "main", roles: ["staff", "clerk"] },
        { space: "other", roles: ["staff"] },
      ],
    });
    expect((await server.ask(routes.hello)).status).toBe(200);
  });

  test("of another issuer, under another key or out of date is refused by code", async () => {
    const { server, sign } = await open();
    const { privateKey } = await generateKeyPair("ES256");
    const invalid = { status: 401, code: "token_invalid" };
    expect(await server.problem(routes.hello, { token: await sign({}, { iss: "https://evil.test" }) })).toMatchObject(
      invalid,
    );
    expect(await server.problem(routes.hello, { token: await sign({}, { key: privateKey }) })).toMatchObject(invalid);
    const none = `${Buffer.from('{"alg":"none"}').toString("base64url")}.${Buffer.from('{"sub":"x"}').toString("base64url")}.`;
    expect(await server.problem(routes.hello, { token: none })).toMatchObject(invalid);
    const token = await sign({});
    await suspendAccount(server.store, { subject: "user-7", reason: "" }, 0);
    expect(await server.problem(routes.hello, { token })).toMatchObject({ status: 403, code: "account_suspended" });
    server.clock.now += 120_000;
    expect(await server.problem(routes.hello, { token })).toMatchObject({ status: 401, code: "token_expired" });
  });

  test.each<[string, object, RegExp]>([
    ["no audience", { jwt: { jwks: { keys: [] }, issuer } }, /audience/],
    ["a misspelt audience", { jwt: { jwks: { keys: [] }, issuer, audience: "holdfast", audiance: "b" } }, /audiance/],
    ["an empty issuer", { jwt: { jwks: { keys: [] }, issuer: "", audience: "holdfast" } }, /issuer/],
    ["a misspelt way in", { token: false }, /token/],
    ["keys from nowhere", { jwt: { jwks: "my keys", issuer, audience: "holdfast" } }, /jwks/],
  ])("is not half checked: auth with %s does not start", async (_name, auth, message) => {
    await expect(openTestServer({ auth: auth as AuthOptions })).rejects.toThrow(message);
  });

  test("that names no key is tried with each of the issuer's that fit", async () => {
    const [one, two] = [await generateKeyPair("ES256"), await generateKeyPair("ES256")];
    const jwks = { keys: [await exportJWK(one.publicKey), await exportJWK(two.publicKey)] };
    const server = await openTestServer({ auth: { jwt: { jwks, issuer, audience: "holdfast" } } });
    const sign = (key: typeof one.privateKey, seconds = 60) =>
      new SignJWT({ spaces: ["main"], iss: issuer, aud: "holdfast", sub: "user-7" })
        .setProtectedHeader({ alg: "ES256" })
        .setExpirationTime(server.clock.now / 1_000 + seconds)
        .sign(key);
    expect((await server.ask(routes.hello, { token: await sign(one.privateKey) })).status).toBe(200);
    expect((await server.ask(routes.hello, { token: await sign(two.privateKey) })).status).toBe(200);
    const expired = await sign(two.privateKey, -60);
    expect(await server.problem(routes.hello, { token: expired })).toMatchObject({ code: "token_expired" });
    const { privateKey } = await generateKeyPair("ES256");
    const stranger = await sign(privateKey);
    expect(await server.problem(routes.hello, { token: stranger })).toMatchObject({ code: "token_invalid" });
  });

  test("whose subject is no text is refused by code, and is no failure of the server", async () => {
    const { server, signText } = await open();
    const exp = server.clock.now / 1_000 + 60;
    const token = await signText(JSON.stringify({ iss: issuer, aud: "holdfast", sub: 7, exp, spaces: ["main"] }));
    expect(await server.problem(routes.hello, { token })).toMatchObject({ status: 401, code: "token_invalid" });
    expect(server.log).toEqual([]);
  });

  test("whose issuer cannot be reached is no reason to sign out: 500 and again", async () => {
    const jwt = { jwks: "http://127.0.0.1:1/keys", issuer, audience: "holdfast" };
    const server = await openTestServer({ auth: { jwt } });
    const { privateKey } = await generateKeyPair("ES256");
    const token = await new SignJWT({}).setProtectedHeader({ alg: "ES256", kid: "k" }).setSubject("a").sign(privateKey);
    const response = await server.ask(routes.hello, { token });
    expect(response.status).toBe(500);
    expect(response.headers.get("retry-after")).toBe("5");
    expect(server.log).toMatchObject([{ level: "error" }]);
  });
});

describe("a request", () => {
  test.each([
    ["of another protocol", { body: pullBody, headers: { "holdfast-protocol": "2" } }, 400, "protocol_unsupported"],
    ["with another method", { method: "GET" }, 405, "method_not_allowed"],
    ["that is no JSON", { body: "{" }, 400, "invalid_input"],
    ["of another media type", { body: "{}", headers: { "content-type": "text/plain" } }, 415, "unsupported_media_type"],
    ["packed in an unknown way", { body: "{}", headers: { "content-encoding": "br" } }, 415, "unsupported_media_type"],
    ["that is no gzip", { body: "{}", headers: { "content-encoding": "gzip" } }, 400, "invalid_input"],
    ["without a space", { body: { ...pullBody, space: "" } }, 400, "invalid_input"],
    ["with a zero in a name", { body: { ...pullBody, space: "a\u0000b" } }, 400, "invalid_input"],
    ["with too large a page", { body: { ...pullBody, limit: 5_001 } }, 400, "invalid_input"],
    ["that nests too deep", { body: `{"space":${"[".repeat(5_000)}${"]".repeat(5_000)}}` }, 400, "invalid_input"],
  ])("%s is refused", async (_name, asked, status, code) => {
    const server = await openTestServer();
    expect(await server.problem(routes.pull, asked)).toMatchObject({ status, code });
  });

  test("to nowhere is 404; to what is reserved, 501 with a code", async () => {
    const server = await openTestServer();
    expect(await server.problem("/v1/nothing")).toMatchObject({ status: 404, code: "not_found" });
    expect(await server.problem("/v1/locks")).toMatchObject({ status: 501, code: "not_offered" });
    expect(await server.problem("/v1/uploads/7", { method: "PATCH" })).toMatchObject({
      status: 501,
      code: "not_offered",
    });
  });

  test.each<[string, object, RegExp]>([
    ["misspelt", { limits: { pageByte: 5 } }, /did you mean "pageBytes"/],
    ["no number", { limits: { burst: "many" } }, /burst must be a whole number above 0; got "many"/],
    ["half of a request", { limits: { burst: 0.5 } }, /burst must be a whole number above 0; got 0.5/],
    ["no rate", { limits: { requestsPerSecond: -1 } }, /requestsPerSecond must be a number above 0; got -1/],
    ["longer than a timer", { limits: { heartbeatMs: 2 ** 31 } }, /heartbeatMs .* at most 2147483647/],
    ["more than clients take", { limits: { operationBytes: 16_777_217 } }, /operationBytes .* at most 16777216/],
    ["a text for a yes", { isOpen: "false" }, /isOpen must be true or false/],
    ["no list", { origins: "https://app.example.com" }, /origins must be a list/],
    ["no origin", { origins: ["app.example.com"] }, /"app.example.com" is no origin/],
    ["an origin with a path", { origins: ["https://app.example.com/"] }, /is no origin/],
    ["null for what is declared", { collections: null }, /collections must be a list/],
    ["null for who comes in", { auth: null }, /auth takes an object/],
    ["a text for a yes to tokens", { auth: { tokens: "false" } }, /tokens must be true or false; got "false"/],
    ["no way in", { auth: { tokens: false } }, /nobody could come in/],
    ["one algorithm for a list", { auth: { jwt: { ...jwt, algorithms: "ES256" } } }, /algorithms must be a list/],
    ["a tolerance in words", { auth: { jwt: { ...jwt, clockToleranceS: "30" } } }, /clockToleranceS must be a number/],
    ["spaces that are no function", { auth: { jwt: { ...jwt, spaces: "main" } } }, /spaces must be a function/],
    ["no key set", { auth: { jwt: { ...jwt, jwks: {} } } }, /jwks must be the address of a key set/],
    ["a key set that is nowhere", { auth: { jwt: { ...jwt, jwks: "login:keys" } } }, /jwks must be the address/],
  ])("a limit or option that is %s does not start", async (_name, options, message) => {
    await expect(openTestServer(options)).rejects.toThrow(message);
  });

  test("one byte over the limit of the body is refused, with and without its length; at the limit it passes", async () => {
    const text = JSON.stringify(pullBody);
    const small = await openTestServer({ limits: { bodyBytes: text.length - 1 } });
    expect(await small.problem(routes.pull, { body: text })).toMatchObject({ status: 413, code: "payload_too_large" });
    const headers = { "content-length": String(text.length) };
    expect(await small.problem(routes.pull, { body: text, headers })).toMatchObject({ code: "payload_too_large" });
    const exact = await openTestServer({ limits: { bodyBytes: text.length } });
    expect((await exact.ask(routes.pull, { body: text })).status).toBe(200);
  });

  test("may be packed with gzip, and is measured unpacked", async () => {
    const server = await openTestServer({ limits: { bodyBytes: 100_000 } });
    const send = async (fields: object): Promise<Response> => {
      const packed = new Blob([JSON.stringify(pushBody(fields))]).stream().pipeThrough(new CompressionStream("gzip"));
      const headers = { authorization: `Bearer ${server.token}`, "content-type": "application/json" };
      return server.server.fetch(
        new Request(`http://server.test${routes.push}`, {
          method: "POST",
          headers: { ...headers, "content-encoding": "gzip", "holdfast-protocol": "1" },
          body: await new Response(packed).arrayBuffer(),
        }),
      );
    };
    expect((await send({ text: "x".repeat(90_000) })).status).toBe(200);
    expect(await (await send({ text: "x".repeat(10_000_000) })).json()).toMatchObject({ code: "payload_too_large" });
  });

  test("with 501 operations is refused, with 500 not", async () => {
    const server = await openTestServer();
    const items = (count: number) =>
      Array.from({ length: count }, (_, n) => ({ ...pushBody().items[0], id: `op-${n}`, number: n }));
    expect(await server.problem(routes.push, { body: { ...pushBody(), items: items(501) } })).toMatchObject({
      status: 400,
    });
    expect((await server.ask(routes.push, { body: { ...pushBody(), items: items(500) } })).status).toBe(200);
  });

  test("beyond the rate of its token waits as long as it is told; other tokens do not", async () => {
    const server = await openTestServer({ limits: { requestsPerSecond: 2, burst: 3 } });
    const other = await server.addToken("bob");
    for (let index = 0; index < 3; index += 1) expect((await server.ask(routes.hello)).status).toBe(200);
    const response = await server.ask(routes.hello);
    expect(response.status).toBe(429);
    expect(response.headers.get("retry-after")).toBe("1");
    expect(await response.json()).toMatchObject({ code: "rate_limited", details: { waitMs: 500 } });
    expect((await server.ask(routes.hello, { token: other })).status).toBe(200);
    server.clock.now += 500;
    expect((await server.ask(routes.hello)).status).toBe(200);
    expect((await server.ask(routes.hello)).status).toBe(429);
  });

  test("of another origin is answered only where it is allowed", async () => {
    const server = await openTestServer({ origins: ["https://app.test"] });
    const from = (origin: string, method = "GET") => server.ask(routes.hello, { method, headers: { origin } });
    expect((await from("https://app.test")).headers.get("access-control-allow-origin")).toBe("https://app.test");
    expect((await from("https://evil.test")).headers.get("access-control-allow-origin")).toBeNull();
    const preflight = await from("https://app.test", "OPTIONS");
    expect(preflight.headers.get("access-control-allow-headers")).toContain("holdfast-protocol");
    expect(preflight.headers.get("access-control-allow-headers")).toContain("content-encoding");
    expect((await from("https://evil.test", "OPTIONS")).headers.get("access-control-allow-headers")).toBeNull();
  });

  test("that fails inside tells nothing of the inside, and the log everything", async () => {
    const server = await openTestServer();
    await server.store.write((tx) => tx.run("DROP TABLE hf_record"));
    const problem = await server.problem(routes.pull, { body: pullBody });
    expect(problem.status).toBe(500);
    expect(JSON.stringify(server.log)).toContain("hf_record");
  });
});

describe("events", () => {
  const open = async (server: Awaited<ReturnType<typeof openTestServer>>, query = "space=main") => {
    const abort = new AbortController();
    const response = await server.ask(`${routes.events}?${query}`, { signal: abort.signal });
    const reader = response.body?.getReader() ?? null;
    const decoder = new TextDecoder();
    let text = "";
    const next = async (until: string): Promise<string> => {
      while (!text.includes(until)) {
        const part = await reader?.read();
        if (part === undefined || part.done) return `${text}<end>`;
        text += decoder.decode(part.value);
      }
      return text;
    };
    return { response, next, cancel: () => reader?.cancel() };
  };

  test("begin with the head, then tell each move of their spaces, and of no others", async () => {
    const server = await openTestServer();
    const all = await server.addToken("root", [{ space: "*", roles: [] }]);
    await server.push({ kind: "create", key: "k1" });
    const stream = await open(server);
    expect(stream.response.headers.get("content-type")).toBe("text/event-stream");
    await stream.next('data: {"space":"main","head":1}\n\n');
    await server.push({ kind: "create", key: "k1" }, { space: "other", token: all });
    await server.push({ kind: "create", key: "k2" });
    expect(await stream.next('"head":2}')).not.toContain("other");
    await stream.cancel();
    expect(await (await server.ask("/metrics")).text()).toContain("holdfast_server_streams 0");
  });

  test("keep only the newest head for a reader that does not read", async () => {
    const server = await openTestServer();
    const stream = await open(server);
    await stream.next('"head":0}');
    for (let index = 1; index <= 50; index += 1) await server.push({ kind: "create", key: `k${index}` });
    const text = await stream.next('"head":50}');
    expect(text.split("data:").length).toBeLessThan(12);
    await stream.cancel();
  });

  test("beat while nothing happens, and end when their time is over", async () => {
    const server = await openTestServer({ limits: { heartbeatMs: 10, streamMs: 1_000 } });
    const stream = await open(server);
    await stream.next(": beat");
    server.clock.now += 1_000;
    expect(await stream.next("<never>")).toContain("<end>");
  });

  test("end with the token, and with the server", async () => {
    const server = await openTestServer({ limits: { heartbeatMs: 10 } });
    const token = await server.addToken("bob", undefined, server.clock.now + 500);
    const response = await server.ask(`${routes.events}?space=main`, { token });
    server.clock.now += 500;
    expect(await response.text()).toContain(": holdfast");
    const stream = await open(server);
    await stream.next('"head":0}');
    await server.server.close();
    expect(await stream.next("<never>")).toContain("<end>");
  });

  test("are not opened by a question that wants no body", async () => {
    const { ask } = await openTestServer({ limits: { streamsPerToken: 1, streams: 1 } });
    const at = `${routes.events}?space=main`;
    for (let asked = 0; asked < 3; asked += 1) expect((await ask(at, { method: "HEAD" })).status).toBe(200);
    expect((await ask(at)).status).toBe(200);
  });

  test("end with the next heartbeat when their token is revoked or their account suspended; those of others go on", async () => {
    const server = await openTestServer({ limits: { heartbeatMs: 10 } });
    const [revoked, suspended] = [await server.addToken("bob"), await server.addToken("eve")];
    const at = `${routes.events}?space=main`;
    const own = await open(server);
    const ended = [revoked, suspended].map(async (token) => (await server.ask(at, { token })).text());
    await own.next(": beat");
    const id = (await listTokens(server.store)).find(({ subject }) => subject === "bob")?.id ?? "";
    expect(await revokeToken(server.store, id, server.clock.now)).toBe(true);
    await suspendAccount(server.store, { subject: "eve", reason: "left" }, server.clock.now);
    for (const text of await Promise.all(ended)) expect(text).toContain('"head":0}');
    expect(await server.problem(at, { token: revoked })).toMatchObject({ status: 403, code: "token_revoked" });
    expect(await server.problem(at, { token: suspended })).toMatchObject({ status: 403, code: "account_suspended" });
    await server.push({ kind: "create", key: "k1" });
    await own.next('"head":1}');
    await own.cancel();
  });

  test("go on while the database cannot say whether their token is good", async () => {
    const server = await openTestServer({ limits: { heartbeatMs: 10 } });
    const stream = await open(server);
    await stream.next('"head":0}');
    const { read } = server.store;
    let failures = 0;
    Object.assign(server.store, {
      read: () => {
        failures += 1;
        return Promise.reject(new Error("away"));
      },
    });
    while (failures < 3) await new Promise((resolve) => setTimeout(resolve, 5));
    Object.assign(server.store, { read });
    expect(server.log.filter(({ level }) => level === "warn").length).toBeGreaterThan(0);
    await server.push({ kind: "create", key: "k1" });
    await stream.next('"head":1}');
    await stream.cancel();
  });

  test("are limited per token and per process, at the limit and past it", async () => {
    const server = await openTestServer({ limits: { streamsPerToken: 1, streams: 2 } });
    const others = [await server.addToken("bob"), await server.addToken("eve")];
    const at = `${routes.events}?space=main`;
    expect((await server.ask(at)).status).toBe(200);
    expect(await server.problem(at)).toMatchObject({ status: 429, code: "rate_limited" });
    expect((await server.ask(at, { token: others[0] ?? "" })).status).toBe(200);
    expect((await server.ask(at, { token: others[1] ?? "" })).status).toBe(429);
    expect(await server.problem(routes.events)).toMatchObject({ status: 400 });
  });
});

test("hello says what the server is and what the token may do", async () => {
  const server = await openTestServer({ collections: [{ name: "notes", version: 3 }], version: "1.2.3" });
  const said = hello.parse(await (await server.ask(routes.hello)).json());
  expect(said).toMatchObject({
    ...{ server: "holdfast", version: "1.2.3", protocols: [1], subject: "ana", isOpen: false },
    collections: [{ name: "notes", version: 3 }],
    spaces: [{ space: "main", roles: [] }],
  });
});

test("health needs no token, and fails with the database", async () => {
  const server = await openTestServer();
  let isGone = false;
  const { store } = server;
  const read = ((work: never) => (isGone ? Promise.reject(new Error("gone")) : store.read(work))) as typeof store.read;
  const watched = await openTestServer({ store: { ...store, read } });
  expect((await watched.ask("/health", { token: null })).status).toBe(200);
  isGone = true;
  expect((await watched.ask("/health", { token: null })).status).toBe(503);
  expect(watched.log).toMatchObject([{ level: "error" }]);
});

test("metrics count requests, outcomes and records, for those with a token", async () => {
  const server = await openTestServer();
  await server.push({ kind: "create", key: "k1" });
  await server.pull();
  expect((await server.ask("/metrics", { token: null })).status).toBe(401);
  const text = await (await server.ask("/metrics")).text();
  for (const line of [
    'holdfast_server_requests_total{route="push",status="200"} 1',
    'holdfast_server_operations_total{outcome="applied"} 1',
    "holdfast_server_records_total 1",
    'holdfast_server_request_duration_seconds_bucket{route="pull",le="+Inf"} 1',
  ])
    expect(text).toContain(line);
});

test("the document describes every route that is served, and its references lead somewhere", async () => {
  const server = await openTestServer();
  const document = (await (await server.ask("/openapi.json", { token: null })).json()) as OpenApi;
  const served = [
    ...Object.values(routes).filter((route) => !/locks|uploads/.test(route)),
    "/health",
    "/metrics",
    "/openapi.json",
  ];
  expect(Object.keys(document.paths).sort()).toEqual(served.sort());
  const text = JSON.stringify(document);
  for (const [, name] of text.matchAll(/"#\/components\/schemas\/([^"]+)"/g))
    expect(Object.keys(document.components.schemas)).toContain(name);
});
