/**
 * Owns what every transport promises about records, as cases that run over any of them: typed handles, transactions, live queries.
 * Operations and events are `transport-contract.ts`; what a write means is tested with the engine.
 */
import type { Client } from "../client/client.ts";
import type { CollectionHandle, Page } from "../client/records.ts";
import { collection } from "../collection.ts";
import { assert } from "../errors.ts";
import type { Case } from "./contract.ts";
import { codeOf, equal, errorOf, pause, until } from "./contract.ts";

type Note = { readonly title: string; readonly stars?: number; readonly body?: string };

type Verdict =
  | { readonly value: Note & { readonly body: string } }
  | { readonly issues: readonly { readonly message: string; readonly path: readonly string[] }[] };
type Types = { readonly input: Note; readonly output: Note & { readonly body: string } };

/** A schema without any library: a note has a title, and gets a body. */
const noteSchema = {
  "~standard": {
    version: 1 as const,
    vendor: "holdfast",
    types: undefined as Types | undefined,
    validate: (value: unknown): Verdict => {
      const note = value as Note;
      if (typeof note?.title !== "string") return { issues: [{ message: "expected a text", path: ["title"] }] };
      return { value: { body: "", ...note } };
    },
  },
};

const notes = collection({ name: "contract_notes", schema: noteSchema, indexes: ["stars", "title"] });
const byTitle = collection({ name: "contract_titles", schema: noteSchema, key: "title" });

const titlesOf = (page: Page<Note>): readonly string[] => page.records.map(({ value }) => value?.title ?? "(removed)");

async function fill(client: Client, count: number): Promise<CollectionHandle<Note & { readonly body: string }, Note>> {
  const handle = client.collection(notes);
  for (let at = 0; at < count; at += 1) await handle.put(`n${at}`, { title: `note ${at}`, stars: at });
  return handle;
}

export const recordCases: Readonly<Record<string, Case>> = {
  "a collection that the engine does not know is declared by whoever knows it": async (client) => {
    const handle = client.collection(notes);
    const { record, operation } = await handle.create({ title: "Tides" });
    equal([record.value, record.version, typeof operation], [{ body: "", title: "Tides" }, 0, "string"]);
    equal((await client.collection("contract_notes").get(record.key))?.value, record.value);
    equal(await codeOf(client.collection("contract_unknown").get("a")), "not_found");
  },

  "records are written, changed in single fields, replaced, removed and read": async (client) => {
    const handle = client.collection(notes);
    await handle.put("n1", { title: "Tides", stars: 1 });
    const updated = await handle.update("n1", { stars: 2 });
    equal([updated.record.value?.title, updated.record.value?.stars], ["Tides", 2]);
    await handle.update("n1", { title: "Ebb" }, { unset: ["stars"] });
    const { title, body, stars } = (await handle.get("n1"))?.value ?? {};
    equal([title, body, stars ?? null], ["Ebb", "", null]);
    await handle.put("n1", { title: "Flood" });
    equal((await handle.get("n1"))?.value?.title, "Flood");
    equal((await handle.patch("n1", { title: "Flood", stars: 3 })).record.value?.title, "Flood");
    const steps = [
      { op: "test", path: "/stars", value: 3 },
      { op: "replace", path: "/stars", value: 2 },
    ];
    equal((await handle.patch("n1", steps)).record.value?.stars, 2);
    equal(await codeOf(handle.patch("n1", steps)), "refused_by_state");
    await handle.remove("n1");
    equal((await handle.get("n1"))?.value ?? null, null);
    equal(await codeOf(handle.update("n9", { stars: 1 })), "not_found");
  },

  "what the schema refuses does not leave the program, and keys come from where the declaration says": async (
    client,
  ) => {
    const wrong = await errorOf(client.collection(notes).create({ title: 7 } as never));
    assert((wrong as { code?: unknown }).code === "invalid_input" && String(wrong).includes("title"), String(wrong));
    const { record } = await client.collection(byTitle).create({ title: "Tides" });
    equal(record.key, "Tides");
    equal((await client.collection(byTitle).create({ title: "Ebb" }, { key: "own" })).record.key, "own");
  },

  "queries filter, order and page, and counts agree": async (client) => {
    const handle = await fill(client, 7);
    const order = [{ field: "stars", direction: "desc" }] as const;
    const first = await handle.query({ where: { stars: { gte: 2 } }, order, limit: 3 });
    equal(titlesOf(first), ["note 6", "note 5", "note 4"]);
    const second = await handle.query({ where: { stars: { gte: 2 } }, order, limit: 3, cursor: first.next ?? "" });
    equal([titlesOf(second), second.next], [["note 3", "note 2"], null]);
    equal([await handle.count(), await handle.count({ where: { stars: { lt: 2 } } })], [7, 2]);
  },

  "a transaction writes several records or none, and hands keys on": async (client) => {
    const { records, operation, result } = await client.transaction((tx) => {
      const key = tx.collection(notes).create({ title: "Tides" });
      tx.collection(byTitle).put("index", { title: key });
      return key;
    });
    equal([records.length, typeof operation], [2, "string"]);
    equal((await client.collection(notes).get(result))?.value?.title, "Tides");
    equal((await client.collection(byTitle).get("index"))?.value?.title, result);
    const refused = client.transaction((tx) => {
      tx.collection(notes).put("n1", { title: "never" });
      tx.collection(notes).update("nobody", { stars: 1 });
    });
    equal(await codeOf(refused), "not_found");
    equal(await client.collection(notes).get("n1"), null);
    equal((await client.transaction(() => 7)).result, 7);
  },

  "a transaction's function that waits is a mistake of the program, and writes nothing": async (client) => {
    await client.collection(notes).put("n0", { title: "there" });
    const waiting = await errorOf(
      client.transaction(async (tx) => {
        tx.collection(notes).put("n1", { title: "never" });
      }),
    );
    assert(waiting instanceof TypeError && waiting.message.includes("async"), String(waiting));
    equal(await client.collection(notes).get("n1"), null);
  },

  "a live query tells its page at once, after each change that alters it, and no more after its end": async (
    client,
  ) => {
    const handle = await fill(client, 2);
    const pages: (readonly string[])[] = [];
    const stop = handle.subscribe({ where: { stars: { gte: 1 } }, order: [{ field: "title" }] }, (page) =>
      pages.push(titlesOf(page)),
    );
    await until(async () => pages.length === 1);
    await client.collection(byTitle).create({ title: "elsewhere" });
    await handle.put("n2", { title: "note 2", stars: 2 });
    await until(async () => pages.at(-1)?.length === 2);
    await handle.remove("n1");
    await until(async () => pages.at(-1)?.join() === "note 2");
    equal([pages[0], pages.length <= 5], [["note 1"], true]);
    stop();
    const told = pages.length;
    await handle.put("n3", { title: "note 3", stars: 3 });
    await pause(120);
    equal(pages.length, told);
  },

  "a live query shows what the query answers, whatever becomes of its records": async (client) => {
    const handle = await fill(client, 5);
    const queries = [
      { where: { stars: { gte: 1 } }, order: [{ field: "stars" }] },
      { where: { stars: { gte: 1 } }, order: [{ field: "stars", direction: "desc" }], limit: 3 },
      { where: { $key: { prefix: "n" } } },
      { order: [{ field: "title" }], states: ["pending"] },
    ] as const;
    const shown = queries.map((): unknown => null);
    const stops = queries.map((query, index) =>
      handle.subscribe(query, (page) => {
        shown[index] = page;
      }),
    );
    const changes: readonly (() => Promise<unknown>)[] = [
      () => handle.update("n3", { body: "stays where it is" }),
      () => handle.update("n3", { stars: 9 }),
      () => handle.update("n2", { stars: 0 }),
      () => handle.update("n2", { stars: 2 }),
      () => handle.update("n0", { body: "is on some pages" }),
      () => handle.remove("n4"),
      () => handle.put("n7", { title: "a new one", stars: 7 }),
      () => handle.put("m8", { title: "another", stars: 8 }),
      () => handle.remove("n7"),
      () =>
        client.transaction((tx) => {
          tx.collection(notes).update("n1", { body: "with another" });
          tx.collection(notes).update("n3", { stars: 1 });
        }),
    ];
    for (const change of changes) {
      await change();
      await until(async () => {
        const answers = await Promise.all(queries.map((query) => handle.query(query)));
        return JSON.stringify(answers) === JSON.stringify(shown);
      });
    }
    for (const stop of stops) stop();
  },

  "a live query stays true when connections break": async (client, world) => {
    const handle = await fill(client, 1);
    const pages: (readonly string[])[] = [];
    handle.subscribe({ order: [{ field: "title" }] }, (page) => pages.push(titlesOf(page)), { onError: () => {} });
    for (let at = 1; at <= 4; at += 1) {
      await world.cut?.();
      const write = {
        kind: "put",
        collection: "contract_notes",
        key: `n${at}`,
        value: { title: `note ${at}` },
      } as const;
      await world.engine.submit("records.write", write);
    }
    await until(async () => pages.at(-1)?.length === 5);
  },

  "history tells every change, and restoring brings one back": async (client) => {
    const handle = client.collection(notes);
    await handle.put("n1", { title: "Tides" });
    await handle.update("n1", { title: "Ebb" });
    const { entries } = await handle.history("n1");
    equal(
      entries.map(({ origin, after }) => [origin, after?.title]),
      [
        ["local", "Ebb"],
        ["local", "Tides"],
      ],
    );
    const restored = await handle.restore("n1", entries[0]?.sequence ?? 0, { side: "before" });
    equal(restored.record.value?.title, "Tides");
  },

  "an import goes in parts and changes nothing when it is repeated": async (client) => {
    const handle = await fill(client, 0);
    await handle.put("first", { title: "makes it known" });
    const rows = Array.from({ length: 1_200 }, (_, at) => ({ title: `row ${at}`, stars: at }));
    const steps: number[] = [];
    const first = await handle.import(rows, { source: "rows", onProgress: (done) => steps.push(done.rows) });
    equal([first.imported, first.refused, steps], [1_200, [], [500, 1_000, 1_200]]);
    const again = await handle.import(rows, { source: "rows" });
    equal([again.imported, again.refused], [0, []]);
    equal(await handle.count(), 1_201);
  },

  "records are pinned by key and by condition": async (client) => {
    const handle = await fill(client, 3);
    equal([await handle.pin({ keys: ["n0"] }), await handle.pin({ where: { stars: { gte: 1 } } })], [1, 2]);
    equal((await handle.get("n2"))?.isPinned, true);
    equal(await handle.pin({ keys: ["n2"], isPinned: false }), 1);
    equal((await handle.get("n2"))?.isPinned, false);
  },

  "wrong names and wrong targets are mistakes that name the right spelling": async (client) => {
    const misused: readonly (() => unknown)[] = [
      () => client.collection(7 as never),
      () => (client.collection("contract_notes") as unknown as Record<string, unknown>).updat,
      () => client.collection("contract_notes").subscribe({}, undefined as never),
      () => client.collection("contract_notes").subscribe({}, () => {}, { onErr: () => {} } as never),
    ];
    for (const misuse of misused) {
      let thrown: unknown = null;
      try {
        misuse();
      } catch (error) {
        thrown = error;
      }
      assert(thrown instanceof TypeError, `expected a TypeError, got ${String(thrown)}`);
    }
  },
};
