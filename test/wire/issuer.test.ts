// Owns what the sync server makes of a live issuer of JSON Web Tokens over HTTP: keys that come, keys that go, an issuer that is away.
// Leaves claims and signatures to src/server/server.test.ts.
import type { Server } from "node:http";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { CryptoKey, JWK } from "jose";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { afterEach, expect, onTestFinished, test, vi } from "vitest";
import { routes } from "../../src/wire.ts";
import { closeServers, openTestServer } from "../support/sync-server.ts";

afterEach(closeServers);

const issuer = "https://login.test";

/** An issuer whose published keys the test changes; `asked` counts how often they were fetched. */
async function startIssuer() {
  const state: { keys: readonly JWK[]; asked: number; status: number } = { keys: [], asked: 0, status: 200 };
  const http: Server = createServer((_request, response) => {
    state.asked += 1;
    response.writeHead(state.status, { "content-type": "application/json" }).end(JSON.stringify({ keys: state.keys }));
  });
  await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => new Promise<void>((resolve) => void http.close(() => resolve())));
  return { state, url: `http://127.0.0.1:${(http.address() as AddressInfo).port}/keys` };
}

async function newKey(kid: string) {
  const { publicKey, privateKey } = await generateKeyPair("ES256");
  return { privateKey, jwk: { ...(await exportJWK(publicKey)), alg: "ES256", kid } };
}

async function open() {
  // The clock of the key set is the machine's; it moves here by hand.
  const clock = vi.spyOn(Date, "now").mockReturnValue(1_900_000_000_000);
  onTestFinished(() => clock.mockRestore());
  const { state, url } = await startIssuer();
  const server = await openTestServer({ auth: { jwt: { jwks: url, issuer, audience: "holdfast" } } });
  const ask = async (kid: string, key: CryptoKey) => {
    const token = await new SignJWT({ spaces: ["main"] })
      .setProtectedHeader({ alg: "ES256", kid })
      .setIssuer(issuer)
      .setAudience("holdfast")
      .setSubject("user-7")
      .setExpirationTime(server.clock.now / 1_000 + 3_600)
      .sign(key);
    const response = await server.ask(routes.hello, { token });
    const { code } = (await response.json()) as { readonly code?: string };
    return { status: response.status, code, retryAfter: response.headers.get("retry-after") };
  };
  const pass = (seconds: number): void => {
    clock.mockReturnValue(Date.now() + seconds * 1_000);
  };
  return { state, ask, pass };
}

test("a new key is fetched when a token names it, and a key that the issuer took back lets nobody in", async () => {
  const { state, ask, pass } = await open();
  const [old, next] = [await newKey("k1"), await newKey("k2")];
  state.keys = [old.jwk];
  expect(await ask("k1", old.privateKey)).toMatchObject({ status: 200 });
  expect(state.asked).toBe(1);

  state.keys = [old.jwk, next.jwk];
  pass(31);
  expect(await ask("k2", next.privateKey)).toMatchObject({ status: 200 });
  expect(await ask("k1", old.privateKey)).toMatchObject({ status: 200 });
  expect(state.asked).toBe(2);

  state.keys = [next.jwk];
  pass(601);
  expect(await ask("k2", next.privateKey)).toMatchObject({ status: 200 });
  pass(31);
  expect(await ask("k1", old.privateKey)).toMatchObject({ status: 401, code: "token_invalid" });
  expect(await ask("k2", next.privateKey)).toMatchObject({ status: 200 });
});

test("a key that is newer than the last fetch is no reason to sign out: its tokens are asked to come again, then let in", async () => {
  const { state, ask, pass } = await open();
  const [old, next] = [await newKey("k1"), await newKey("k2")];
  state.keys = [old.jwk];
  expect(await ask("k1", old.privateKey)).toMatchObject({ status: 200 });
  state.keys = [next.jwk];
  pass(5);
  expect(await ask("k2", next.privateKey)).toMatchObject({ status: 500, code: "io_failed", retryAfter: "30" });
  expect(state.asked).toBe(1);
  pass(30);
  expect(await ask("k2", next.privateKey)).toMatchObject({ status: 200 });
  expect(state.asked).toBe(2);
});

test("another's key under a name that is known is refused at once", async () => {
  const { state, ask } = await open();
  const [ours, foreign] = [await newKey("k1"), await newKey("k1")];
  state.keys = [ours.jwk];
  expect(await ask("k1", foreign.privateKey)).toMatchObject({ status: 401, code: "token_invalid" });
  expect(await ask("k1", ours.privateKey)).toMatchObject({ status: 200 });
});

test("an issuer that is away or talks nonsense stops nobody while its keys are fresh, and signs out nobody afterwards", async () => {
  const { state, ask, pass } = await open();
  const key = await newKey("k1");
  state.keys = [key.jwk];
  expect(await ask("k1", key.privateKey)).toMatchObject({ status: 200 });
  state.status = 503;
  pass(300);
  expect(await ask("k1", key.privateKey)).toMatchObject({ status: 200 });
  pass(301);
  expect(await ask("k1", key.privateKey)).toMatchObject({ status: 500, code: "io_failed" });
  state.status = 200;
  expect(await ask("k1", key.privateKey)).toMatchObject({ status: 200 });
});
