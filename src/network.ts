/**
 * Owns what is believed of one remote's reachability and how evidence changes that belief: hysteresis, probe back-off,
 * circuit breaker, jittered reconnect. Who keeps it is `engine/network.ts`; who gathers evidence are real attempts and probes.
 */
import type { networkStatuses } from "./verbs.ts";

export type NetworkStatus = (typeof networkStatuses)[number];

/** What is believed of one remote. All instants are wall-clock milliseconds; `null` means never or not planned. */
export type Reachability = {
  readonly status: NetworkStatus;
  /** The status in words, e.g. "no answer: ECONNREFUSED". */
  readonly reason: string;
  readonly since: number;
  readonly lastSuccessAt: number | null;
  readonly lastFailureAt: number | null;
  /** Attempts and probes in a row without any answer. */
  readonly silences: number;
  /** Answers in a row that were the remote's own failures (5xx); the circuit breaker counts them. */
  readonly serverErrors: number;
  readonly nextProbeAt: number | null;
  /** Nothing is sent before this instant: Retry-After, an open circuit breaker, or the jittered first reconnect. */
  readonly opensAt: number | null;
};

/** One observation. `at` is when the attempt or probe began, so that old news cannot undo newer news. */
export type Evidence =
  | { readonly kind: "answered"; readonly at: number }
  | { readonly kind: "silent"; readonly at: number; readonly reason: string }
  | { readonly kind: "server_error"; readonly at: number; readonly reason: string }
  | { readonly kind: "paced"; readonly at: number; readonly afterMs: number; readonly reason: string }
  | { readonly kind: "probe_started"; readonly at: number }
  | { readonly kind: "probed"; readonly at: number; readonly isReachable: boolean; readonly reason: string }
  /** The operating system or a person says so: a hint, it only makes the next probe come sooner. */
  | { readonly kind: "hint"; readonly at: number };
