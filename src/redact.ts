/**
 * Owns which names carry secrets and what stands in their place wherever work leaves this machine: exports, logs, redirects.
 */
import type { Json } from "./operation.ts";

const secretName =
  /pass(word|wd|phrase)?$|secret|token|api[-_]?key|credential|authorization|cookie|signature|^(sig|pwd|auth|key|code)$/i;

/** Tells whether a header, query or JSON name usually carries a secret. */
export function isSecretName(name: string): boolean {
  return secretName.test(name);
}

/** What stands in a secret's place. */
export const redacted = "[redacted]";

/** Replaces the values under names that usually carry a secret, anywhere. */
export function redactJson(value: Json): Json {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(redactJson);
  const entries = Object.entries(value).map(([name, each]) => {
    // The name of a credential is no secret, and a person needs it.
    const isSecret = secretName.test(name) && name !== "credential" && typeof each !== "boolean" && each !== null;
    return [name, isSecret ? redacted : redactJson(each)] as const;
  });
  return Object.fromEntries(entries);
}
