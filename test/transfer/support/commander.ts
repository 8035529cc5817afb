// Owns a process that runs one command and notes its checkpoint, for tests that kill it: node commander.ts <folder> <argv>
// Leaves starting, killing and judging to the test.
import { renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import { makeCommandRun } from "../../../src/node/command.ts";
import { makeAttempt } from "./attempts.ts";

const [folder = "", argv = "[]"] = process.argv.slice(2);
const note = path.join(folder, "checkpoint.json");
const { attempt } = makeAttempt(
  { argv: JSON.parse(argv), cwd: folder },
  {
    onCheckpoint: (value) => {
      writeFileSync(`${note}.new`, JSON.stringify(value));
      renameSync(`${note}.new`, note);
    },
  },
);
await makeCommandRun({ isEnabled: () => true, credentials: { secretFor: async () => "" } }).run?.(attempt);
