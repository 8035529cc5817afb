// Proves what a live query asks for: one record where that says what the page is, everything where it does not.
// Leaves that its pages are right on every transport to src/testing/record-contract.ts.
import { afterEach, expect, test } from "vitest";
import { openTestEngine } from "../../test/support/test-engine.ts";
import type { Input, Verb } from "../verbs.ts";
import { connect } from "./client.ts";
import { directTransport } from "./direct.ts";

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

/** A client over an engine with six records, and what it asks for from now on. */
async function openClient(spec: { readonly keys?: "server" } = {}) {
  const engine = openTestEngine();
  const direct = directTransport(engine);
  const asked: string[] = [];
  const client = connect({
    transport: {
      ...direct,
      call: <V extends Verb>(verb: V, input: Input<V>) => {
        const { where } = input as { readonly where?: Readonly<Record<string, unknown>> };
        asked.push(where !== undefined && "$key" in where ? `${verb} of one` : verb);
        return direct.call(verb, input);
      },
    },
  });
  ends.push(engine.close, client.close);
  const notes = client.collection({ name: "notes", indexes: [["status", "rank"]], ...spec });
  for (let n = 0; n < 6; n += 1) await notes.put(`n${n}`, { status: n < 3 ? "open" : "done", rank: n, title: "-" });
  const pages: string[][] = [];
  const watch = async (limit?: number): Promise<void> => {
    notes.subscribe({ where: { status: "open" }, ...(limit === undefined ? {} : { limit }) }, ({ records }) =>
      pages.push(records.map(({ key, value }) => `${key} ${value?.title}`)),
    );
    await expect.poll(() => pages.length).toBe(1);
    await quiet();
    asked.splice(0);
  };
  /** What is asked for after a change, until nothing more is. */
  const after = async (change: () => Promise<unknown>): Promise<readonly string[]> => {
    await change();
    await quiet();
    return asked.splice(0).filter((verb) => !/^records\.(write|transaction)|^collections/.test(verb));
  };
  return { notes, client, pages, watch, after };
}

const quiet = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 120));

const one = ["records.query of one"];
const both = ["records.query of one", "records.query"];

test("a record that stays in its place, leaves, or stays out is looked at alone", async () => {
  const { notes, pages, watch, after } = await openClient();
  await watch();
  expect(await after(() => notes.update("n1", { title: "new" }))).toEqual(one);
  expect(pages.at(-1)).toEqual(["n0 -", "n1 new", "n2 -"]);
  expect(await after(() => notes.update("n0", { status: "done" }))).toEqual(one);
  expect(pages.at(-1)).toEqual(["n1 new", "n2 -"]);
  expect(await after(() => notes.update("n5", { title: "elsewhere" }))).toEqual(one);
  expect(pages).toHaveLength(3);
});

test("a record that comes or may have moved has everything asked again", async () => {
  const { notes, pages, watch, after } = await openClient();
  await watch();
  expect(await after(() => notes.update("n4", { status: "open" }))).toEqual(both);
  expect(await after(() => notes.update("n4", { rank: -1 }))).toEqual(both);
  expect(pages.at(-1)).toEqual(["n4 -", "n0 -", "n1 -", "n2 -"]);
});

test("several records, a page that is only a part, and keys that the server gives have everything asked again", async () => {
  const { notes, client, watch, after } = await openClient();
  await watch(2);
  expect(await after(() => notes.update("n0", { title: "new" }))).toEqual(["records.query"]);
  const transaction = () =>
    client.transaction((tx) => {
      tx.collection("notes").update("n0", { title: "a" });
      tx.collection("notes").update("n1", { title: "b" });
    });
  expect(await after(transaction)).toEqual(["records.query"]);
  const named = await openClient({ keys: "server" });
  await named.watch();
  expect(await named.after(() => named.notes.update("n0", { title: "new" }))).toEqual(["records.query"]);
});
