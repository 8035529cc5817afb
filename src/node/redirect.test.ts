// Owns the tests of redirects: what is followed, what goes along, what never crosses an origin. Leaves all else to request.test.ts.
import { describe, expect, test } from "vitest";
import { codeOf, send, sendJson, serve } from "../../test/support/unruly-server.ts";

describe("redirects", () => {
  test("no secret crosses an origin, the key goes along with its request", async () => {
    const last = await serve((_request, response) => sendJson(response, 200, {}));
    const middle = await serve((_request, response) => response.writeHead(307, { location: `${last.url}/c` }).end());
    const first = await serve((request, response) => {
      response.writeHead(307, { location: request.url === "/a" ? "/b" : `${middle.url}/b` }).end();
    });
    const answer = await send({
      url: `${first.url}/a`,
      credential: "api",
      headers: { "x-csrf-token": "s3cret", "x-kind": "note" },
      body: { text: "hello" },
    });
    expect(answer.kind).toBe("applied");
    expect(first.seen.map((each) => each.headers.authorization)).toEqual(["Bearer s3cret", "Bearer s3cret"]);
    for (const { seen } of [middle, last]) {
      expect(seen).toHaveLength(1);
      expect(JSON.stringify(seen)).not.toContain("s3cret");
      expect(seen[0]).toMatchObject({
        method: "POST",
        body: "hello",
        headers: { "idempotency-key": "key-1", "x-kind": "note" },
      });
    }
  });

  test("a secret does not come back when the way leads back to its origin", async () => {
    const home = await serve((request, response) => {
      if (request.url === "/start") response.writeHead(307, { location: `${away.url}/x` }).end();
      else sendJson(response, 200, {});
    });
    const away = await serve((_request, response) => response.writeHead(307, { location: `${home.url}/end` }).end());
    await send({ url: `${home.url}/start`, credential: "api" });
    expect(home.seen.map((each) => each.headers.authorization)).toEqual(["Bearer s3cret", undefined]);
  });

  test.each([
    [301, "POST", "GET"],
    [302, "POST", "GET"],
    [303, "PUT", "GET"],
    [301, "PUT", "PUT"],
    [307, "POST", "POST"],
    [308, "DELETE", "DELETE"],
    [303, "HEAD", "HEAD"],
  ])("%i makes a %s a %s, as a browser would", async (status, method, expected) => {
    const server = await serve((request, response) => {
      if (request.url === "/old") response.writeHead(status, { location: "new" }).end();
      else sendJson(response, 200, {});
    });
    const body = method === "HEAD" ? {} : { body: { text: "x" } };
    expect((await send({ method, url: `${server.url}/old`, ...body })).kind).toBe("applied");
    expect(server.seen[1]).toMatchObject({
      method: expected,
      url: "/new",
      body: expected === "GET" || method === "HEAD" ? "" : "x",
    });
    const hasKey = expected === method;
    expect(server.seen[1]?.headers["idempotency-key"]).toBe(hasKey ? "key-1" : undefined);
  });

  test("what is refused after a POST became a GET says nothing about the POST", async () => {
    for (const [status, headers, expected] of [
      [404, {}, { kind: "rejected", mayHaveLanded: true }],
      [429, { "retry-after": "1" }, { kind: "retry", isCharged: false, scope: "operation" }],
    ] as const) {
      const server = await serve((request, response) => {
        if (request.method === "POST") response.writeHead(303, { location: "/done" }).end();
        else response.writeHead(status, headers).end();
      });
      expect(await send({ url: server.url, body: { text: "x" } })).toMatchObject(expected);
    }
  });

  test("a 301 that only adds a slash keeps the POST, because nothing was done yet", async () => {
    const server = await serve((request, response) => {
      if (request.url === "/notes") response.writeHead(301, { location: "/notes/" }).end();
      else sendJson(response, 201, { id: 1 });
    });
    expect((await send({ url: `${server.url}/notes`, body: { text: "x" } })).kind).toBe("applied");
    expect(server.seen[1]).toMatchObject({ method: "POST", body: "x" });
  });

  test("twenty redirects are followed, the twenty-first is not", async () => {
    const server = await serve((request, response) => {
      const left = Number(request.url.slice(1));
      if (left > 0) response.writeHead(307, { location: `/${left - 1}` }).end();
      else sendJson(response, 200, {});
    });
    expect((await send({ url: `${server.url}/20` })).kind).toBe("applied");
    expect(codeOf(await send({ url: `${server.url}/21` }))).toBe("redirect_loop");
  });
});
