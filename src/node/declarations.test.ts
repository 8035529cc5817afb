// Proves which files of declarations are taken and with what words the others are refused. Leaves config.toml to config.test.ts.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { loadDeclarations } from "./declarations.ts";

let base = "";
let path = "";
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), "holdfast-declarations-"));
  path = join(base, "config.toml");
});
afterEach(() => rmSync(base, { recursive: true, force: true }));

describe("types files", () => {
  const write = (name: string, text: string): string => {
    writeFileSync(join(base, name), text);
    return name;
  };

  test("are loaded beside the configuration, TypeScript as well", async () => {
    write(
      "a.ts",
      'const name: string = "note"; export default { types: [{ type: name, run: async () => ({ kind: "applied" }) }] };',
    );
    expect((await loadDeclarations(["a.ts"], path)).types.map((each) => each.type)).toEqual(["note"]);
  });

  test("of the usual name are loaded where the configuration names none, one of them", async () => {
    const loaded = async (named?: readonly string[]) =>
      (await loadDeclarations(named, path)).types.map(({ type }) => type);
    expect(await loaded()).toEqual([]);
    write("holdfast.config.mjs", 'export default { types: [{ type: "plain" }] };');
    expect(await loaded()).toEqual(["plain"]);
    expect(await loaded([])).toEqual([]);
    write("holdfast.config.ts", 'export default { types: [{ type: "typed" as string }] };');
    await expect(loaded()).rejects.toMatchObject({
      code: "config_invalid",
      message: "holdfast.config.ts and holdfast.config.mjs are both there",
    });
    expect(await loaded(["holdfast.config.ts"])).toEqual(["typed"]);
    rmSync(join(base, "holdfast.config.mjs"));
    expect(await loaded()).toEqual(["typed"]);
  });

  test("declare collections beside types, or alone", async () => {
    write("c.mjs", 'export default { collections: [{ name: "notes", unique: [["title"]] }] };');
    const { types, collections } = await loadDeclarations(["c.mjs"], path);
    expect([types, collections]).toEqual([[], [{ name: "notes", unique: [["title"]] }]]);
  });

  test.each([
    ["missing.mjs", "", "is not there"],
    ["broken.mjs", "export default {", "cannot be loaded"],
    ["throws.mjs", 'throw new Error("no luck")', "no luck"],
    ["empty.mjs", "export const types = []", "has no `export default"],
    ["nameless.mjs", "export default { types: [{}] }", "types[0] is wrong: type: expected a string"],
    ["handler.mjs", 'export default { types: [{ type: "a", run: 1 }] }', "types[0] (a): run: expected a function"],
    ["plain.mjs", "export default { collections: {} }", "collections is not a list"],
    ["misspelt.mjs", 'export default { types: [{ type: "a", retri: "lock" }] }', 'did you mean "retry"?'],
    ["unnamed.mjs", "export default { collections: [{}] }", "collections[0] has no name"],
    ["bare.mjs", 'export default { collections: [{ name: "notes", schema: {} }] }', "a schema needs .collection("],
    ["same.mjs", 'export default { collections: [{ name: "a" }, { name: "a" }] }', "which another file declares"],
    ["twice.mjs", 'export default { types: [{ type: "a" }, { type: "a" }] }', "which another file declares"],
  ])("%s is refused by name: %s", async (name, text, words) => {
    if (text !== "") write(name, text);
    await expect(loadDeclarations([name], path)).rejects.toMatchObject({
      code: "config_invalid",
      message: expect.stringMatching(new RegExp(words.replace(/[[\]().`]/g, "."))),
    });
  });
});
