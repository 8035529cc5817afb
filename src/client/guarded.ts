/**
 * Owns calling what a program gave: what it throws is told and goes no further, so that nobody's mistake ends the work of the client.
 * Who is told, and when a listener is called, is `feed.ts`'s and `live-query.ts`'s.
 */

type OnError = (error: unknown) => void;

/** Tells `onError` what the task throws. */
export function guarded(task: () => void, onError: OnError): void {
  try {
    task();
  } catch (error) {
    report(error, onError);
  }
}

/** Tells `onError`, and the console what that throws in turn: there is nobody left to hear of it. */
export function report(error: unknown, onError: OnError): void {
  try {
    onError(error);
  } catch (worse) {
    console.error(worse);
  }
}
