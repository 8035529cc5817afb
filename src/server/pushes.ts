/**
 * Owns which pushes share a transaction: those to one space that wait in this process while another one is on its way. They wait for one
 * another at the row of their space anyway, and together they cost one commit. What is done inside is `push.ts`.
 */
import type { ErrorCode } from "../errors.ts";
import { errorTable, HoldfastError } from "../errors.ts";
import type { PushRequest, PushResponse } from "../wire.ts";
import type { Who } from "./collections.ts";
import type { Core } from "./core.ts";
import type { Outcome, Push } from "./push.ts";
import { pushAll, readyPush } from "./push.ts";

/** What one transaction takes at most: one that grew without end would answer nobody, and keep other processes from the space. */
export const togetherLimits = {
  pushes: 64,
  /** A single push may have more. */
  operations: 1_000,
  /** A single push may have more of them, too. All of a transaction's go to the database in a few statements, which have a time limit. */
  characters: 8_000_000,
  /** How long a push stands in line. Its client asks again, and finds what has landed. */
  waitMs: 15_000,
} as const;

export type Pushes = {
  /** Answers every item of a push; when this resolves, what it says is durable. */
  readonly push: (request: PushRequest, who: Who) => Promise<PushResponse>;
};

type Answered = Pick<PushResponse, "answers" | "history" | "head">;

type Waiting = {
  readonly push: Push;
  readonly since: number;
  readonly resolve: (answered: Answered) => void;
  readonly reject: (error: unknown) => void;
};

export function openPushes(core: Core): Pushes {
  /** By space; a space whose line is empty, with nothing on its way, is not there. */
  const lines = new Map<string, Waiting[]>();

  function stand(space: string, waiting: Waiting): void {
    const known = lines.get(space);
    if (known !== undefined) return void known.push(waiting);
    const line = [waiting];
    lines.set(space, line);
    void drain(space, line);
  }

  async function drain(space: string, line: Waiting[]): Promise<void> {
    while (line.length > 0) {
      refuseLate(line);
      await writeTogether(core, space, line);
    }
    lines.delete(space);
  }

  return {
    push: async (request, who) => {
      const push = await readyPush(core, request, who);
      const answered = await new Promise<Answered>((resolve, reject) =>
        stand(request.space, { push, since: performance.now(), resolve, reject }),
      );
      return { ...answered, now: core.now() };
    },
  };
}

/** Takes from the line what fits into one transaction, and settles all of it. */
async function writeTogether(core: Core, space: string, line: Waiting[]): Promise<void> {
  const taken: Waiting[] = [];
  join(line, taken);
  try {
    const outcome = await write(core, space, () => {
      join(line, taken);
      return taken.map(({ push }) => push);
    });
    for (const [index, { resolve }] of taken.entries()) resolve(answeredOf(outcome, index));
  } catch (error) {
    if (taken.length > 1 && !isOfTheStore(error)) return writeApart(core, space, taken);
    for (const { reject } of taken) reject(error);
  }
}

/** One of them brings its transaction down; alone, it does so to nobody else. */
async function writeApart(core: Core, space: string, taken: readonly Waiting[]): Promise<void> {
  for (const { push, resolve, reject } of taken) {
    try {
      resolve(answeredOf(await write(core, space, () => [push]), 0));
    } catch (error) {
      reject(error);
    }
  }
}

async function write(core: Core, space: string, take: () => readonly Push[]): Promise<Outcome> {
  // Run again after a commit whose answer was lost, each push finds its own receipts.
  const outcome = await core.store.write((tx) => pushAll(tx, { core, space, take }), { isRepeatable: true });
  if (outcome.isMoved) void core.store.poke(space, outcome.head);
  return outcome;
}

const answeredOf = ({ answers, history, head }: Outcome, index: number): Answered => ({
  answers: [...(answers[index] ?? [])],
  history,
  head,
});

function join(line: Waiting[], taken: Waiting[]): void {
  let operations = taken.reduce((sum, { push }) => sum + push.hashed.length, 0);
  let characters = taken.reduce((sum, { push }) => sum + push.characters, 0);
  for (let [next] = line; next !== undefined; [next] = line) {
    operations += next.push.hashed.length;
    characters += next.push.characters;
    const isHeavy = operations > togetherLimits.operations || characters > togetherLimits.characters;
    if (taken.length > 0 && (isHeavy || taken.length >= togetherLimits.pushes)) return;
    line.shift();
    taken.push(next);
  }
}

/** A disk or a connection that fails says nothing about a push: one after the other, they would only fail more slowly. */
function isOfTheStore(error: unknown): boolean {
  const traits = error instanceof HoldfastError ? errorTable[error.code as ErrorCode] : undefined;
  return traits?.isTransient === true;
}

function refuseLate(line: Waiting[]): void {
  const now = performance.now();
  // The last in line goes on however late it is, so that a slow database still moves.
  while (line.length > 1 && now - (line[0]?.since ?? now) > togetherLimits.waitMs) line.shift()?.reject(tooLate());
}

function tooLate(): HoldfastError {
  return new HoldfastError(
    "timed_out",
    "the pushes before this one took too long",
    "send it again; where this happens often, divide the space or give the database more",
  );
}
