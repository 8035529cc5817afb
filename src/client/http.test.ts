// Proves that the HTTP transport keeps the contract, survives lost answers, and trusts only what is a daemon.
// Leaves the daemon's own behaviour to node/.
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:net";
import { describe, expect, test } from "vitest";
import type { SmallDaemon } from "../../test/support/small-daemon.ts";
import { startSmallDaemon } from "../../test/support/small-daemon.ts";
import { openTestEngine } from "../../test/support/test-engine.ts";
import { transportContract } from "../testing/transport-contract.ts";
import type { HoldfastEvent } from "../verbs.ts";
import type { Client } from "./client.ts";
import { connect } from "./client.ts";
import { httpTransport } from "./http.ts";

const token = "a-token";

describe("the contract over HTTP:", () => {
  const makeWorld = async () => {
    const engine = openTestEngine();
    const daemon = await startSmallDaemon(engine, { token });
    const close = async (): Promise<void> => {
      await daemon.close();
      await engine.close();
    };
    return { engine, open: () => httpTransport({ url: daemon.url, token }), cut: daemon.cut, close };
  };
  for (const { name, run } of transportContract({ makeWorld })) test(name, run);
});

type Intercept = (request: IncomingMessage, response: ServerResponse) => boolean;

async function withDaemon(
  body: (client: Client, daemon: SmallDaemon) => Promise<void>,
  intercept?: Intercept,
): Promise<void> {
  const engine = openTestEngine();
  const daemon = await startSmallDaemon(engine, { token, ...(intercept === undefined ? {} : { intercept }) });
  const client = connect({ url: daemon.url, token });
  try {
    await body(client, daemon);
  } finally {
    await client.close();
    await daemon.close();
    await engine.close();
  }
}

describe("an answer that is lost", () => {
  test("is asked for again, and one operation is queued", () =>
    withDaemon(async (client, daemon) => {
      daemon.loseAnswers(2);
      const receipt = await client.queue.add({ type: "contract.apply", payload: 1 });
      expect(receipt.isNew).toBe(false);
      expect((await client.queue.list()).operations.map(({ id }) => id)).toEqual([receipt.id]);
    }));

  test("is asked for at most twice", () =>
    withDaemon(async (client, daemon) => {
      daemon.loseAnswers(3);
      await expect(client.queue.list()).rejects.toMatchObject({ code: "daemon_unreachable" });
      expect(daemon.seen).toHaveLength(3);
    }));

  test("of a write that must not happen twice is told to the caller at once", () =>
    withDaemon(async (client, daemon) => {
      const { id } = await client.queue.add({ type: "contract.apply", payload: 1, notBefore: 32_503_680_000_000 });
      daemon.loseAnswers(1);
      await expect(client.queue.cancel({ ids: [id] })).rejects.toMatchObject({ code: "daemon_unreachable" });
      expect((await client.queue.get({ id })).status).toBe("cancelled");
    }));
});

describe("what answers", () => {
  const strangers: readonly (readonly [string, number, string, string])[] = [
    ["a captive portal's page", 200, "text/html", "<html>Please sign in</html>"],
    ["a proxy's error", 502, "text/html", "<h1>Bad Gateway</h1>"],
    ["another program's JSON error", 404, "application/json", '{"error":"no route"}'],
    ["JSON that is cut", 200, "application/json", '{"operations":['],
  ];
  test.each(strangers)("with %s is not taken for a daemon", async (_, status, contentType, body) => {
    const intercept: Intercept = (_request, response) => {
      response.writeHead(status, { "content-type": contentType }).end(body);
      return true;
    };
    await withDaemon(async (client) => {
      await expect(client.queue.list()).rejects.toMatchObject({ code: "daemon_untrusted" });
    }, intercept);
  });

  test("with a redirect gets no token passed on", async () => {
    const engine = openTestEngine();
    const other = await startSmallDaemon(engine, { token });
    const intercept: Intercept = (_request, response) => {
      response.writeHead(307, { location: `${other.url}/v1/queue.list` }).end();
      return true;
    };
    await withDaemon(async (client) => {
      await expect(client.queue.list()).rejects.toMatchObject({ code: "daemon_unreachable" });
    }, intercept);
    expect(other.seen).toEqual([]);
    await other.close();
    await engine.close();
  });

  test("with another token's refusal says so", () =>
    withDaemon(async (_, daemon) => {
      const stranger = connect({ url: daemon.url, token: "another" });
      await expect(stranger.queue.list()).rejects.toMatchObject({ code: "unauthorized", hint: "read the token file" });
      await stranger.close();
    }));
});

test("a call that is aborted while the daemon is silent ends at once", async () => {
  const server = createServer(() => {}).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as { readonly port: number };
  const client = connect({ url: `http://127.0.0.1:${port}`, token });
  const abort = new AbortController();
  const call = client.queue.list({}, { signal: abort.signal });
  setTimeout(() => abort.abort(new Error("enough")), 20);
  await expect(call).rejects.toMatchObject({ code: "aborted", cause: new Error("enough") });
  await client.close();
  server.close();
});

test("a daemon that is not there is daemon_unreachable, with what to do", async () => {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as { readonly port: number };
  await new Promise((resolve) => server.close(resolve));
  const client = connect({ url: `http://127.0.0.1:${port}`, token });
  await expect(client.queue.status()).rejects.toMatchObject({
    code: "daemon_unreachable",
    hint: expect.stringContaining("daemon start"),
  });
  await client.close();
});

test("a client that began before its daemon hears everything that it causes once the daemon is there", async () => {
  const engine = openTestEngine();
  const first = await startSmallDaemon(engine, { token });
  const port = Number(new URL(first.url).port);
  await first.close();
  const client = connect({ url: first.url, token });
  const heard: HoldfastEvent[] = [];
  client.subscribe((event) => heard.push(event));
  await expect(client.queue.list()).rejects.toMatchObject({ code: "daemon_unreachable" });
  const second = await startSmallDaemon(engine, { token, at: port });
  const operation = await client.queue.add({ type: "contract.apply", payload: 1 });
  await operation.settled({ timeoutMs: 20_000 });
  await expect
    .poll(() => heard.filter(({ sequence }) => sequence > 0).map(({ kind }) => kind))
    .toEqual(["enqueued", "settled"]);
  await client.close();
  await second.close();
  await engine.close();
});

test("a listener is told when the feed no longer reaches back to it", async () => {
  let isAsked = false;
  const intercept: Intercept = (request, response) => {
    if (request.url !== "/v1/events") return false;
    response.writeHead(200, { "content-type": "text/event-stream" });
    const event = JSON.stringify({ sequence: 91, at: 1, kind: "network", id: null, status: null, detail: null });
    if (!isAsked) response.write(`event: truncated\nid: 90\ndata: {"last":90}\n\nid: 91\ndata: ${event}\n\n`);
    isAsked = true;
    return true;
  };
  await withDaemon(async (client) => {
    const heard: unknown[] = [];
    client.subscribe(({ sequence }) => heard.push(sequence), { after: 5_000, onGap: () => heard.push("gap") });
    await expect.poll(() => heard).toEqual(["gap", 91]);
  }, intercept);
});

test("a call goes through although a listener left while the feed's end was asked for", () =>
  withDaemon(async (client) => {
    const stop = client.subscribe(() => {});
    const status = client.queue.status();
    const receipt = client.queue.add({ type: "contract.apply", payload: 1 });
    stop();
    expect((await status).unsent).toBe(0);
    expect((await receipt).isNew).toBe(true);
  }));
