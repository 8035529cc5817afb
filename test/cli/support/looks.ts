// Owns the comparison of a command's look with its committed golden, for people and as JSON, over a scripted daemon.
// Leaves the cases to the golden tests; `vitest -u` writes the goldens anew.
import { expect } from "vitest";
import type { Script } from "./script.ts";
import { play, screen } from "./script.ts";

export type Look = readonly [name: string, argv: readonly string[], script: Script];

/** Commands whose JSON is not one document. */
const streams = ["daemon logs"];

export async function expectLook(...[name, argv, script]: Look): Promise<void> {
  const human = screen(argv, await play(argv, script));
  // What stands behind "--" belongs to the command that is queued.
  const asJson = argv.includes("--") ? [argv[0] ?? "", "--json", ...argv.slice(1)] : [...argv, "--json"];
  const played = await play(asJson, script);
  expect(human.includes("\u001b"), "nothing colours the screen or drives the terminal").toBe(false);
  for (const stream of [played.out, played.err]) if (stream !== "" && !streams.includes(name)) JSON.parse(stream);
  await expect(`${human}\n${screen(asJson, played)}`).toMatchFileSnapshot(
    `../golden/cli/${name.replaceAll(" ", "-")}.txt`,
  );
}
