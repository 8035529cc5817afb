// Owns requests over real TLS: certificates that are wrong in each way, and redirects between https and http.
// Leaves everything that needs no certificate to request.test.ts.
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer as createPlainServer } from "node:http";
import type { Server } from "node:https";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { connect, createServer as createTcpServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import tls from "node:tls";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Answer, Json, Operation } from "../operation.ts";
import { checkRequest } from "../request.ts";
import { makeHttpRequest } from "./request.ts";

type Pair = { readonly key: string; readonly cert: string };
const folder = mkdtempSync(path.join(tmpdir(), "holdfast-tls-"));
const servers: { closeAllConnections: () => void; close: () => void }[] = [];
const authorities = tls.getCACertificates("default");

/** Only `openssl ca` can make a certificate whose time is over. */
const configuration = `[ca]
default_ca = own
[own]
new_certs_dir = .
database = index.txt
serial = serial
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = supplied
[v3]
basicConstraints = CA:true
`;

function makePair(name: string, host: string, [from, to]: readonly [string, string]): Pair {
  const run = (...options: string[]) => execFileSync("openssl", options, { cwd: folder, stdio: "pipe" });
  writeFileSync(path.join(folder, "ca.cnf"), `${configuration}subjectAltName = DNS:${host}\n`);
  writeFileSync(path.join(folder, "index.txt"), "");
  writeFileSync(path.join(folder, "serial"), "01\n");
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", `${name}.key`];
  run("req", "-new", ...key, "-subj", `/CN=${host}`, "-out", `${name}.csr`);
  const times = ["-startdate", from, "-enddate", to, "-extensions", "v3"];
  run(
    "ca",
    "-batch",
    "-config",
    "ca.cnf",
    "-selfsign",
    "-keyfile",
    `${name}.key`,
    "-in",
    `${name}.csr`,
    "-out",
    `${name}.crt`,
    "-notext",
    ...times,
  );
  return {
    key: readFileSync(path.join(folder, `${name}.key`), "utf8"),
    cert: readFileSync(path.join(folder, `${name}.crt`), "utf8"),
  };
}

const valid = ["20200101000000Z", "20991231000000Z"] as const;
let good: Pair;
let expired: Pair;
let foreign: Pair;
let stranger: Pair;

beforeAll(() => {
  good = makePair("good", "localhost", valid);
  expired = makePair("expired", "localhost", ["20200101000000Z", "20200102000000Z"]);
  foreign = makePair("foreign", "other.example", valid);
  stranger = makePair("stranger", "localhost", valid);
  tls.setDefaultCACertificates([...authorities, good.cert, expired.cert, foreign.cert]);
});
afterAll(() => {
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
  tls.setDefaultCACertificates(authorities);
  rmSync(folder, { recursive: true, force: true });
});

async function serve(server: Server | ReturnType<typeof createPlainServer>): Promise<number> {
  servers.push(server);
  server.listen(0, "localhost");
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

function post(url: string, credentialFor: string | null = null): Promise<Answer> {
  const headers = { authorization: "Bearer s3cret" };
  const type = makeHttpRequest({ credentials: { resolve: () => ({ kind: "found", headers }) } });
  const credential = credentialFor === null ? {} : { credential: credentialFor };
  const running = type.run?.({
    operation: { subject: "" } as Operation,
    input: checkRequest({ method: "POST", url, body: { text: "x" }, timeoutMs: 5_000, ...credential } as Json) as Json,
    idempotencyKey: "key-1",
    signal: new AbortController().signal,
    checkpoint: null,
    saveCheckpoint: async () => undefined,
    reportProgress: () => undefined,
  });
  return running ?? Promise.reject(new Error("the type cannot run"));
}

test("a certificate that is expired, untrusted or of another host is never terminal, and nothing was sent", async () => {
  const cases = [
    [expired, "certificate_expired"],
    [stranger, "certificate_untrusted"],
    [foreign, "certificate_of_another"],
  ] as const;
  for (const [pair, code] of cases) {
    let count = 0;
    const port = await serve(
      createServer(pair, (_request, response) => {
        count += 1;
        response.end();
      }),
    );
    expect(await post(`https://localhost:${port}/`)).toMatchObject({
      kind: "unknown",
      mayHaveLanded: false,
      problem: { code },
    });
    expect(count).toBe(0);
  }
});

test("plain text in the middle of a TLS connection does not mean that nothing was sent", async () => {
  let taken = 0;
  let interfere = (): void => undefined;
  const versions = { maxVersion: "TLSv1.2" } as const;
  const port = await serve(
    createServer({ ...good, ...versions }, (request) => {
      request.resume().once("end", () => {
        taken += 1;
        interfere();
      });
    }),
  );
  const between = createTcpServer((client) => {
    const upstream = connect(port, "localhost");
    client.on("error", () => undefined).pipe(upstream);
    upstream.on("error", () => undefined).on("data", (block) => client.write(block));
    interfere = () => client.write("HTTP/1.1 502 Bad Gateway\r\n\r\n");
  });
  between.listen(0, "localhost");
  await once(between, "listening");
  const answer = await post(`https://localhost:${(between.address() as AddressInfo).port}/notes`);
  between.close();
  expect(taken).toBe(1);
  expect(answer).toMatchObject({ kind: "unknown", mayHaveLanded: true, problem: { code: "tls_mismatch" } });
});

test("https to a port that speaks plain http is not terminal", async () => {
  const port = await serve(createPlainServer((_request, response) => response.end()));
  expect(await post(`https://localhost:${port}/`)).toMatchObject({
    kind: "unknown",
    mayHaveLanded: false,
    problem: { code: "tls_mismatch" },
  });
});

test("a trusted server may answer with pages, but its refusal as a page is tried again before it ends", async () => {
  const port = await serve(
    createServer(good, (request, response) => {
      response.writeHead(request.url === "/ok" ? 200 : 404, { "content-type": "text/html" }).end("<html>page");
    }),
  );
  expect((await post(`https://localhost:${port}/ok`)).kind).toBe("applied");
  expect(await post(`https://localhost:${port}/gone`)).toMatchObject({ kind: "retry", isCharged: true });
});

test("a redirect from https to plain http is refused and carries nothing there", async () => {
  let reached = 0;
  const plain = await serve(
    createPlainServer((_request, response) => {
      reached += 1;
      response.end();
    }),
  );
  const location = `http://localhost:${plain}/`;
  const port = await serve(createServer(good, (_request, response) => response.writeHead(307, { location }).end()));
  expect(await post(`https://localhost:${port}/`, "api")).toMatchObject({
    kind: "retry",
    problem: { code: "redirect_downgrade" },
  });
  expect(reached).toBe(0);
});

test("a redirect from http to https at the same place keeps the request, without the secret", async () => {
  const seen: unknown[] = [];
  const port = await serve(
    createServer(good, (request, response) => {
      seen.push([request.method, request.headers.authorization]);
      response.writeHead(201, { "content-type": "application/json" }).end('{"id":1}');
    }),
  );
  const location = `https://localhost:${port}/notes`;
  const plain = await serve(createPlainServer((_request, response) => response.writeHead(301, { location }).end()));
  expect((await post(`http://localhost:${plain}/notes`, "api")).kind).toBe("applied");
  expect(seen).toEqual([["POST", undefined]]);
});
