/**
 * Owns what the cases of the contracts share: the world that those of a transport run in, comparing, waiting. They need no test runner.
 * The cases are `transport-contract.ts`, `record-contract.ts` and `server-store-contract.ts`.
 */
import type { Client } from "../client/client.ts";
import type { EngineLike, Transport } from "../client/transport.ts";
import { assert } from "../errors.ts";

export type TransportWorld = {
  /** The running engine behind the transport, with `contractTypes`. */
  readonly engine: EngineLike;
  /** A new transport to the engine; each client closes its own. */
  readonly open: () => Transport | Promise<Transport>;
  /** Breaks all connections as a bad network would. Leave it out for a transport that has none. */
  readonly cut?: () => void | Promise<void>;
  readonly close: () => void | Promise<void>;
};

export type Case = (client: Client, world: TransportWorld) => Promise<void>;

/** Long enough for a slow machine; every wait ends much earlier. */
export const patienceMs = 8_000;

/** Compares as JSON, so that the suite needs no test runner. */
export function equal(actual: unknown, expected: unknown): void {
  const [left, right] = [JSON.stringify(actual), JSON.stringify(expected)];
  assert(left === right, `got ${left}, expected ${right}`);
}

export async function errorOf(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  assert(false, "a call succeeded that should have been refused");
}

export async function codeOf(promise: Promise<unknown>): Promise<unknown> {
  return ((await errorOf(promise)) as { readonly code?: unknown }).code;
}

export const pause = (delayMs: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, delayMs));

export async function until(isTrue: () => Promise<boolean>): Promise<void> {
  for (const deadline = Date.now() + patienceMs; !(await isTrue()); await pause(5)) {
    assert(Date.now() < deadline, "what was waited for did not happen in time");
  }
}
