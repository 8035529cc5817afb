/**
 * Owns reading and changing a web address with the language alone: its origin, its path segments, its plain display form.
 * Resolving, dialling and redirects are left to the places, which have the platform's `URL`.
 */
import { HoldfastError } from "./errors.ts";

/** The pieces of an address; joined in this order they give the text back. */
export type UrlParts = {
  readonly scheme: "http" | "https";
  /** Host with its port, as written. */
  readonly authority: string;
  /** From the first slash to the query; may be empty. */
  readonly path: string;
  /** Query and fragment with their marks; may be empty. */
  readonly rest: string;
};

/** Longest address that is accepted; servers commonly refuse longer ones. */
export const urlLimit = 8_192;

const shape = /^(https?):\/\/([^/?#]*)([^?#]*)(.*)$/i;
// The platform's parser drops tabs and newlines and reads "\" as "/": such a text could name another host than it shows.
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are exactly what is refused here.
const ambiguous = /[\u0000-\u0020\u007f\\]/;
const hostShape = /^(\[[0-9a-f:.]+\]|[^[\]:@<>^|%]+)(:\d{1,5})?$/i;
const defaultPorts = { http: ":80", https: ":443" } as const;

/** Takes an http(s) address apart; `null` for anything else, also for one with a name and password in it. */
export function parseUrl(text: string): UrlParts | null {
  if (text.length > urlLimit || ambiguous.test(text)) return null;
  const found = shape.exec(text);
  if (found === null) return null;
  const [, scheme = "", authority = "", path = "", rest = ""] = found;
  if (!hostShape.test(authority)) return null;
  return { scheme: scheme.toLowerCase() === "https" ? "https" : "http", authority, path, rest };
}

/** Returns the address unchanged or throws `invalid_input` that says what is wrong with it. */
export function checkUrl(text: string): string {
  if (parseUrl(text) !== null) return text;
  if (/^https?:\/\/[^/?#]*@/i.test(text)) {
    throw new HoldfastError(
      "invalid_input",
      "url: a name or password in the address would be stored in the clear",
      'name a credential instead, e.g. credential: "api"',
    );
  }
  throw new HoldfastError(
    "invalid_input",
    `url: not an http or https address of at most ${urlLimit} characters`,
    "write it in full and without spaces, e.g. https://api.example.com/notes",
  );
}

/**
 * The remote that an address belongs to, in lower case and without a default port; empty when it is no address.
 * @example
 * originOf("HTTPS://Api.example.com:443/notes") // "https://api.example.com"
 */
export function originOf(text: string): string {
  const parts = parseUrl(text);
  if (parts === null) return "";
  const host = parts.authority.toLowerCase();
  const port = defaultPorts[parts.scheme];
  return `${parts.scheme}://${host.endsWith(port) ? host.slice(0, -port.length) : host}`;
}

/** The decoded segments of the path, empty ones left out. */
export function pathSegments(text: string): readonly string[] {
  const parts = parseUrl(text);
  if (parts === null) return [];
  return parts.path
    .split("/")
    .filter((segment) => segment !== "")
    .map(decodeSegment);
}

/**
 * Replaces whole path segments; `replace` gets the decoded segment and answers `null` to keep it.
 * @example
 * replaceSegments("https://a.example/notes/local-1", (each) => (each === "local-1" ? "42" : null)) // ".../notes/42"
 */
export function replaceSegments(text: string, replace: (segment: string) => string | null): string {
  const parts = parseUrl(text);
  if (parts === null) return text;
  const path = parts.path
    .split("/")
    .map((segment) => replaceOne(segment, replace))
    .join("/");
  return path === parts.path ? text : `${parts.scheme}://${parts.authority}${path}${parts.rest}`;
}

/** The address as people may see it: without query and fragment, where secrets and noise live. */
export function displayUrl(text: string): string {
  const parts = parseUrl(text);
  return parts === null ? text : `${parts.scheme}://${parts.authority}${parts.path}`;
}

function replaceOne(segment: string, replace: (segment: string) => string | null): string {
  if (segment === "") return segment;
  const found = replace(decodeSegment(segment));
  return found === null ? segment : (encodeSegment(found) ?? segment);
}

function decodeSegment(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

/** `null` for what cannot stand as one segment: "." and ".." would climb the path however they are written. */
function encodeSegment(text: string): string | null {
  if (text === "" || text === "." || text === "..") return null;
  try {
    return encodeURIComponent(text);
  } catch {
    return null;
  }
}
