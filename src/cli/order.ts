/**
 * Owns how the options of a new operation become the input of `queue.add`. The payload is its type's business; see `enqueue.ts`.
 */
import { strategies } from "../operation.ts";
import type { RetryPolicy, RetryPreset } from "../retry.ts";
import { retryPresets } from "../retry.ts";
import type { AddInput } from "../verbs.ts";
import { parseAfter, parseChoice, parseExpiry, parseInstant, parseInteger, parseJson, usage } from "./parse.ts";

export type OrderOptions = {
  readonly lane?: string;
  readonly priority?: string;
  readonly after?: readonly string[];
  readonly at?: string;
  readonly in?: string;
  readonly expires?: string;
  readonly creates?: string;
  readonly group?: string;
  readonly dedupe?: string;
  readonly draft?: boolean;
  readonly subject?: string;
  readonly retry?: string;
  readonly onFailure?: string;
  readonly onCrash?: string;
  readonly conflict?: string;
  readonly title?: string;
  readonly id?: string;
};

type Order = Omit<AddInput, "type" | "payload">;

/** Everything about a new operation but its type and payload. */
export function parseOrder(options: OrderOptions, now: number): Order {
  if (options.at !== undefined && options.in !== undefined)
    throw usage("--at and --in say the same thing twice", "give one of them");
  const notBefore =
    options.in !== undefined
      ? parseAfter(options.in, "--in", now)
      : options.at !== undefined
        ? parseInstant(options.at, "--at", now)
        : undefined;
  return definedOnly<Order>({
    id: options.id,
    lane: options.lane,
    priority: options.priority === undefined ? undefined : parseInteger(options.priority, "--priority"),
    after: options.after === undefined ? undefined : [...options.after],
    creates: options.creates,
    group: options.group,
    dedupe: options.dedupe === undefined ? undefined : parseDedupe(options.dedupe),
    subject: options.subject,
    notBefore,
    expiresAt: options.expires === undefined ? undefined : parseExpiry(options.expires, now),
    retry: options.retry === undefined ? undefined : parseRetry(options.retry),
    onFailure:
      options.onFailure === undefined
        ? undefined
        : parseChoice(options.onFailure, "--on-failure", ["hold", "skip"] as const),
    onCrash:
      options.onCrash === undefined
        ? undefined
        : parseChoice(options.onCrash, "--on-crash", ["resend", "ask"] as const),
    conflict: options.conflict === undefined ? undefined : parseChoice(options.conflict, "--conflict", strategies),
    isDraft: options.draft,
    title: options.title,
  });
}

function parseDedupe(text: string): NonNullable<Order["dedupe"]> {
  const isReplacing = text.endsWith(":replace");
  const key = isReplacing ? text.slice(0, -":replace".length) : text;
  if (key === "") throw usage("--dedupe: the key is empty", "write --dedupe my-key or --dedupe my-key:replace");
  return { key, mode: isReplacing ? "replace-pending" : "keep-first" };
}

/** A preset's name, or a policy as JSON, which the engine checks. */
export function parseRetry(text: string): RetryPreset | Partial<Omit<RetryPolicy, "delaysMs">> {
  if (text.trimStart().startsWith("{")) return parseJson(text, "--retry") as Partial<Omit<RetryPolicy, "delaysMs">>;
  return parseChoice(text, "--retry", Object.keys(retryPresets) as RetryPreset[]);
}

type Loose<T> = { readonly [K in keyof T]: T[K] | undefined };

/** Leaves out what was not given: an input says only what the person said. */
export function definedOnly<T extends object>(value: Loose<T>): T {
  return Object.fromEntries(Object.entries(value).filter(([, each]) => each !== undefined)) as T;
}
