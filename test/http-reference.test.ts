// Owns holding docs/http.md and docs/configuration.md to the tables that they describe. Leaves executing examples to docs.test.ts.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { renderReference } from "../scripts/http-reference.ts";
import { configKeys } from "../src/config.ts";
import { parseConfig } from "../src/node/config.ts";
import { makeOpenApi } from "../src/node/openapi.ts";

const read = (name: string): string => readFileSync(join(import.meta.dirname, "../docs", name), "utf8");

test("docs/http.md is what `node scripts/http-reference.ts` writes", () => {
  expect(read("http.md")).toBe(renderReference(makeOpenApi("0.1.0")));
});

test("docs/configuration.md names every key with its meaning and default", () => {
  const text = read("configuration.md");
  for (const { key, meaning, standard } of configKeys)
    expect(text).toContain(`| \`${key}\` | ${meaning} | \`${standard}\` |`);
});

test("the example of docs/configuration.md is a valid file", () => {
  const example = /```toml\n([\s\S]*?)```/.exec(read("configuration.md"))?.[1] ?? "";
  expect(parseConfig(example, "config.toml").types).toEqual(["holdfast.config.mjs"]);
});

test("every reference in the document leads somewhere", () => {
  const document = makeOpenApi("0.1.0");
  const references = [...JSON.stringify(document).matchAll(/"\$ref":"([^"]+)"/g)].map((each) => each[1] ?? "");
  const names = Object.keys(document.components.schemas).map((name) => `#/components/schemas/${name}`);
  expect(references.length).toBeGreaterThan(50);
  expect(references.filter((each) => !names.includes(each))).toEqual([]);
});
