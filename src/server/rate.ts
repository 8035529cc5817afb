/**
 * Owns the rate limit: a bucket per token that fills with time. Who is asked for is `auth.ts`; processes count each for itself.
 */
import type { ServerLimits } from "./core.ts";

export type Rate = {
  /** Milliseconds to wait; 0: go on. */
  readonly take: (tokenId: string, nowMs: number) => number;
};

type Bucket = { tokens: number; at: number };

/** Buckets that are full again are forgotten when there are more than this, and again when there are twice as many as were left. */
const manyBuckets = 10_000;

export function openRate({ requestsPerSecond, burst }: Pick<ServerLimits, "requestsPerSecond" | "burst">): Rate {
  const buckets = new Map<string, Bucket>();
  let sweepAbove = manyBuckets;
  const fill = (bucket: Bucket, nowMs: number): number => {
    // A clock that went back fills nothing.
    const passed = Math.max(0, nowMs - bucket.at) / 1_000;
    return Math.min(burst, bucket.tokens + passed * requestsPerSecond);
  };
  return {
    take: (tokenId, nowMs) => {
      const bucket = buckets.get(tokenId) ?? { tokens: burst, at: nowMs };
      const tokens = fill(bucket, nowMs);
      const isGranted = tokens >= 1;
      buckets.set(tokenId, { tokens: isGranted ? tokens - 1 : tokens, at: nowMs });
      if (buckets.size > sweepAbove) {
        for (const [id, each] of buckets) if (fill(each, nowMs) >= burst) buckets.delete(id);
        // Where many are busy at once, a look through all of them with every request would cost more than the requests.
        sweepAbove = Math.max(manyBuckets, 2 * buckets.size);
      }
      return isGranted ? 0 : Math.ceil(((1 - tokens) / requestsPerSecond) * 1_000);
    },
  };
}
