// Owns the way to PostgreSQL over TLS: which certificates are taken in which mode, and that nothing is said to a server that does not offer it.
// Leaves everything else to the tests without; where the machine has no openssl, there are no certificates, and it says so.
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { openServerStore } from "../../src/node/server-store.ts";
import { openPostgres } from "../../src/server/postgres.ts";
import type { ServerStore } from "../../src/server/store.ts";
import type { Cluster } from "../support/postgres.ts";
import { startPostgres } from "../support/postgres.ts";

const hasOpenssl = spawnSync("openssl", ["version"]).status === 0;
if (!hasOpenssl) console.log("TLS to PostgreSQL was not tested: this machine has no openssl");

const folder = mkdtempSync(path.join(tmpdir(), "holdfast-postgres-tls-"));
const at = (name: string): string => path.join(folder, name);
const openssl = (...options: string[]) => execFileSync("openssl", options, { cwd: folder, stdio: "pipe" });
const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

function makeAuthority(name: string): void {
  openssl(
    "req",
    "-x509",
    ...curve,
    "-days",
    "2",
    "-subj",
    `/CN=${name}`,
    "-keyout",
    `${name}.key`,
    "-out",
    `${name}.crt`,
  );
}

/** A certificate for these names, signed by the authority. */
function makeCertificate(name: string, names: string, authority: string) {
  openssl("req", "-new", ...curve, "-subj", `/CN=${name}`, "-keyout", `${name}.key`, "-out", `${name}.csr`);
  writeFileSync(at(`${name}.ext`), `subjectAltName = ${names}\n`);
  const signer = ["-CA", `${authority}.crt`, "-CAkey", `${authority}.key`, "-CAcreateserial", "-days", "2"];
  openssl("x509", "-req", "-in", `${name}.csr`, ...signer, "-extfile", `${name}.ext`, "-out", `${name}.crt`);
  return { key: readFileSync(at(`${name}.key`), "utf8"), cert: readFileSync(at(`${name}.crt`), "utf8") };
}

let byAddress: Cluster;
let byName: Cluster;
let plain: Cluster;
beforeAll(async () => {
  if (!hasOpenssl) return;
  for (const name of ["ours", "stranger"]) makeAuthority(name);
  byAddress = await startPostgres({ tls: makeCertificate("address", "IP:127.0.0.1", "ours") });
  byName = await startPostgres({ tls: makeCertificate("name", "DNS:localhost", "ours") });
  plain = await startPostgres();
});
afterAll(async () => {
  for (const cluster of [byAddress, byName, plain]) await cluster?.stop();
  rmSync(folder, { recursive: true, force: true });
});

const addressOf = async (cluster: Cluster, parameters: string, host = "127.0.0.1"): Promise<string> => {
  const url = new URL(await cluster.createDatabase());
  url.hostname = host;
  return `${url.href}?${parameters}`;
};

const openAt = async (url: string): Promise<ServerStore> => {
  const store = await openServerStore({ kind: "postgres", url });
  onTestFinished(() => store.close());
  return store;
};

const isEncrypted = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
const encryption = async (url: string): Promise<unknown> => {
  const [row] = await (await openAt(url)).read((tx) => tx.all(isEncrypted));
  return row?.ssl;
};
const codeOf = (task: Promise<unknown>): Promise<string> =>
  task.then(
    () => "opened",
    (error: { readonly code?: string }) => error.code ?? String(error),
  );

describe.skipIf(!hasOpenssl)("a connection to PostgreSQL over TLS", () => {
  test("is encrypted with sslmode=require, whoever signed the certificate, and not without", async () => {
    expect(await encryption(await addressOf(byAddress, "sslmode=require"))).toBe(1);
    expect(await encryption(await addressOf(byAddress, "sslmode=prefer"))).toBe(1);
    expect(await encryption(await addressOf(byAddress, "sslmode=disable"))).toBe(0);
  });

  test("with sslmode=verify-full wants a known authority and the right name, a number or a word", async () => {
    const known = `sslmode=verify-full&sslrootcert=${encodeURIComponent(at("ours.crt"))}`;
    const unknown = `sslmode=verify-full&sslrootcert=${encodeURIComponent(at("stranger.crt"))}`;
    expect(await encryption(await addressOf(byAddress, known))).toBe(1);
    expect(await encryption(await addressOf(byName, known, "localhost"))).toBe(1);
    expect(await codeOf(openAt(await addressOf(byAddress, known, "localhost")))).toBe("io_failed");
    expect(await codeOf(openAt(await addressOf(byName, known)))).toBe("io_failed");
    expect(await codeOf(openAt(await addressOf(byAddress, unknown)))).toBe("io_failed");
    expect(await codeOf(openAt(await addressOf(byAddress, "sslmode=verify-full")))).toBe("io_failed");
  });

  test("with an authority but without verify-full wants the authority alone; with no mode at all, everything", async () => {
    const root = `sslrootcert=${encodeURIComponent(at("ours.crt"))}`;
    const stranger = `sslrootcert=${encodeURIComponent(at("stranger.crt"))}`;
    for (const mode of ["require", "verify-ca"]) {
      expect(await encryption(await addressOf(byName, `${root}&sslmode=${mode}`))).toBe(1);
      expect(await codeOf(openAt(await addressOf(byName, `${stranger}&sslmode=${mode}`)))).toBe("io_failed");
    }
    expect(await encryption(await addressOf(byAddress, root))).toBe(1);
    expect(await codeOf(openAt(await addressOf(byName, root)))).toBe("io_failed");
  });

  test("serves pokes and many transactions like any other", async () => {
    const url = await addressOf(byAddress, `sslmode=verify-full&sslrootcert=${encodeURIComponent(at("ours.crt"))}`);
    const [store, other] = [await openAt(url), await openAt(url)];
    const heard: string[] = [];
    other.onPoke((space) => void heard.push(space));
    while (heard.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    await store.poke("kitchen", 1);
    while (!heard.includes("kitchen")) await new Promise((resolve) => setTimeout(resolve, 5));
    const ones = await Promise.all(Array.from({ length: 50 }, () => store.read((tx) => tx.all("SELECT 1 AS one"))));
    expect(ones.flat().length).toBe(50);
  });

  test("is never replaced by one without: a server that offers no TLS is refused", async () => {
    for (const mode of ["require", "verify-full"])
      expect(await codeOf(openAt(await addressOf(plain, `sslmode=${mode}`)))).toBe("io_failed");
    expect(await encryption(await addressOf(plain, "sslmode=prefer"))).toBe(0);
  });

  test("whose file of authorities cannot be read is refused by its name", async () => {
    const failure = await openAt(await addressOf(byAddress, "sslmode=require&sslrootcert=/nowhere.crt")).catch(
      (error: Error) => error,
    );
    expect(failure).toMatchObject({ code: "config_invalid", message: expect.stringContaining("/nowhere.crt") });
  });

  test("takes the authorities as text where there are no files", async () => {
    const url = await addressOf(byAddress, "sslmode=verify-full");
    const store = await openPostgres({ url, authorities: readFileSync(at("ours.crt"), "utf8") });
    onTestFinished(() => store.close());
    expect(await store.read((tx) => tx.all(isEncrypted))).toEqual([{ ssl: 1 }]);
  });
});
