// Owns attempts as the engine would make them, with everything they report kept for the test to read.
// Leaves the engine's own handling of answers to the engine's tests.
import type { Json, Operation, Progress } from "../../../src/operation.ts";
import type { Attempt } from "../../../src/world.ts";

export type Recorded = {
  readonly attempt: Attempt;
  readonly checkpoints: readonly Json[];
  readonly progress: readonly Progress[];
  readonly abort: () => void;
};

export type AttemptOptions = {
  readonly checkpoint?: Json;
  readonly subject?: string;
  readonly id?: string;
  readonly mayHaveLanded?: boolean;
  readonly onProgress?: (progress: Progress) => void;
  readonly onCheckpoint?: (value: Json) => void | Promise<void>;
};

export const operationId = "01939a00-0000-7000-8000-000000000001";

export function makeAttempt(input: unknown, options: AttemptOptions = {}): Recorded {
  const controller = new AbortController();
  const checkpoints: Json[] = [];
  const progress: Progress[] = [];
  const id = options.id ?? operationId;
  const attempt: Attempt = {
    // A handler reads no more of its operation than this.
    operation: {
      id,
      subject: options.subject ?? "",
      attempts: 1,
      mayHaveLanded: options.mayHaveLanded ?? false,
    } as Operation,
    input: input as Json,
    idempotencyKey: id,
    signal: controller.signal,
    checkpoint: options.checkpoint ?? null,
    saveCheckpoint: async (value) => {
      checkpoints.push(value);
      await options.onCheckpoint?.(value);
    },
    reportProgress: (each) => {
      progress.push(each);
      options.onProgress?.(each);
    },
  };
  return { attempt, checkpoints, progress, abort: () => controller.abort() };
}
