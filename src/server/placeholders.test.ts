// Owns the rules of placeholders as statements with their numbered forms.
// Leaves what a database makes of them to the contract of the stores.
import { describe, expect, test } from "vitest";
import { numberPlaceholders } from "./placeholders.ts";

describe("question marks become numbers", () => {
  test.each([
    ["SELECT 1", "SELECT 1"],
    ["a = ? AND b IN (?,?)", "a = $1 AND b IN ($2,$3)"],
    ["'?' \"?\" ?", "'?' \"?\" $1"],
    ["'it''s ?' ?", "'it''s ?' $1"],
    ["-- why?\n?", "-- why?\n$1"],
    ["/* ? -- ' */ ? /* ' */ ?", "/* ? -- ' */ $1 /* ' */ $2"],
    ["", ""],
  ])("%s", (sql, numbered) => {
    expect(numberPlaceholders(sql)).toBe(numbered);
    expect(numberPlaceholders(sql)).toBe(numbered);
  });

  test("for more texts than are kept", () => {
    for (let index = 0; index < 2_500; index += 1) expect(numberPlaceholders(`${index} ?`)).toBe(`${index} $1`);
  });
});
