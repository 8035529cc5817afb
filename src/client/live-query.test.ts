// Proves what a live query asks for: one record where that says what the page is, everything where it does not.
// Leaves that its pages are right on every transport to src/testing/record-contract.ts.
import { afterEach, expect, test, vi } from "vitest";
import { openTestEngine } from "../../test/support/test-engine.ts";
import { HoldfastError } from "../errors.ts";
import type { Input, Verb } from "../verbs.ts";
import { connect } from "./client.ts";
import { directTransport } from "./direct.ts";

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

/** A client over an engine with six records, and what it asks for from now on. */
async function openClient(spec: { readonly keys?: "server"; readonly indexes?: readonly string[][] } = {}) {
  const engine = openTestEngine();
  const direct = directTransport(engine);
  const asked: string[] = [];
  let whilePlaces = async (): Promise<void> => {};
  const client = connect({
    transport: {
      ...direct,
      call: async <V extends Verb>(verb: V, input: Input<V>) => {
        const { where } = input as { readonly where?: Readonly<Record<string, unknown>> };
        asked.push(where !== undefined && "$key" in where ? `${verb} of one` : verb);
        const answer = await direct.call(verb, input);
        if (verb === "collections.list") await whilePlaces();
        return answer;
      },
    },
  });
  /** Declares other indexes after the present ones were read and before the query has heard of them. */
  const redeclare = (indexes: readonly (readonly string[])[]): void => {
    whilePlaces = async () => {
      whilePlaces = async () => {};
      engine.handle("collections.declare", { name: "notes", version: 2, indexes } as Input<"collections.declare">);
      await new Promise((resolve) => setTimeout(resolve, 40));
    };
  };
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
  return { notes, client, pages, watch, after, redeclare };
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

test("a place that is given by the time of the change is none to stay in", async () => {
  const { notes, pages, watch, after } = await openClient({ indexes: [["status", "$changed"]] });
  await watch();
  expect(await after(() => notes.update("n0", { title: "new" }))).toContain("records.query");
  expect(pages.at(-1)).toEqual(["n1 -", "n2 -", "n0 new"]);
});

test("indexes that are declared while the old ones are asked for are taken into account", async () => {
  const { notes, pages, watch, after, redeclare } = await openClient();
  await watch();
  redeclare([["status", "title"]]);
  await after(() => notes.update("n1", { rank: 1.5 }));
  await quiet();
  await after(() => notes.update("n0", { title: "z" }));
  expect(pages.at(-1)).toEqual(["n1 -", "n2 -", "n0 z"]);
});

test("who hears of errors and throws itself ends no live query and silences no listener", async () => {
  const told = vi.spyOn(console, "error").mockImplementation(() => {});
  ends.push(() => told.mockRestore());
  const engine = openTestEngine();
  const direct = directTransport(engine);
  let isRefusing = true;
  const call = <V extends Verb>(verb: V, input: Input<V>) =>
    isRefusing && verb === "records.query"
      ? Promise.reject(new HoldfastError("database_busy", "not now", "ask again"))
      : direct.call(verb, input);
  const client = connect({ transport: { ...direct, call } });
  ends.push(engine.close, client.close);
  const notes = client.collection({ name: "notes" });
  await notes.put("n1", { title: "a" });
  const errors: unknown[] = [];
  const pages: number[] = [];
  const onError = (error: unknown): void => {
    errors.push(error);
    throw new Error("a mistake in what hears of mistakes");
  };
  const listener = ({ records }: { readonly records: readonly unknown[] }): void => {
    pages.push(records.length);
    throw new Error("a listener's own mistake");
  };
  notes.subscribe({}, listener, { onError });
  await expect.poll(() => errors.length).toBe(1);
  isRefusing = false;
  await expect.poll(() => pages).toEqual([1]);
  await notes.put("n2", { title: "b" });
  await expect.poll(() => pages).toEqual([1, 2]);
  expect(errors.map(String)).toEqual([
    "HoldfastError: not now",
    ...["Error: a listener's own mistake", "Error: a listener's own mistake"],
  ]);
  expect(told).toHaveBeenCalledTimes(3);
  const other = connect({ engine, onError });
  ends.push(other.close);
  const heard: string[] = [];
  other.subscribe(() => {
    throw new Error("a listener's own mistake");
  });
  other.subscribe(({ kind }) => heard.push(kind));
  await notes.put("n3", { title: "c" });
  await expect.poll(() => heard).toContain("record");
  expect(told.mock.calls.length).toBeGreaterThan(3);
});
