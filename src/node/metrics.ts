/**
 * Owns what Prometheus may read: the queue's state taken at the moment of the scrape, and counters of what passed by.
 * The facts are the engine's; the route and its token check are `routes.ts` and `guard.ts`.
 */
import { monitorEventLoopDelay } from "node:perf_hooks";
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { Engine } from "../engine/engine.ts";
import type { Output } from "../verbs.ts";

export type Metrics = {
  readonly scrape: () => Promise<{ readonly contentType: string; readonly text: string }>;
  readonly observeRequest: (route: string, status: number, durationMs: number) => void;
  readonly observeRefusal: (code: string) => void;
  readonly close: () => void;
};

export type MetricsOptions = {
  readonly engine: Engine;
  readonly version: string;
  readonly countEventClients: () => number;
};

const requestBuckets = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5];
const lagResolutionMs = 20;
/** Without a scrape for this long nobody reads the event loop's lag, and it is measured no more. */
const lagIdleMs = 5 * 60_000;

/** Opens a registry of its own, so that an embedding program's metrics stay apart. */
export function openMetrics(options: MetricsOptions): Metrics {
  const registers = [new Registry()];
  const registry = registers[0] as Registry;
  const gauge = (name: string, help: string, labelNames: readonly string[] = []): Gauge =>
    new Gauge({ name: `holdfast_${name}`, help, labelNames: [...labelNames], registers });
  const queue = queueGauges(gauge);
  const clients = gauge("event_clients", "Clients that listen to /v1/events");
  const lag = gauge("event_loop_lag_seconds", "Event loop delay since the last scrape; none at the first one", [
    "quantile",
  ]);
  const memory = gauge("resident_memory_bytes", "Resident memory of the daemon");
  const uptime = gauge("uptime_seconds", "Seconds since the daemon started");
  gauge("build_info", "Version of the daemon", ["version"]).set({ version: options.version }, 1);
  const events = new Counter({
    name: "holdfast_events_total",
    help: "Changes by kind",
    labelNames: ["kind"],
    registers,
  });
  const attempts = new Counter({
    name: "holdfast_attempts_total",
    help: "Finished attempts by outcome",
    labelNames: ["outcome"],
    registers,
  });
  const refusals = new Counter({
    name: "holdfast_http_refusals_total",
    help: "Requests refused by the guard, by code",
    labelNames: ["code"],
    registers,
  });
  const requests = new Histogram({
    name: "holdfast_http_request_duration_seconds",
    help: "Answered requests by route and status",
    labelNames: ["route", "status"],
    buckets: requestBuckets,
    registers,
  });
  const delay = openLag();
  const unsubscribe = options.engine.subscribe((event) => {
    events.inc({ kind: event.kind });
    const outcome = outcomeOf(event.detail);
    if (outcome !== null) attempts.inc({ outcome });
  });

  const scrape = async (): Promise<{ readonly contentType: string; readonly text: string }> => {
    queue(options.engine.handle("queue.status", {}), Date.now());
    clients.set(options.countEventClients());
    lag.reset();
    for (const [quantile, seconds] of delay.take()) lag.set({ quantile }, seconds);
    memory.set(process.memoryUsage.rss());
    uptime.set(process.uptime());
    return { contentType: registry.contentType, text: await registry.metrics() };
  };
  return {
    scrape,
    observeRequest: (route, status, durationMs) =>
      requests.observe({ route, status: String(status) }, durationMs / 1_000),
    observeRefusal: (code) => refusals.inc({ code }),
    close: () => {
      unsubscribe();
      delay.close();
      registry.clear();
    },
  };
}

type Lag = {
  /** Quantiles in seconds since the last call; none at the first one, which only begins to measure. */
  readonly take: () => readonly (readonly [string, number])[];
  readonly close: () => void;
};

/** Measuring wakes the process fifty times a second, so a daemon that nobody scrapes sleeps instead. */
function openLag(): Lag {
  const delay = monitorEventLoopDelay({ resolution: lagResolutionMs });
  let idle: NodeJS.Timeout | null = null;
  const stop = (): void => {
    if (idle !== null) clearTimeout(idle);
    idle = null;
    delay.disable();
  };
  return {
    take: () => {
      const isMeasured = idle !== null;
      if (idle !== null) clearTimeout(idle);
      idle = setTimeout(stop, lagIdleMs).unref();
      const quantiles = [50, 99].map((percent) => [String(percent / 100), delay.percentile(percent) / 1e9] as const);
      if (!isMeasured) delay.enable();
      delay.reset();
      return isMeasured ? quantiles : [];
    },
    close: stop,
  };
}

type QueueStatus = Output<"queue.status">;
type MakeGauge = (name: string, help: string, labelNames?: readonly string[]) => Gauge;

function queueGauges(gauge: MakeGauge): (status: QueueStatus, nowMs: number) => void {
  const operations = gauge("operations", "Operations by status", ["status"]);
  const unsent = gauge("unsent_operations", "Operations that have not landed and are not given up");
  const oldest = gauge("oldest_unsent_age_seconds", "Age of the oldest unsent operation; 0 when there is none");
  const bytes = gauge("payload_bytes", "Bytes of stored payloads");
  const used = gauge("limit_used_ratio", "Share of the nearest queue limit that is used");
  const conflicts = gauge("conflicts", "Conflicts that wait for a decision");
  const remotes = gauge("remote_up", "1 where the remote is believed to be reachable", ["remote"]);
  const pending = gauge("remote_pending_operations", "Operations that wait for the remote", ["remote"]);
  const flags = gauge("state", "1 where the named state holds", ["state"]);
  const landed = gauge("last_landed_timestamp_seconds", "When an operation last landed; 0 for never");
  return (status, nowMs) => {
    for (const [name, count] of Object.entries(status.counts)) operations.set({ status: name }, count);
    unsent.set(status.unsent);
    oldest.set(status.oldestUnsentAt === null ? 0 : Math.max(0, nowMs - status.oldestUnsentAt) / 1_000);
    bytes.set(status.bytes);
    used.set(status.limits.usedPercent / 100);
    conflicts.set(status.conflicts);
    landed.set((status.lastLandedAt ?? 0) / 1_000);
    // Remotes come and go; what is gone must not keep its last value.
    remotes.reset();
    pending.reset();
    for (const each of status.remotes) {
      remotes.set({ remote: each.remote }, each.status === "online" ? 1 : 0);
      pending.set({ remote: each.remote }, each.pending);
    }
    flags.set({ state: "working_offline" }, Number(status.isWorkingOffline));
    flags.set({ state: "draining" }, Number(status.isDraining));
    flags.set({ state: "read_only" }, Number(status.isReadOnly));
    flags.set({ state: "disk_full" }, Number(status.isDiskFull));
    flags.set({ state: "paused" }, Number(status.paused.length > 0));
  };
}

/** Whatever an attempt led to, its event names the answer. */
function outcomeOf(detail: unknown): string | null {
  if (typeof detail !== "object" || detail === null || !("answer" in detail)) return null;
  return typeof detail.answer === "string" ? detail.answer : null;
}
