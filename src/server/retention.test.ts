/**
 * Owns the rules of forgetting: what goes when, what stays, and what the server says afterwards.
 */
import { afterEach, expect, test } from "vitest";
import { closeServers, openTestServer } from "../../test/support/sync-server.ts";

afterEach(closeServers);

const dayMs = 86_400_000;
const create = (key: string) => ({ kind: "create", key, fields: { key } }) as const;

test("receipts are kept for 400 days, and what comes later under an old number is stale, not applied again", async () => {
  const { push, pull, server, clock } = await openTestServer();
  await push(create("k1"), { id: "op-a", number: 1 });
  await push({ kind: "remove", key: "k1", base: 1 }, { id: "op-b", number: 2, floor: 2 });
  clock.now += 400 * dayMs;
  expect(await server.compact()).toEqual({ tombstones: 1, receipts: 0 });
  expect(await push(create("k1"), { id: "op-a", number: 1, floor: 2 })).toMatchObject({ outcome: "duplicate" });
  clock.now += 1;
  expect(await server.compact()).toEqual({ tombstones: 0, receipts: 2 });
  expect(await push(create("k1"), { id: "op-a", number: 1, floor: 2 })).toEqual({ id: "op-a", outcome: "stale" });
  expect(await pull()).toMatchObject({ records: [], head: 2, floor: 2 });
});

test("removals go after 90 days, records never, and more than one transaction's worth is forgotten", async () => {
  const { push, pull, server, clock } = await openTestServer({ limits: { retentionRows: 3 } });
  for (let n = 1; n <= 8; n += 1) await push(create(`k${n}`));
  for (let n = 1; n <= 7; n += 1) await push({ kind: "remove", key: `k${n}`, base: n });
  clock.now += 90 * dayMs;
  expect(await server.compact()).toEqual({ tombstones: 0, receipts: 0 });
  clock.now += 1;
  expect(await server.compact()).toEqual({ tombstones: 7, receipts: 0 });
  expect(await pull()).toMatchObject({ records: [{ key: "k8" }], head: 15, floor: 15 });
});

test("a removal that was forgotten still answers as removed to whoever changes the record", async () => {
  const { push, server, clock } = await openTestServer();
  await push(create("k1"));
  await push({ kind: "remove", key: "k1", base: 1 });
  clock.now += 91 * dayMs;
  await server.compact();
  expect(await push({ kind: "update", key: "k1", base: 1, fields: { a: 1 } })).toMatchObject({
    ...{ outcome: "conflict", kind: "deleted_upstream", remote: { value: null } },
  });
  expect(await push({ kind: "remove", key: "k1", base: 1 })).toMatchObject({ outcome: "applied" });
});
