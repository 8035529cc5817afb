/**
 * Owns joining the enqueues that a program asks for in one tick: they travel as one `queue.addMany` and share one answer and one commit.
 * What cannot be queued is then asked for alone, so that each caller hears of its own; sending and repeating is `http.ts`.
 */
import type { ErrorCode } from "../errors.ts";
import { errorTable, HoldfastError } from "../errors.ts";
import { isRepeatable } from "../verb-names.ts";
import type { AddInput, Receipt } from "../verbs.ts";

/** More goes in a request of its own: a joined one must stay far below what any daemon takes. */
export const gatherLimits = { operations: 100, characters: 262_144 } as const;

/** They concern the caller as a whole: asked for one by one, all would be told the same. */
const sharedRefusals: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "unauthorized",
  "forbidden_host",
  "forbidden_origin",
  "rate_limited",
  "aborted",
]);

/** Asks for one operation or for several at once; `texts` are the same as JSON. */
export type Adder = {
  readonly one: (input: AddInput) => Promise<Receipt>;
  readonly many: (inputs: readonly AddInput[], texts: readonly string[]) => Promise<readonly Receipt[]>;
};

type Asked = {
  readonly input: AddInput;
  readonly text: string;
  readonly resolve: (receipt: Receipt | Promise<Receipt>) => void;
  readonly reject: (error: unknown) => void;
};

/** Makes the function that takes one enqueue and answers with its receipt. */
export function gatherAdds(adder: Adder): (input: AddInput) => Promise<Receipt> {
  let asked: Asked[] = [];
  const flush = (): void => {
    const all = asked;
    asked = [];
    // One without an id cannot be asked for again when the answer is lost; it must not take that from the others.
    const isSafe = (each: Asked): boolean => isRepeatable("queue.add", each.input);
    for (const part of [...partsOf(all.filter(isSafe)), ...partsOf(all.filter((each) => !isSafe(each)))])
      void sendPart(adder, part);
  };
  return (input) =>
    new Promise((resolve, reject) => {
      asked.push({ input, text: JSON.stringify(input) ?? "null", resolve, reject });
      // Callers that were waiting for one answer all go on before this runs.
      if (asked.length === 1) queueMicrotask(flush);
    });
}

function partsOf(asked: readonly Asked[]): readonly (readonly Asked[])[] {
  const parts: Asked[][] = [];
  let characters = 0;
  for (const each of asked) {
    const last = parts.at(-1);
    characters += each.text.length;
    if (last !== undefined && last.length < gatherLimits.operations && characters <= gatherLimits.characters) {
      last.push(each);
      continue;
    }
    parts.push([each]);
    characters = each.text.length;
  }
  return parts;
}

async function sendPart(adder: Adder, part: readonly Asked[]): Promise<void> {
  const [first] = part;
  if (first === undefined) return;
  if (part.length === 1) return first.resolve(adder.one(first.input));
  try {
    const inputs = part.map(({ input }) => input);
    const receipts = await adder.many(
      inputs,
      part.map(({ text }) => text),
    );
    for (const [index, each] of part.entries()) each.resolve(receipts[index] as Receipt);
  } catch (error) {
    for (const each of part) {
      if (isAboutOne(error)) each.resolve(adder.one(each.input));
      else each.reject(error);
    }
  }
}

/** A refusal of what was asked undid all of it, and most of it may be good; a failure of the daemon would only be repeated. */
function isAboutOne(error: unknown): boolean {
  if (!(error instanceof HoldfastError)) return false;
  if (sharedRefusals.has(error.code)) return false;
  const { status } = errorTable[error.code];
  return error.code === "queue_full" || (status >= 400 && status < 500);
}
