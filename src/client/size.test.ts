// Proves bar P11: what a browser loads to talk to a daemon or a worker stays within its budget, and carries no schema.
// Leaves the engine's own size to the bench.
import path from "node:path";
import { gzipSync } from "node:zlib";
import { rolldown } from "rolldown";
import { expect, test } from "vitest";

const src = path.resolve(import.meta.dirname, "..");

/** What a bundler of an application makes of one line of code, and what went into it. */
async function bundle(code: string): Promise<{ readonly gzipBytes: number; readonly modules: readonly string[] }> {
  const entry = "\0entry";
  const build = await rolldown({
    input: entry,
    platform: "browser",
    logLevel: "silent",
    plugins: [
      {
        name: "entry",
        resolveId: (id) => (id === entry ? id : id.startsWith("#/") ? path.join(src, id.slice(2)) : null),
        load: (id) => (id === entry ? code : null),
      },
    ],
  });
  const { output } = await build.generate({ minify: true, format: "esm" });
  await build.close();
  const [chunk] = output;
  return { gzipBytes: gzipSync(chunk.code, { level: 9 }).length, modules: chunk.moduleIds };
}

const entries: readonly (readonly [string, string, number])[] = [
  ["a client alone", 'import { connect } from "#/index.ts"; globalThis.x = connect;', 12_000],
  ["the whole front door", 'import * as holdfast from "#/index.ts"; globalThis.x = { ...holdfast };', 22_000],
];

test.each(entries)("%s fits its budget, without a schema and without Node", async (name, code, budgetBytes) => {
  const { gzipBytes, modules } = await bundle(code);
  console.log(`${name}: ${(gzipBytes / 1000).toFixed(1)} kB min+gzip of ${budgetBytes / 1000} kB`);
  expect(gzipBytes).toBeLessThanOrEqual(budgetBytes);
  expect(modules.filter((id) => /node_modules\/(?!eventsource-parser|node-diff3)|^node:/.test(id))).toEqual([]);
  expect(modules.some((id) => id.endsWith("client/sse.ts"))).toBe(true);
});
