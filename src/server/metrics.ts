/**
 * Owns the numbers for Prometheus, in its text format: requests by route and status, operations by outcome, records sent, streams open.
 * Numbers of the process itself (memory, event loop) are the host's.
 */

export type Metrics = {
  readonly countRequest: (route: string, status: number, durationMs: number) => void;
  readonly countOutcome: (outcome: string) => void;
  readonly countRecords: (count: number) => void;
  readonly scrape: (gauges: { readonly streams: number; readonly version: string }) => string;
};

const buckets = [5, 25, 100, 500, 2_500, 10_000];

export function openMetrics(): Metrics {
  const requests = new Map<string, number>();
  const outcomes = new Map<string, number>();
  const durations = new Map<string, { readonly counts: number[]; sum: number; count: number }>();
  let records = 0;
  const add = (counts: Map<string, number>, labels: string): void =>
    void counts.set(labels, (counts.get(labels) ?? 0) + 1);
  return {
    countRequest: (route, status, durationMs) => {
      add(requests, `route="${route}",status="${status}"`);
      const known = durations.get(route) ?? { counts: buckets.map(() => 0), sum: 0, count: 0 };
      known.sum += durationMs;
      known.count += 1;
      for (const [index, limit] of buckets.entries())
        if (durationMs <= limit) known.counts[index] = (known.counts[index] ?? 0) + 1;
      durations.set(route, known);
    },
    countOutcome: (outcome) => add(outcomes, `outcome="${outcome}"`),
    countRecords: (count) => {
      records += count;
    },
    scrape: ({ streams, version }) =>
      [
        ...family("holdfast_server_info", "gauge", "Version of the server", [[`version="${version}"`, 1]]),
        ...family("holdfast_server_requests_total", "counter", "Requests by route and status", [...requests]),
        ...family("holdfast_server_operations_total", "counter", "Pushed operations by outcome", [...outcomes]),
        ...family("holdfast_server_records_total", "counter", "Records sent by pulls and fetches", [["", records]]),
        ...family("holdfast_server_streams", "gauge", "Open event streams", [["", streams]]),
        "# HELP holdfast_server_request_duration_seconds Time until an answer begins",
        "# TYPE holdfast_server_request_duration_seconds histogram",
        ...[...durations].flatMap(([route, { counts, sum, count }]) => [
          ...counts.map((each, index) => bucketLine(route, String((buckets[index] ?? 0) / 1_000), each)),
          bucketLine(route, "+Inf", count),
          `holdfast_server_request_duration_seconds_sum{route="${route}"} ${sum / 1_000}`,
          `holdfast_server_request_duration_seconds_count{route="${route}"} ${count}`,
        ]),
        "",
      ].join("\n"),
  };
}

const bucketLine = (route: string, limit: string, count: number): string =>
  `holdfast_server_request_duration_seconds_bucket{route="${route}",le="${limit}"} ${count}`;

function family(
  name: string,
  kind: "counter" | "gauge",
  help: string,
  samples: readonly (readonly [string, number])[],
): readonly string[] {
  const lines = samples.map(([labels, value]) => `${name}${labels === "" ? "" : `{${labels}}`} ${value}`);
  return [`# HELP ${name} ${help}`, `# TYPE ${name} ${kind}`, ...lines];
}
