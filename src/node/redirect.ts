/**
 * Owns where a redirect leads and what goes along: as a browser would, with three exceptions that keep work and secrets safe.
 * Sending each hop is `request.ts`; the words for a refused hop are in `failures.ts`.
 */
import { isSecretName } from "../redact.ts";

/** How many redirects one attempt follows. */
export const redirectLimit = 20;

export type Hop = {
  readonly url: URL;
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly hasBody: boolean;
  /** Names of the headers that a credential set: they stay within its origin, whatever they are called. */
  readonly secretHeaders: readonly string[];
};

export type NextHop =
  | { readonly kind: "follow"; readonly hop: Hop; readonly isCrossOrigin: boolean; readonly isTurned: boolean }
  | { readonly kind: "refuse"; readonly code: "portal_redirect" | "redirect_downgrade" }
  /** No Location, or none that leads anywhere: the status speaks for itself. */
  | { readonly kind: "none" };

const redirectStatuses = new Set([301, 302, 303, 307, 308]);
const bodyHeaders = new Set([
  "content-type",
  "content-length",
  "content-encoding",
  "content-language",
  "content-location",
]);

/** True for a connection in which nobody else can answer: https, or a server on this machine. */
export function isTrustedUrl(url: URL): boolean {
  return url.protocol === "https:" || isLoopback(url.hostname);
}

export function isLoopback(hostname: string): boolean {
  return (
    hostname === "localhost" ||
    hostname.endsWith(".localhost") ||
    hostname === "[::1]" ||
    /^127(\.\d+){3}$/.test(hostname)
  );
}

/** Decides about one redirect. `changesData` is about the operation, not about the hop: a POST turned into a GET stays one. */
export function nextHop(
  hop: Hop,
  answer: { readonly status: number; readonly location: string | null },
  changesData: boolean,
): NextHop {
  if (!redirectStatuses.has(answer.status) || answer.location === null) return { kind: "none" };
  if (!URL.canParse(answer.location, hop.url.href)) return { kind: "none" };
  const url = new URL(answer.location, hop.url);
  url.hash = "";
  if ((url.protocol !== "http:" && url.protocol !== "https:") || url.username !== "" || url.password !== "")
    return { kind: "none" };
  if (hop.url.protocol === "https:" && url.protocol === "http:") return { kind: "refuse", code: "redirect_downgrade" };
  const isCrossOrigin = url.origin !== hop.url.origin;
  // Over plain http a sign-in page of the network looks exactly like this, and an operation must not end there (pain 20).
  if (changesData && isCrossOrigin && !isTrustedUrl(hop.url) && !isSameTarget(hop.url, url)) {
    return { kind: "refuse", code: "portal_redirect" };
  }
  const isTurned = turnsIntoGet(hop, url, answer.status);
  const headers = Object.entries(hop.headers).filter(([name]) => {
    // The key goes along with the request that it names: it is no secret, and without it the target could not know a repeat.
    if (name === "idempotency-key") return !isTurned;
    if (isTurned && bodyHeaders.has(name)) return false;
    return !isCrossOrigin || !(hop.secretHeaders.includes(name) || isSecretName(name));
  });
  const next: Hop = {
    url,
    method: isTurned ? "GET" : hop.method,
    headers: Object.fromEntries(headers),
    hasBody: hop.hasBody && !isTurned,
    secretHeaders: isCrossOrigin ? [] : hop.secretHeaders,
  };
  return { kind: "follow", hop: next, isCrossOrigin, isTurned };
}

/**
 * As in a browser a 301 or 302 makes a POST a GET, and a 303 everything. But a 301 that only mends the address, from http to
 * https or by a slash at the end, is sent before anything is done: turned into a GET, its work would be lost as "done".
 */
function turnsIntoGet(hop: Hop, url: URL, status: number): boolean {
  if (status === 303) return hop.method !== "GET" && hop.method !== "HEAD";
  if (hop.method !== "POST" || (status !== 301 && status !== 302)) return false;
  return !(status === 301 && isSameTarget(hop.url, url));
}

/** Host, path but for the last slash, and query are the same, and the scheme is no weaker. */
function isSameTarget(from: URL, to: URL): boolean {
  const bare = (url: URL) => `${url.pathname.replace(/\/$/, "")}${url.search}`;
  const isScheme = from.origin === to.origin || (from.protocol === "http:" && to.protocol === "https:");
  return from.hostname === to.hostname && isScheme && bare(from) === bare(to);
}
