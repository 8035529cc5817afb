// Proves that direct and port transports keep the contract, and what the client itself promises about names and handles.
// Leaves HTTP to http.test.ts and the engine's own rules to the engine.
import { MessageChannel } from "node:worker_threads";
import { afterAll, afterEach, describe, expect, expectTypeOf, test } from "vitest";
import type { TestEngine } from "../../test/support/test-engine.ts";
import { openTestEngine } from "../../test/support/test-engine.ts";
import type { Operation } from "../operation.ts";
import { transportContract } from "../testing/transport-contract.ts";
import type { Output } from "../verbs.ts";
import type { QueuedOperation } from "./client.ts";
import { connect, newOperationId } from "./client.ts";
import { directTransport } from "./direct.ts";
import { portTransport, servePort } from "./port.ts";
import type { CollectionHandle } from "./records.ts";
import type { Transport } from "./transport.ts";

describe("the contract over the direct transport:", () => {
  const makeWorld = () => {
    const engine = openTestEngine();
    return { engine, open: () => directTransport(engine), close: engine.close };
  };
  for (const { name, run } of transportContract({ makeWorld })) test(name, run);
});

describe("the contract over a MessagePort:", () => {
  const makeWorld = () => {
    const engine = openTestEngine();
    const open = (): Transport => {
      const { port1, port2 } = new MessageChannel();
      servePort(engine, port1);
      return portTransport(port2);
    };
    return { engine, open, close: engine.close };
  };
  for (const { name, run } of transportContract({ makeWorld })) test(name, run);
});

const open: TestEngine[] = [];
afterEach(async () => {
  for (const engine of open.splice(0)) await engine.close();
});
const openOwn = (): TestEngine => {
  const engine = openTestEngine();
  open.push(engine);
  return engine;
};

describe("a port", () => {
  test("that dies ends open calls and says so", async () => {
    const { port1, port2 } = new MessageChannel();
    const client = connect({ port: port2 });
    const call = client.queue.status();
    port1.close();
    await expect(call).rejects.toMatchObject({ code: "engine_closed" });
  });

  test("that stops being served tells its clients", async () => {
    const engine = openOwn();
    const { port1, port2 } = new MessageChannel();
    const stop = servePort(engine, port1);
    const client = connect({ port: port2 });
    await client.queue.list();
    stop();
    await expect(client.queue.list()).rejects.toMatchObject({ code: "engine_closed" });
    await client.close();
  });

  test("ignores what is not ours and refuses verbs that do not exist", async () => {
    const engine = openOwn();
    const { port1, port2 } = new MessageChannel();
    servePort(engine, port1);
    for (const noise of [null, 7, "text", {}, { holdfast: 1 }, { holdfast: 2, number: 1, kind: "call" }])
      port2.postMessage(noise);
    const answer = new Promise((resolve) => port2.once("message", resolve));
    port2.postMessage({ holdfast: 1, number: 9, kind: "call", verb: "constructor", input: {} });
    expect(await answer).toMatchObject({ number: 9, kind: "failure", error: { code: "unknown_verb" } });
    port2.close();
  });

  test("of Electron, which wraps values in events and has no addEventListener, works the same", async () => {
    const engine = openOwn();
    const { port1, port2 } = new MessageChannel();
    servePort(engine, {
      postMessage: (message) => port1.postMessage(message),
      on: (name: string, listener: (event: unknown) => void) => port1.on(name, (data) => listener({ data })),
      start: () => port1.start(),
    });
    const client = connect({ port: port2 });
    expect((await client.queue.list()).operations).toEqual([]);
    await client.close();
  });
});

describe("the client", () => {
  const engine = openTestEngine();
  const client = connect({ engine });
  afterAll(engine.close);

  test("has a method for every verb, typed by the verb table", () => {
    expectTypeOf(client.queue.add).returns.resolves.toEqualTypeOf<QueuedOperation>();
    expectTypeOf(client.network.status).returns.resolves.toEqualTypeOf<Output<"network.status">>();
    expectTypeOf(client.queue.why).parameter(0).toEqualTypeOf<{ id: string }>();
    expectTypeOf(client.queue.add).parameter(0).not.toBeAny();
    expectTypeOf<Awaited<ReturnType<QueuedOperation["settled"]>>>().toEqualTypeOf<Operation>();
    // @ts-expect-error an id is needed
    const wrong = () => client.queue.get();
    expect(typeof wrong).toBe("function");
  });

  test("names the right spelling of a wrong verb, noun or option", async () => {
    const any = client as unknown as Record<string, Record<string, unknown>>;
    expect(() => any.queue?.ad).toThrow(
      new TypeError("client.queue.ad does not exist; did you mean client.queue.add?"),
    );
    expect(() => any.que).toThrow("did you mean client.queue?");
    expect(() => any.subscibe).toThrow("did you mean client.subscribe?");
    await expect(client.call("queue.ad" as "queue.add", {} as never)).rejects.toThrow('did you mean "queue.add"?');
    await expect(client.call("zzz" as "queue.add", {} as never)).rejects.toThrow(/use one of queue\.add, /);
    await expect(client.queue.get({ id: "0190" }, { singal: null } as never)).rejects.toThrow('did you mean "signal"?');
    expect(() => connect({ engin: engine } as never)).toThrow(
      new TypeError('connect: the option "engin" does not exist; did you mean "engine"?'),
    );
    expect(() => connect({} as never)).toThrow("exactly one of engine, url, port, transport; got none");
    expect(() => connect(undefined as never)).toThrow("exactly one of");
    expect(() => connect({ engine, url: "http://127.0.0.1" } as never)).toThrow("got engine and url");
    expect(() => connect({ url: "127.0.0.1:80" })).toThrow("url must be http or https");
    expect(() => client.subscribe(null as never)).toThrow("takes a function");
  });

  test("survives being awaited, printed and spread", async () => {
    expect(await client).toBe(client);
    expect(JSON.stringify(client)).toContain("{");
    expect("queue" in client && client.queue !== undefined).toBe(true);
  });

  test("gives a receipt that is still a plain value", async () => {
    const receipt = await client.queue.add({ type: "contract.apply", payload: 1 });
    expect(Object.keys(receipt).sort()).toEqual(["id", "isNew", "reason", "sequence", "status", "warning"]);
    expect(structuredClone(receipt)).toEqual({ ...receipt });
  });

  test("mints a UUIDv7 for what is queued without an id, and keeps one that is given", async () => {
    const id = newOperationId();
    expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    expect((await client.queue.add({ type: "contract.apply", payload: 1, id })).id).toBe(id);
    expect((await client.queue.add({ type: "contract.apply", payload: 1 })).id).toMatch(/-7[0-9a-f]{3}-/);
  });

  test("is disposed of by `await using`", async () => {
    let other = client;
    {
      await using inner = connect({ engine });
      other = inner;
    }
    await expect(other.queue.list()).rejects.toMatchObject({ code: "engine_closed" });
  });
});

test("what is asked of a collection and taken out of its records is named by the schema, or by what every record has", () => {
  type Notes = CollectionHandle<{ readonly title: string }>;
  expectTypeOf<{ unset: ["title"] }>().toExtend<NonNullable<Parameters<Notes["update"]>[2]>>();
  expectTypeOf<{ unset: ["titel"] }>().not.toExtend<NonNullable<Parameters<Notes["update"]>[2]>>();
  // Every collection is kept in this order, and the words for an order without an index name it.
  expectTypeOf<{ order: [{ field: "$changed" }] }>().toExtend<NonNullable<Parameters<Notes["query"]>[0]>>();
  expectTypeOf<{ order: [{ field: "titel" }] }>().not.toExtend<NonNullable<Parameters<Notes["query"]>[0]>>();
});
