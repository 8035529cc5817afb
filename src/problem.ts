/**
 * Owns reading a remote's own words out of an error body: problem+json (RFC 9457) and the shapes that are common besides.
 * What the failure means is decided in `failure.ts`.
 */
import type { Json } from "./operation.ts";

/** How much of a remote's words is kept with an operation. */
export const wordsLimit = { message: 500, detail: 4_096 } as const;

/** What a remote says about its refusal. `names` are its machine-readable types and codes, for telling cases apart. */
export type RemoteWords = {
  readonly message: string | null;
  readonly field: string | null;
  readonly names: readonly string[];
  readonly detail: Json | null;
};

/**
 * Parses JSON and never throws; `undefined` where it is none.
 * @example
 * parseJson("{") // undefined
 */
export function parseJson(text: string): Json | undefined {
  try {
    return JSON.parse(text) as Json;
  } catch {
    return undefined;
  }
}

/**
 * Reads an error body, JSON or not.
 * @example
 * wordsOf('{"title":"Too long","errors":[{"pointer":"#/name"}]}') // { message: "Too long", field: "#/name", … }
 */
export function wordsOf(bodyText: string): RemoteWords {
  const body = parseJson(bodyText);
  if (body === undefined || body === null || typeof body !== "object") return plainWords(bodyText, body);
  const top = fieldsOf(body);
  // `{ error: { … } }` and `{ errors: [ … ] }` carry the words one level down.
  const inner = fieldsOf(top.get("error"));
  const errors = top.get("errors") ?? top.get("invalid-params") ?? top.get("details");
  const first = Array.isArray(errors) ? fieldsOf(errors[0]) : new Map<string, Json>();
  const levels = [top, inner, first];
  return {
    message: messageOf(levels, top),
    field: fieldOf([inner, first, top]) ?? keyedField(errors),
    names: levels.flatMap((level) =>
      ["type", "code", "error", "title", "message"].flatMap((name) => textAt(level, name)),
    ),
    detail: bodyText.length <= wordsLimit.detail ? body : bodyText.slice(0, wordsLimit.detail),
  };
}

function plainWords(text: string, body: Json | undefined): RemoteWords {
  const said = (typeof body === "string" ? body : text).trim();
  const isMarkup = said.startsWith("<");
  return {
    message: said === "" || isMarkup ? null : shorten(said),
    field: null,
    names: [],
    detail: said === "" ? null : said.slice(0, wordsLimit.detail),
  };
}

function messageOf(levels: readonly ReadonlyMap<string, Json>[], top: ReadonlyMap<string, Json>): string | null {
  const title = textAt(top, "title")[0];
  const detail = textAt(top, "detail")[0];
  if (title !== undefined && detail !== undefined && title !== detail) return shorten(`${title}: ${detail}`);
  for (const name of ["detail", "message", "error_description", "description", "title", "reason", "error"]) {
    for (const level of levels) {
      const said = textAt(level, name)[0];
      if (said !== undefined) return shorten(said);
    }
  }
  return null;
}

function fieldOf(levels: readonly ReadonlyMap<string, Json>[]): string | null {
  for (const level of levels) {
    const source = fieldsOf(level.get("source"));
    const named = ["field", "param", "pointer", "path", "name", "property"].flatMap((name) => textAt(level, name));
    const found = named[0] ?? textAt(source, "pointer")[0] ?? textAt(source, "parameter")[0];
    if (found !== undefined) return found.slice(0, 200);
  }
  return null;
}

/** `errors: { title: ["is too long"] }` names the field by its key. */
function keyedField(errors: Json | undefined): string | null {
  if (typeof errors !== "object" || errors === null || Array.isArray(errors)) return null;
  return Object.keys(errors)[0]?.slice(0, 200) ?? null;
}

function fieldsOf(value: Json | undefined): ReadonlyMap<string, Json> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return new Map();
  return new Map(Object.entries(value));
}

function textAt(level: ReadonlyMap<string, Json>, name: string): readonly string[] {
  const value = level.get(name);
  return typeof value === "string" && value.trim() !== "" ? [value.trim()] : [];
}

function shorten(text: string): string {
  const line = text.replace(/\s+/g, " ").trim();
  return line.length <= wordsLimit.message ? line : `${line.slice(0, wordsLimit.message - 1)}…`;
}
