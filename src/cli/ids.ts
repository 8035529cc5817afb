/**
 * Owns `holdfast ids`: the server's id of a local id, found or named by hand.
 */
import type { Handler } from "./context.ts";
import { sign } from "./paint.ts";
import { plain, plural, shortId } from "./text.ts";

export const runGet: Handler<[string], object> = async (context, [localId]) => {
  const found = await (await context.session()).call("ids.get", { localId });
  context.answer(found, () => {
    if (found.serverId !== null) return plain(found.serverId);
    return `${context.paint.dim("No server id yet:")} ${shortId(found.operation)} creates ${plain(found.localId)}\n${context.paint.dim(`${sign.hint} holdfast queue why ${shortId(found.operation)}`)}`;
  });
  return 0;
};

export const runAssign: Handler<[string, string], object> = async (context, [localId, serverId]) => {
  const answer = await (await context.session()).call("ids.assign", { localId, serverId });
  context.confirm(
    answer,
    () =>
      `${context.paint.green(sign.yes)} ${plain(localId)} is ${plain(serverId)} on the server; ${plural(answer.rewritten, "operation")} rewritten`,
  );
  return 0;
};
