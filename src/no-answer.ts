/**
 * Owns telling an error that means "no answer came" from every other, by its code, name or words in any runtime.
 * What an answer means once there is one is judged in `failure.ts`.
 */

const codes =
  /^(ECONN|ENET|EHOST|ENOTFOUND$|EAI_|ETIMEDOUT$|EPIPE$|ERR_SSL|ERR_TLS|ERR_HTTP2|ERR_NETWORK|UND_ERR|HPE_|CERT_|DEPTH_ZERO|UNABLE_TO_)/;
/** What `fetch` of Node, Chromium, Firefox and Safari says, and what runtimes say of a body that was cut. */
const words =
  /fetch failed|failed to fetch|networkerror|network error|load failed|terminated|socket hang up|network request (failed|timed out)/i;
const names = ["TimeoutError", "HTTPParserError", "NetworkError"];
const deepestCause = 5;

/**
 * Tells whether an error looks like the network's doing, so that nobody knows whether the remote did anything.
 * @example
 * looksUnanswered(Object.assign(new Error("connect"), { code: "ECONNREFUSED" })) // true
 */
export function looksUnanswered(error: unknown): boolean {
  let link = error;
  for (let depth = 0; depth < deepestCause && typeof link === "object" && link !== null; depth += 1) {
    const { code, name, message, cause } = link as {
      readonly code?: unknown;
      readonly name?: unknown;
      readonly message?: unknown;
      readonly cause?: unknown;
    };
    if (typeof code === "string" && codes.test(code)) return true;
    if (typeof name === "string" && names.includes(name)) return true;
    if (typeof message === "string" && words.test(message)) return true;
    link = cause;
  }
  return false;
}

/** An error's words for a person, never empty. */
export function wordsOfError(error: unknown): string {
  if (!(error instanceof Error)) return String(error) || "an empty error";
  const { cause } = error;
  const inner =
    cause instanceof Error && cause.message !== "" && !error.message.includes(cause.message)
      ? `: ${cause.message}`
      : "";
  return `${error.message || error.name}${inner}`;
}
