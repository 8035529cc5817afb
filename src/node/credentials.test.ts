// Owns who may read a secret, where it may go and how its change is noticed. Leaves sending it to request.test.ts.
import { execFile } from "node:child_process";
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { afterEach, expect, test } from "vitest";
import { isCode } from "../errors.ts";
import type { Credential, CredentialChange } from "./credentials.ts";
import { isAllowedOrigin, makeCredentials } from "./credentials.ts";

const folders: string[] = [];
function place(environment: Record<string, string> = {}) {
  const folder = mkdtempSync(path.join(tmpdir(), "holdfast-credentials-"));
  folders.push(folder);
  const file = path.join(folder, "credentials.json");
  return { file, credentials: makeCredentials({ file, environment, pollMs: 50 }) };
}
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

const api: Credential = { kind: "bearer", token: "s3cret", origins: ["https://api.example.com"] };
const request = { name: "api", subject: "", origin: "https://api.example.com" };
const authorization = (value: string) => ({ kind: "found", headers: { authorization: value } });

test("a credential is kept for its owner alone and given only to the origins it names", async () => {
  const { file, credentials } = place();
  expect(credentials.resolve(request).kind).toBe("missing");
  await credentials.set("api", api);
  expect(statSync(file).mode & 0o777).toBe(0o600);
  expect(credentials.resolve(request)).toEqual(authorization("Bearer s3cret"));
  for (const origin of [
    "http://api.example.com",
    "https://api.example.com:8443",
    "https://evil.example",
    "https://example.com",
  ]) {
    const refused = credentials.resolve({ ...request, origin });
    expect(refused.kind).toBe("refused");
    expect(JSON.stringify(refused)).not.toContain("s3cret");
  }
});

test("a star stands for labels before a domain, not for the domain nor for a longer name", () => {
  const allowed = (origin: string) => isAllowedOrigin(["https://*.example.com"], origin);
  expect(["https://a.example.com", "https://a.b.example.com"].every(allowed)).toBe(true);
  const others = [
    "https://example.com",
    "https://evilexample.com",
    "http://a.example.com",
    "https://a.example.com:1",
    "https://a.example.com.evil.example",
  ];
  expect(others.some(allowed)).toBe(false);
});

test("a subject's own credential goes before the common one", async () => {
  const { credentials } = place();
  await credentials.set("api", api);
  await credentials.set("api", { ...api, token: "ada" }, "ada@example.com");
  expect(credentials.resolve({ ...request, subject: "ada@example.com" })).toEqual(authorization("Bearer ada"));
  expect(credentials.resolve({ ...request, subject: "bob" })).toEqual(authorization("Bearer s3cret"));
  expect(await credentials.remove("api", "ada@example.com")).toBe(true);
  expect(await credentials.remove("api", "ada@example.com")).toBe(false);
  expect(credentials.resolve({ ...request, subject: "ada@example.com" })).toEqual(authorization("Bearer s3cret"));
});

test("every kind makes its headers", async () => {
  const { credentials } = place();
  const { origins } = api;
  await credentials.set("b", { kind: "basic", username: "ada", password: "p:ä", origins });
  await credentials.set("h", { kind: "headers", headers: { "X-Api-Key": "k" }, origins });
  expect(credentials.resolve({ ...request, name: "b" })).toEqual(
    authorization(`Basic ${Buffer.from("ada:p:ä").toString("base64")}`),
  );
  expect(credentials.resolve({ ...request, name: "h" })).toEqual({ kind: "found", headers: { "x-api-key": "k" } });
});

test("a handler that throws gets headers, or credential_missing", async () => {
  const { credentials } = place();
  const url = "https://api.example.com/files?x=1";
  await expect(credentials.headersFor("api", "", url)).rejects.toSatisfy((error) =>
    isCode(error, "credential_missing"),
  );
  await credentials.set("api", api);
  expect(await credentials.headersFor("api", "", url)).toEqual({ authorization: "Bearer s3cret" });
});

test("a list never holds a value", async () => {
  const { credentials } = place({
    HOLDFAST_CREDENTIAL_CI: "envsecret",
    HOLDFAST_CREDENTIAL_CI_ORIGINS: "https://ci.example",
  });
  await credentials.set("api", api);
  expect(credentials.list()).toEqual([
    { name: "api", subject: null, kind: "bearer", origins: api.origins, source: "file" },
    { name: "ci", subject: null, kind: "bearer", origins: ["https://ci.example"], source: "environment" },
  ]);
  expect(JSON.stringify(credentials.list())).not.toMatch(/s3cret|envsecret/);
});

test("the environment gives a token with origins, or a whole credential as JSON; without origins it goes nowhere", () => {
  const { credentials } = place({
    HOLDFAST_CREDENTIAL_API: "t1",
    HOLDFAST_CREDENTIAL_API_ORIGINS: "https://a.example, https://api.example.com",
    HOLDFAST_CREDENTIAL_MY_APP: JSON.stringify({ ...api, token: "t2" }),
    HOLDFAST_CREDENTIAL_LOOSE: "t3",
  });
  expect(credentials.resolve(request)).toEqual(authorization("Bearer t1"));
  expect(credentials.resolve({ ...request, name: "my-app" })).toEqual(authorization("Bearer t2"));
  expect(credentials.resolve({ ...request, name: "loose" }).kind).toBe("missing");
});

test("a file that others can read, a symbolic link and a broken file are refused and never overwritten", async () => {
  const { file, credentials } = place();
  await credentials.set("api", api);
  const before = readFileSync(file, "utf8");
  chmodSync(file, 0o640);
  expect(credentials.resolve(request)).toMatchObject({
    kind: "missing",
    reason: expect.stringContaining("read by others"),
  });
  await expect(credentials.set("b", api)).rejects.toSatisfy((error) => isCode(error, "config_invalid"));
  expect(readFileSync(file, "utf8")).toBe(before);

  rmSync(file);
  writeFileSync(`${file}.real`, before, { mode: 0o600 });
  symlinkSync(`${file}.real`, file);
  expect(credentials.resolve(request)).toMatchObject({
    kind: "missing",
    reason: expect.stringContaining("symbolic link"),
  });

  rmSync(file);
  writeFileSync(file, '{"version":1,"credentials":{"api":{"kind":"bearer","token":42}}}', { mode: 0o600 });
  expect(() => credentials.list()).toThrow(/credentials\.api/);
  writeFileSync(file, "{", { mode: 0o600 });
  await expect(credentials.set("b", api)).rejects.toThrow(/not JSON/);
});

test.each([
  ["no origins", "api", { ...api, origins: [] }],
  ["a path in an origin", "api", { ...api, origins: ["https://a.example/x"] }],
  ["a star in the middle", "api", { ...api, origins: ["https://a.*.example"] }],
  ["every host", "api", { ...api, origins: ["https://*"] }],
  ["no scheme", "api", { ...api, origins: ["a.example"] }],
  ["a line break in the token", "api", { ...api, token: "a\r\nx: y" }],
  ["a bad name", "../api", api],
])("%s is refused", async (_what, name, credential) => {
  const { credentials } = place();
  await expect(credentials.set(name, credential as Credential)).rejects.toSatisfy((error) =>
    isCode(error, "invalid_input"),
  );
});

test("a change is told, also when another process makes it", async () => {
  const { file, credentials } = place();
  await credentials.set("api", api);
  const told: CredentialChange[] = [];
  const end = credentials.subscribe((changes) => told.push(...changes));
  const script = `import { makeCredentials } from ${JSON.stringify(path.resolve("src/node/credentials.ts"))};
    await makeCredentials({ file: ${JSON.stringify(file)} }).set("api", ${JSON.stringify({ ...api, token: "new" })}, "ada");`;
  await promisify(execFile)(process.execPath, ["--input-type=module", "-e", script]);
  await expect.poll(() => told).toEqual([{ name: "api", subject: "ada" }]);
  end();
  await credentials.remove("api");
  expect(told).toHaveLength(1);
});

test("writers that meet lose nothing", async () => {
  const { file, credentials } = place();
  const other = makeCredentials({ file });
  const names = Array.from({ length: 10 }, (_, index) => `n${index}`);
  await Promise.all(names.map((name, index) => (index % 2 === 0 ? credentials : other).set(name, api)));
  expect(
    credentials
      .list()
      .map((each) => each.name)
      .sort(),
  ).toEqual(names);
});
