/**
 * Owns `holdfast status`. How it looks is in `render-status.ts`.
 */
import type { Handler } from "./context.ts";
import { renderStatus } from "./render-status.ts";

const shownFailures = 3;

export const runStatus: Handler<[], object> = async (context) => {
  const session = await context.session();
  const status = await session.call("queue.status", {});
  const failed =
    (status.counts.failed ?? 0) === 0
      ? []
      : (await session.call("queue.list", { status: ["failed"], order: "oldest", limit: shownFailures })).operations;
  context.answer({ ...status, failed, daemon: session.info }, () => renderStatus(context, status, failed));
  return 0;
};
