// Owns the rules by which evidence changes what is believed of a remote. Leaves who gathers and keeps it to the engine.
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Evidence, Reachability } from "./network.ts";
import {
  evidenceOf,
  gateOf,
  initialReachability,
  longestClosedMs,
  longestProbeMs,
  networkPolicy,
  nextProbeOf,
  observe,
} from "./network.ts";

const policy = networkPolicy;

/** Feeds evidence in order; each entry arrives when it began, unless it says when it came. */
function told(state: Reachability, ...news: readonly (Evidence & { readonly came?: number })[]): Reachability {
  return news.reduce((known, each) => observe(known, each, { now: each.came ?? each.at, random: 0.5, policy }), state);
}
const silent = (at: number, came = at) => ({ kind: "silent", at, came, reason: "no answer: ECONNREFUSED" }) as const;
const answered = (at: number, came = at) => ({ kind: "answered", at, came }) as const;
const failed = (at: number, came = at) => ({ kind: "server_error", at, came, reason: "500" }) as const;
const start = initialReachability(0);
const offline = told(start, silent(10), silent(20));

describe("hysteresis", () => {
  test("an unknown remote is simply tried, without a limit", () => {
    expect(gateOf(start, 0)).toMatchObject({ isOpen: true, maxInFlight: null });
  });

  test("one silence does not turn a remote offline, two in a row do, one answer turns it online", () => {
    const once = told(start, answered(1), silent(10));
    expect(once.status).toBe("online");
    expect(nextProbeOf(once, 10)).toBe(10 + policy.confirmMs);
    expect(gateOf(once, 11).maxInFlight).toBe(1);
    const twice = told(once, silent(20));
    expect(twice).toMatchObject({ status: "offline", since: 20 });
    expect(gateOf(twice, 20)).toMatchObject({ isOpen: false, kind: "offline", opensAt: twice.nextProbeAt });
    expect(told(twice, answered(30)).status).toBe("online");
  });

  test("silences are counted in a row: an answer between starts the count again", () => {
    expect(told(start, silent(1), answered(2), silent(3)).status).toBe("online");
  });

  test("an attempt that began before the last answer and then timed out is old news", () => {
    expect(told(start, answered(5, 20), silent(1, 30), silent(2, 31)).status).toBe("online");
  });

  test("a burst that fails together does not stretch the probes' back-off", () => {
    const burst = Array.from({ length: 16 }, (_, index) => silent(index, 100 + index));
    const state = told(start, ...burst);
    expect(state).toMatchObject({ status: "offline", probes: 1 });
    expect(nextProbeOf(state, 120)).toBeLessThanOrEqual(120 + policy.probeInitialMs);
  });
});

describe("probes", () => {
  test("offline is probed after 5, 10, 20, 40, 60, 60 s less jitter, and after the budget every five minutes", () => {
    let state = told(start, silent(1), silent(1));
    let now = 1;
    const gaps: number[] = [];
    for (let step = 0; step < 70; step += 1) {
      const due = nextProbeOf(state, now) ?? Number.NaN;
      gaps.push(due - now);
      now = due;
      state = observe(state, { kind: "probe_started", at: now }, { now, random: 0, policy });
      expect(state.status).toBe("checking");
      state = observe(state, { kind: "probed", at: now, isReachable: false, reason: "x" }, { now, random: 0, policy });
      expect(state).toMatchObject({ status: "offline", since: 1 });
    }
    expect(gaps.slice(1, 7)).toEqual([10_000, 20_000, 40_000, 60_000, 60_000, 60_000]);
    expect(gaps[0]).toBeLessThanOrEqual(5_000);
    expect(gaps.at(-1)).toBe(300_000);
  });

  test("a prober that dies leaves a next probe behind", () => {
    const state = told(offline, { kind: "probe_started", at: 5_000 });
    expect(nextProbeOf(state, 5_000)).toBeGreaterThan(5_000 + policy.probeTimeoutMs);
    expect(nextProbeOf(state, 5_000)).toBeLessThanOrEqual(5_000 + longestProbeMs(policy));
  });

  test("a hint brings the next probe closer but not into a storm", () => {
    const hinted = told(offline, { kind: "hint", at: 30 });
    expect(nextProbeOf(hinted, 30)).toBe(30);
    const probed = told(
      hinted,
      { kind: "probe_started", at: 30 },
      { kind: "probed", at: 30, isReachable: false, reason: "x" },
      { kind: "hint", at: 40 },
    );
    expect(nextProbeOf(probed, 40)).toBe(30 + policy.hintSpacingMs);
  });

  test("a broken probe endpoint does not hold the queue for ever: every eighth time one operation is let through", () => {
    let state = offline;
    let now = 20;
    const trials: number[] = [];
    for (let step = 0; step < 20; step += 1) {
      now = nextProbeOf(state, now) ?? now;
      state = told(
        state,
        { kind: "probe_started", at: now },
        { kind: "probed", at: now, isReachable: false, reason: "404 from a portal" },
      );
      if (gateOf(state, now).isOpen) trials.push(state.probes);
    }
    expect(trials).toEqual([8, 16]);
    expect(told(state, answered(now)).status).toBe("online");
  });

  test("a vain test operation closes the gate again", () => {
    const trial: Reachability = { ...offline, probes: policy.trialEvery };
    expect(gateOf(trial, 30)).toMatchObject({ isOpen: true, maxInFlight: 1 });
    expect(gateOf(told(trial, silent(40)), 40).isOpen).toBe(false);
  });
});

describe("reconnect", () => {
  test("the first reconnect waits a random while, then one operation goes alone until it is answered", () => {
    const back = observe(
      offline,
      { kind: "probed", at: 1_000, isReachable: true, reason: "ok" },
      { now: 1_000, random: 0.5, policy },
    );
    expect(back).toMatchObject({ status: "online", opensAt: 2_000 });
    expect(gateOf(back, 1_999).isOpen).toBe(false);
    expect(gateOf(back, 2_000)).toMatchObject({ isOpen: true, maxInFlight: 1 });
    expect(gateOf(told(back, answered(2_000)), 2_100)).toMatchObject({ isOpen: true, maxInFlight: null });
  });

  test("a fleet that comes back together is spread over two seconds", () => {
    const opens = Array.from({ length: 100 }, (_, index) => {
      const evidence = { kind: "probed", at: 1_000, isReachable: true, reason: "ok" } as const;
      return observe(offline, evidence, { now: 1_000, random: index / 100, policy }).opensAt;
    });
    expect(new Set(opens).size).toBe(100);
  });
});

describe("circuit breaker", () => {
  const tripped = told(start, failed(1), failed(2), failed(3), failed(4), failed(5));

  test("four server errors in a row leave the gate open, the fifth closes it", () => {
    expect(gateOf(told(start, failed(1), failed(2), failed(3), failed(4)), 5).isOpen).toBe(true);
    expect(gateOf(tripped, 6)).toMatchObject({ isOpen: false, kind: "paced" });
    expect(tripped.status).toBe("online");
  });

  test("a good answer between starts the count again", () => {
    expect(told(start, failed(1), failed(2), failed(3), failed(4), answered(5), failed(6)).serverErrors).toBe(1);
  });

  test("afterwards one operation is let through; its failure doubles the cool-off up to the cap", () => {
    let state = tripped;
    const waits: number[] = [];
    for (let step = 0; step < 8; step += 1) {
      const opensAt = state.opensAt ?? Number.NaN;
      waits.push(opensAt - (state.closedAt ?? Number.NaN));
      expect(gateOf(state, opensAt)).toMatchObject({ isOpen: true, maxInFlight: 1 });
      state = observe(state, failed(opensAt), { now: opensAt, random: 0, policy });
    }
    expect(waits.slice(1)).toEqual([10_000, 20_000, 40_000, 60_000, 60_000, 60_000, 60_000]);
  });

  test("failures of a burst that arrive after the breaker opened do not open it twice", () => {
    const late = told(tripped, failed(1, 50), failed(2, 60));
    expect(late.opensAt).toBe(tripped.opensAt);
    expect(late.trips).toBe(1);
  });

  test("a reachable probe does not close it, because it says nothing of the operations", () => {
    const state = told(tripped, { kind: "probed", at: 10, isReachable: true, reason: "ok" });
    expect(gateOf(state, 10).isOpen).toBe(false);
  });

  test("an answer of an attempt from before does not undo it, an answer of one from afterwards does", () => {
    expect(gateOf(told(tripped, answered(3, 50)), 50).isOpen).toBe(false);
    const opensAt = tripped.opensAt ?? 0;
    expect(gateOf(told(tripped, answered(opensAt)), opensAt)).toMatchObject({ isOpen: true, maxInFlight: null });
  });
});

describe("pacing", () => {
  const paced = (at: number, afterMs: number) => ({ kind: "paced", at, afterMs, reason: "429" }) as const;

  test("nothing is sent before the named time; the longer of two waits holds", () => {
    const state = told(start, paced(100, 60_000), paced(101, 1_000));
    expect(state.opensAt).toBe(60_100);
    expect(gateOf(state, 60_099)).toMatchObject({ isOpen: false, kind: "paced", opensAt: 60_100 });
    expect(gateOf(state, 60_100)).toMatchObject({ isOpen: true, maxInFlight: null });
  });

  test("the answer of a concurrent attempt does not undo it", () => {
    expect(gateOf(told(start, paced(100, 60_000), answered(50, 200)), 200).isOpen).toBe(false);
  });

  test("the wait is capped at a day, at the limit and one past it", () => {
    const day = policy.pacedMaxMs;
    for (const afterMs of [day, day + 1, Number.POSITIVE_INFINITY, Number.NaN]) {
      expect(told(start, paced(0, afterMs)).opensAt).toBe(day);
    }
    expect(told(start, paced(0, -5)).opensAt).toBe(0);
  });

  test("an outage between does not shorten it", () => {
    const state = told(start, paced(100, 60_000), silent(200), silent(300), {
      kind: "probed",
      at: 5_000,
      isReachable: true,
      reason: "ok",
    });
    expect(state.opensAt).toBe(60_100);
  });
});

describe("clock", () => {
  test("a clock set back by a year wedges neither gate nor probes", () => {
    const year = 365 * 86_400_000;
    const closed = told(initialReachability(year), { kind: "paced", at: year, afterMs: 3_600_000, reason: "429" });
    expect(gateOf(closed, 0).isOpen).toBe(true);
    const cut = told(initialReachability(year), silent(year), silent(year));
    expect(nextProbeOf(cut, 0)).toBe(0);
  });

  test("a step back by less than a second keeps the wait", () => {
    const closed = told(start, { kind: "paced", at: 10_000, afterMs: 60_000, reason: "429" });
    expect(gateOf(closed, 9_500).isOpen).toBe(false);
  });
});

describe("properties", () => {
  const reason = fc.constantFrom("a", "b");
  const at = fc.integer({ min: 0, max: 2 * 86_400_000 });
  const evidence: fc.Arbitrary<Evidence> = fc.oneof(
    fc.record({ kind: fc.constant("answered"), at }) as fc.Arbitrary<Evidence>,
    fc.record({ kind: fc.constant("silent"), at, reason }) as fc.Arbitrary<Evidence>,
    fc.record({ kind: fc.constant("server_error"), at, reason }) as fc.Arbitrary<Evidence>,
    fc.record({ kind: fc.constant("paced"), at, afterMs: fc.double(), reason }) as fc.Arbitrary<Evidence>,
    fc.record({ kind: fc.constant("probe_started"), at }) as fc.Arbitrary<Evidence>,
    fc.record({ kind: fc.constant("probed"), at, isReachable: fc.boolean(), reason }) as fc.Arbitrary<Evidence>,
    fc.record({ kind: fc.constant("hint"), at }) as fc.Arbitrary<Evidence>,
  );
  const random = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
  const story = fc.array(fc.record({ evidence, now: at, random }), { maxLength: 60 });
  const retold = (steps: readonly { evidence: Evidence; now: number; random: number }[]) =>
    steps.reduce((state, step) => observe(state, step.evidence, { ...step, policy }), initialReachability(0));
  const longest = Math.max(
    ...(["paced", "breaker", "reconnect"] as const).map((each) => longestClosedMs(each, policy)),
  );

  test("an offline remote always has a next probe within the cap, under any clock", () => {
    fc.assert(
      fc.property(story, at, (steps, now) => {
        const state = retold(steps);
        const due = nextProbeOf(state, now);
        if (state.status === "offline" || state.status === "checking") expect(due).not.toBeNull();
        if (due !== null) {
          expect(due).toBeGreaterThanOrEqual(now);
          expect(due - now).toBeLessThanOrEqual(longestProbeMs(policy) + 1_000);
        }
      }),
      { numRuns: 500 },
    );
  });

  test("an answer always ends online", () => {
    fc.assert(
      fc.property(story, at, at, random, (steps, began, now, luck) => {
        const state = observe(retold(steps), { kind: "answered", at: began }, { now, random: luck, policy });
        expect(state).toMatchObject({ status: "online", silences: 0, nextProbeAt: null });
      }),
      { numRuns: 500 },
    );
  });

  test("a gate never stays closed past its cap, under any clock", () => {
    fc.assert(
      fc.property(story, at, (steps, now) => {
        const state = retold(steps);
        const gate = gateOf(state, now);
        if (gate.isOpen) {
          expect(gate.opensAt).toBeNull();
          return;
        }
        expect(gate.opensAt).not.toBeNull();
        const wait = (gate.opensAt ?? now) - now;
        expect(wait).toBeLessThanOrEqual(gate.kind === "offline" ? longestProbeMs(policy) + 1_000 : longest + 1_000);
        if (gate.kind === "paced") expect(gateOf(state, now + wait).isOpen).toBe(true);
      }),
      { numRuns: 500 },
    );
  });
});

describe("evidence of an answer", () => {
  const problem = (status?: number, code = "x") => ({
    code,
    message: "m",
    ...(status === undefined ? {} : { status }),
  });

  test("every kind of answer tells what it can of the remote", () => {
    const kind = (answer: Parameters<typeof evidenceOf>[0]) => evidenceOf(answer, 7)?.kind ?? null;
    expect(kind({ kind: "applied" })).toBe("answered");
    expect(kind({ kind: "duplicate" })).toBe("answered");
    expect(kind({ kind: "rejected", problem: problem(403) })).toBe("answered");
    expect(kind({ kind: "conflict", problem: problem(409) })).toBe("answered");
    expect(kind({ kind: "auth", problem: problem(401) })).toBe("answered");
    expect(kind({ kind: "unknown", problem: problem(), mayHaveLanded: true })).toBe("silent");
    expect(kind({ kind: "retry", problem: problem(500), isCharged: true, scope: "operation" })).toBe("server_error");
    expect(kind({ kind: "retry", problem: problem(408), isCharged: true, scope: "operation" })).toBe("answered");
    expect(kind({ kind: "retry", problem: problem(429), isCharged: false, scope: "remote", afterMs: 5 })).toBe("paced");
  });

  test("what never left this machine is no evidence", () => {
    expect(evidenceOf({ kind: "unknown", problem: problem(undefined, "stopped"), mayHaveLanded: true }, 1)).toBeNull();
    expect(evidenceOf({ kind: "auth", problem: problem(undefined, "credential_missing") }, 1)).toBeNull();
  });
});
