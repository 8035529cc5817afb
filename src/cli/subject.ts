/**
 * Owns `holdfast subject`: who has fresh credentials and who has not. Credentials themselves are in `credentials.ts`.
 */
import type { Context, Handler } from "./context.ts";
import { sign } from "./paint.ts";
import { plain, plural } from "./text.ts";

const nameOf = (subject: string): string => (subject === "" ? "The owner" : plain(subject));

function waiting(pending: number, one: string, many: string): string {
  return pending === 0 ? "" : `; ${plural(pending, "operation")} ${pending === 1 ? one : many}`;
}

export const runSignIn: Handler<[string], object> = async (context: Context, [subject]) => {
  const answer = await (await context.session()).call("subject.signIn", { subject });
  context.confirm(
    answer,
    () =>
      `${context.paint.green(sign.yes)} ${nameOf(subject)} is signed in${waiting(answer.pending, "moves again", "move again")}`,
  );
  return 0;
};

export const runSignOut: Handler<[string], object> = async (context: Context, [subject]) => {
  const answer = await (await context.session()).call("subject.signOut", { subject });
  context.confirm(
    answer,
    () =>
      `${context.paint.green(sign.yes)} ${nameOf(subject)} is signed out${waiting(answer.pending, "waits; nothing is deleted", "wait; nothing is deleted")}`,
  );
  return 0;
};
