/**
 * Owns `holdfast status`. How it looks is in `render-status.ts`.
 */
import { isCode } from "../errors.ts";
import type { CollectionView } from "../verbs.ts";
import type { Handler } from "./context.ts";
import type { RecordsStanding } from "./render-status.ts";
import { renderStatus } from "./render-status.ts";

const shownFailures = 3;

function withoutRecords(error: unknown): { readonly collections: readonly CollectionView[] } {
  if (isCode(error, "unknown_verb")) return { collections: [] };
  throw error;
}

function standingOf(collections: readonly CollectionView[]): RecordsStanding {
  const sum = (of: (each: CollectionView) => number): number =>
    collections.reduce((total, each) => total + of(each), 0);
  return {
    collections: collections.length,
    pending: sum(({ pending }) => pending),
    conflicts: sum(({ conflicts }) => conflicts),
  };
}

export const runStatus: Handler<[], object> = async (context) => {
  const session = await context.session();
  const status = await session.call("queue.status", {});
  const failed =
    (status.counts.failed ?? 0) === 0
      ? []
      : (await session.call("queue.list", { status: ["failed"], order: "oldest", limit: shownFailures })).operations;
  // A daemon that was started before records were known still has a queue to tell of.
  const { collections } = await session.call("collections.list", {}).catch(withoutRecords);
  const records = standingOf(collections);
  context.answer({ ...status, failed, records, daemon: session.info }, () =>
    renderStatus(context, status, { failed, records }),
  );
  return 0;
};
