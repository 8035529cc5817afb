// Owns measuring one bar in a process of its own, so that no bar inherits another's heap, files or preloaded shim.
// Leaves starting it and reading its one line of JSON to run.ts.

import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Measure } from "./support/types.ts";

const [file = "", scope = "{}"] = process.argv.slice(2);
const { measure } = (await import(pathToFileURL(join(import.meta.dirname, file)).href)) as { measure: Measure };
const measured = await measure(JSON.parse(scope));
process.stdout.write(`\n${JSON.stringify(measured)}\n`, () => process.exit(0));
