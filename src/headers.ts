/**
 * Owns which headers are never stored because they prove who somebody is, and which belong to one connection and are made anew
 * with every attempt. Who refuses or drops them are the types that send.
 */

/** Headers that prove who somebody is. They are never stored; a credential's name stands for them. */
export const secretHeaders: ReadonlySet<string> = new Set([
  "authorization",
  "proxy-authorization",
  "cookie",
  "x-api-key",
  "api-key",
  "x-auth-token",
  "x-access-token",
]);

/** Headers that belong to one connection or that are made when the request goes out. */
export const ownHeaders: ReadonlySet<string> = new Set([
  "connection",
  "content-length",
  "expect",
  "host",
  "idempotency-key",
  "keep-alive",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);
