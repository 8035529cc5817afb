/**
 * Owns calling what a program gave: what it throws is told and goes no further, so that nobody's mistake ends the work of the client.
 * Who is told, and when a listener is called, is `feed.ts`'s and `live-query.ts`'s.
 */

/** Tells `onError` what the task throws, and the console what `onError` throws: there is nobody left to hear of that. */
export function guarded(task: () => void, onError: (error: unknown) => void): void {
  try {
    task();
  } catch (error) {
    try {
      onError(error);
    } catch (worse) {
      console.error(worse);
    }
  }
}
