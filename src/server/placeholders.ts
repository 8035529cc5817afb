/**
 * Owns turning `?` parameters, which all statements of the server use, into the numbered ones that PostgreSQL knows.
 * It leaves alone what stands in strings, quoted names and comments; sending is `postgres.ts`.
 */

/** Everything in which a question mark is no parameter, or a question mark that is one. */
const token = /'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|\/\*[\s\S]*?\*\/|\?/g;

/** Texts are constants of the program, so they are few; a program that builds texts must not grow this for ever. */
const keptTexts = 1_000;
const numbered = new Map<string, string>();

/**
 * The same statement with `$1`, `$2` … in the places of its `?`.
 * @example
 * numberPlaceholders("SELECT '?' WHERE a = ? AND b = ?") // "SELECT '?' WHERE a = $1 AND b = $2"
 */
export function numberPlaceholders(sql: string): string {
  const known = numbered.get(sql);
  if (known !== undefined) return known;
  let count = 0;
  const text = sql.replace(token, (found) => {
    if (found !== "?") return found;
    count += 1;
    return `$${count}`;
  });
  if (numbered.size >= keptTexts) numbered.clear();
  numbered.set(sql, text);
  return text;
}
