// Owns a process that runs one attempt of an upload and notes its checkpoint durably, for tests that kill it.
// Leaves starting, killing and judging to the test: node uploader.ts <folder> <job.json>
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from "node:fs";
import path from "node:path";
import { makeBlobs } from "../../../src/node/blobs.ts";
import { makeFileUpload } from "../../../src/node/upload.ts";
import { makeAttempt } from "./attempts.ts";

const [folder = "", job = ""] = process.argv.slice(2);
const note = path.join(folder, "checkpoint.json");

const { attempt } = makeAttempt(JSON.parse(readFileSync(job, "utf8")), {
  checkpoint: existsSync(note) ? JSON.parse(readFileSync(note, "utf8")) : null,
  onProgress: ({ done }) => process.stdout.write(`${done}\n`),
  onCheckpoint: (value) => {
    const file = openSync(`${note}.new`, "w");
    writeSync(file, JSON.stringify(value));
    fsyncSync(file);
    closeSync(file);
    renameSync(`${note}.new`, note);
  },
});
const upload = makeFileUpload({ blobs: makeBlobs(folder), credentials: { headersFor: async () => ({}) } });
const answer = await upload.run?.(attempt);
process.stdout.write(`answer ${JSON.stringify(answer)}\n`);
