// Owns that docs/cli.md says what the command says, and that every command explains itself. That its examples can be typed is in examples.test.ts.
import { expect, it } from "vitest";
import { pathOf } from "../../src/cli/run.ts";
import { buildTree, everyCommand } from "../../src/cli/tree.ts";
import { examplesOf, renderReference } from "./reference.ts";
import { hostFor } from "./support/script.ts";

const tree = () => buildTree(hostFor({}), { context: undefined, exit: 0 });

it("docs/cli.md is what the command says of itself", async () => {
  await expect(renderReference(tree())).toMatchFileSnapshot("../../docs/cli.md");
});

it.each(everyCommand(tree()).map((command) => [pathOf(command) || "holdfast", command] as const))(
  "%s has a description and examples of its own",
  (path, command) => {
    expect(command.description()).toMatch(/\.$/);
    expect(examplesOf(command).length).toBeGreaterThan(0);
    for (const option of command.options) expect(option.description, option.flags).not.toBe("");
    for (const argument of command.registeredArguments) expect(argument.description, argument.name()).not.toBe("");
    if (command.commands.length === 0)
      expect(
        examplesOf(command).every((line) => line.includes(`holdfast ${path}`)),
        path,
      ).toBe(true);
  },
);
