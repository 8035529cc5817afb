// Owns a sync server in memory that has records to give and takes none, for bars that need synced records and no network.
// Leaves real servers to the tests.
import type { Fields } from "../../src/record.ts";
import type { WireRecord } from "../../src/wire.ts";
import type { Reply, SyncPort } from "../../src/world.ts";

/** Gives the records as a server would: by version, page by page. */
export function feedPort(
  collection: string,
  given: readonly { readonly key: string; readonly value: Fields }[],
): SyncPort {
  const records: readonly WireRecord[] = given.map(({ key, value }, index) => ({
    collection,
    key,
    version: index + 1,
    value: value as WireRecord["value"],
    schema: 1,
    author: "feed",
    at: 0,
  }));
  const reply = async <T>(response: T): Promise<Reply<T>> => ({
    kind: "answered",
    response,
    sentBytes: 0,
    receivedBytes: 0,
  });
  const head = records.length;
  return {
    remote: "https://feed.example",
    space: "bench",
    subject: "",
    push: () => new Promise(() => {}),
    fetch: () => reply({ history: "feed", head, records: [], now: Date.now() }),
    pull: ({ wants, limit }) => {
      const after = wants[0]?.after ?? 0;
      const page = records.slice(after, after + limit);
      const upTo = Math.min(after + limit, head);
      return reply({ history: "feed", records: page, upTo, head, hasMore: upTo < head, now: Date.now() });
    },
    watch: () => () => {},
  };
}
