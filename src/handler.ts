/**
 * Owns how a program declares an operation type of its own: its schema, where it goes, and the function that sends it.
 * What such a function may answer is in `reply.ts`; what the engine does with the type is said in `world.ts`.
 */
import type { StandardSchemaV1 } from "@standard-schema/spec";
import { HoldfastError } from "./errors.ts";
import { checkOptions } from "./misuse.ts";
import type { Answer, Json, Operation, Problem, Progress, Strategy } from "./operation.ts";
import type { Reply } from "./reply.ts";
import { answerFromError, answerFromValue } from "./reply.ts";
import type { RetryPolicy, RetryPreset } from "./retry.ts";
import { askSchema, isSchema } from "./standard-schema.ts";
import type { AddInput } from "./verbs.ts";
import type { Attempt, OperationType, Signal } from "./world.ts";

/** The runtime's own `AbortSignal` where there is one, so that it can be handed to `fetch`. */
type RunSignal = typeof globalThis extends { AbortSignal: { prototype: infer S } } ? S : Signal;

/** What a handler gets besides its input. */
export type RunContext = {
  readonly signal: RunSignal;
  /** Send it with every request of this operation; it stays the same across attempts and restarts. */
  readonly idempotencyKey: string;
  /** What `saveCheckpoint` stored last, also by an earlier process; `null` at first. */
  readonly checkpoint: Json;
  /** Stores where a long piece of work stands; resolves when it is durable. */
  readonly saveCheckpoint: (value: Json) => Promise<void>;
  /** Tells people how far it is; cheap, call it as often as you like. */
  readonly progress: (progress: Progress) => void;
  readonly operation: Operation;
};

/** Any JSON means applied with that result; `applied`, `rejected`, … say more. Throwing is answering, too. */
export type RunResult = Json | Reply | undefined;

type Schema = StandardSchemaV1;
type In<S extends Schema> = StandardSchemaV1.InferInput<S>;
type Out<S extends Schema> = StandardSchemaV1.InferOutput<S>;

export type Declaration<S extends Schema> = {
  /** The name under which it is queued, e.g. "note.save". */
  readonly type: string;
  /** Any synchronous Standard Schema (zod, valibot, arktype, …). What it checks is stored; what it makes of it goes to `run`. */
  readonly input: S;
  /** Version of the schema; older payloads pass through `upcast` before they are checked. Default 1. */
  readonly version?: number;
  readonly upcast?: (payload: Json, fromVersion: number) => Json;
  readonly title?: (payload: In<S>) => string;
  /** What it is sent to, e.g. "https://api.example.com"; its reachability gates the operation. Without it, nothing does. */
  readonly remote?: string | ((payload: In<S>) => string);
  readonly lane?: string | ((payload: In<S>) => string | null);
  readonly priority?: number;
  readonly retry?: RetryPreset | Partial<RetryPolicy>;
  /** Milliseconds that one attempt may take. Default 60,000; 0 means no limit. */
  readonly timeoutMs?: number | ((payload: In<S>) => number);
  /** Moves bytes: has slots of its own, so it never delays small operations. */
  readonly isBulk?: boolean;
  readonly onFailure?: "hold" | "skip";
  readonly onCrash?: "resend" | "ask";
  readonly conflict?: Strategy;
  /** The payload to send again when the local side wins. */
  readonly resend?: (payload: In<S>, remote: Json) => Json;
  /** The payload to send when both sides are merged; `null` leaves it to a person. */
  readonly merge?: (local: In<S>, remote: Json) => Json | null;
  /** Sends it once. Leave it out, and `runBatch` too, where operations are only queued and sent by another process. */
  readonly run?: (input: Out<S>, context: RunContext) => RunResult | Promise<RunResult>;
  /**
   * Sends up to `max` at once and returns one result each, in their order; an `Error` in a place fails that one alone. What
   * `item.answer(result)` was told before counts in any case.
   */
  readonly runBatch?: {
    readonly max: number;
    readonly run: (items: readonly BatchItem<Out<S>>[]) => Promise<readonly (RunResult | Error)[]>;
  };
};

export type BatchItem<T> = RunContext & {
  readonly input: T;
  /** Tells this one's result ahead of the others: it counts even if the rest of the batch runs into the time limit. */
  readonly answer: (result: RunResult | Error) => void;
};

/** A declared type: give it to an engine, and queue with `of`. */
export type DeclaredOperation<S extends Schema> = OperationType & {
  /** The input of `queue.add` for this type, checked by the compiler. */
  readonly of: (payload: In<S>, options?: Omit<AddInput, "type" | "payload">) => AddInput;
};

const names = [
  ...["type", "input", "version", "upcast", "title", "remote", "lane", "priority", "retry", "timeoutMs", "isBulk"],
  ...["onFailure", "onCrash", "conflict", "resend", "merge", "run", "runBatch"],
];

/**
 * Declares an operation type.
 * @example
 * const saveNote = operation({
 *   type: "note.save",
 *   input: z.object({ title: z.string() }),
 *   run: async (note, { signal, idempotencyKey }) => (await api.save(note, { signal, idempotencyKey })).revision,
 * });
 * await client.queue.add(saveNote.of({ title: "Tides" }));
 */
export function operation<S extends Schema>(declaration: Declaration<S>): DeclaredOperation<S> {
  checkDeclaration(declaration);
  const { type, input, remote, run, runBatch, ...rest } = declaration;
  const declared = {
    ...rest,
    type,
    check: (payload: Json): Json => {
      const checked = validate(type, input, payload);
      if ("problem" in checked)
        throw new HoldfastError("invalid_input", checked.problem.message, "correct the payload");
      // What was given is kept, not what the schema made of it: the schema's output need not be JSON, and is made again.
      return payload;
    },
    ...(remote === undefined ? {} : { remoteOf: typeof remote === "string" ? () => remote : remote }),
    ...(run === undefined ? {} : { run: runOne(type, input, run) }),
    ...(runBatch === undefined ? {} : { runBatch: { max: runBatch.max, run: runMany(type, input, runBatch.run) } }),
    of: (payload: In<S>, options: Omit<AddInput, "type" | "payload"> = {}) => ({ ...options, type, payload }),
  };
  // The engine hands every function a payload that `check` has passed, so its type is the schema's input.
  return declared as unknown as DeclaredOperation<S>;
}

function checkDeclaration<S extends Schema>(declaration: Declaration<S>): void {
  checkOptions("operation", declaration ?? null, names);
  const { type, input, version, run, runBatch } = declaration;
  if (typeof type !== "string" || type === "") throw new TypeError('operation: type must be a name, e.g. "note.save"');
  const where = `operation "${type}"`;
  if (!isSchema(input)) {
    throw new TypeError(`${where}: input must be a Standard Schema, e.g. z.object({ … }) of zod`);
  }
  if (version !== undefined && (!Number.isSafeInteger(version) || version < 1)) {
    throw new TypeError(`${where}: version must be 1, 2, 3, …; got ${version}`);
  }
  if (run !== undefined && runBatch !== undefined) throw new TypeError(`${where}: give run or runBatch, not both`);
  if (run !== undefined && typeof run !== "function") throw new TypeError(`${where}: run must be a function`);
  if (runBatch === undefined) return;
  checkOptions(`${where}: runBatch`, runBatch, ["max", "run"]);
  if (!Number.isSafeInteger(runBatch.max) || runBatch.max < 1 || typeof runBatch.run !== "function") {
    throw new TypeError(`${where}: runBatch takes { max: 1 or more, run: a function }`);
  }
}

type Checked = { readonly value: unknown } | { readonly problem: Problem };

function validate(type: string, schema: Schema, payload: unknown): Checked {
  const said = askSchema(schema, payload, {
    where: `operation "${type}"`,
    advice: "an enqueue is one synchronous transaction, so check such things in run",
  });
  if ("value" in said) return said;
  const field = said.field === "" ? "payload" : said.field;
  return { problem: { code: "invalid_payload", message: `${type}: ${field}: ${said.message}`, field } };
}

function contextOf(attempt: Attempt): RunContext {
  const { idempotencyKey, checkpoint, saveCheckpoint, operation: view } = attempt;
  const signal = attempt.signal as RunSignal;
  return { signal, idempotencyKey, checkpoint, saveCheckpoint, progress: attempt.reportProgress, operation: view };
}

/** Begins in a later microtask, so that a handler that throws at once is answered like one that rejects. */
function runOne<S extends Schema>(
  type: string,
  schema: S,
  run: NonNullable<Declaration<S>["run"]>,
): NonNullable<OperationType["run"]> {
  return (attempt) =>
    Promise.resolve()
      .then(() => {
        const checked = validate(type, schema, attempt.input);
        if ("problem" in checked) return { kind: "rejected", problem: checked.problem } as const;
        return Promise.resolve(run(checked.value, contextOf(attempt))).then(answerFromValue);
      })
      .catch(answerFromError);
}

type RunBatch = NonNullable<OperationType["runBatch"]>["run"];

/** Payloads that no longer fit the schema are answered here, and the rest is sent together. */
function runMany<S extends Schema>(
  type: string,
  schema: S,
  run: NonNullable<Declaration<S>["runBatch"]>["run"],
): RunBatch {
  return (attempts, tell) =>
    Promise.resolve()
      .then(() => {
        const checks = attempts.map((attempt) => validate(type, schema, attempt.input));
        const items = checks.flatMap((checked, index) =>
          "value" in checked
            ? [itemOf(attempts[index] as Attempt, checked.value, (answer) => tell(index, answer))]
            : [],
        );
        const sent =
          items.length === 0 ? Promise.resolve([]) : Promise.resolve(run(items as readonly BatchItem<Out<S>>[]));
        return sent.then((results) => {
          const next = results[Symbol.iterator]();
          return checks.map((checked) => {
            if ("problem" in checked) return { kind: "rejected", problem: checked.problem } as const;
            return answerOfMember(type, next.next());
          });
        });
      })
      .catch((error: unknown) => attempts.map(() => answerFromError(error)));
}

function itemOf(attempt: Attempt, input: unknown, tell: (answer: Answer) => void) {
  const answer = (result: RunResult | Error): void => tell(answerOfResult(result));
  return { ...contextOf(attempt), input, answer };
}

const answerOfResult = (result: RunResult | Error): Answer =>
  result instanceof Error ? answerFromError(result) : answerFromValue(result);

function answerOfMember(type: string, result: IteratorResult<RunResult | Error>) {
  if (result.done === true)
    return answerFromError(new Error(`the batch of ${type} returned fewer results than it was given operations`));
  return answerOfResult(result.value);
}
