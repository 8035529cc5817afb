// Owns the shapes of error bodies that are understood. Leaves what a failure means to failure.test.ts.
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { wordsLimit, wordsOf } from "./problem.ts";

test.each([
  ['{"title":"Invalid","detail":"too long"}', "Invalid: too long", null],
  ['{"error":{"message":"No such customer","param":"customer"}}', "No such customer", "customer"],
  ['{"error":"invalid_grant","error_description":"expired"}', "expired", null],
  ['{"errors":[{"source":{"pointer":"/data/name"},"detail":"is blank"}]}', "is blank", "/data/name"],
  ['{"message":"Validation failed","errors":{"title":["is too long"]}}', "Validation failed", "title"],
  ['"plain words"', "plain words", null],
  ["Not  found\n", "Not found", null],
  ["<html>secret markup</html>", null, null],
  ["", null, null],
  ["[]", null, null],
])("%s is read as %j about %j", (body, message, field) => {
  expect(wordsOf(body)).toMatchObject({ message, field });
});

test("words are bounded, whatever a remote sends", () => {
  fc.assert(
    fc.property(fc.oneof(fc.json(), fc.string({ maxLength: 9_000 })), (body) => {
      const { message, detail } = wordsOf(body);
      expect((message ?? "").length).toBeLessThanOrEqual(wordsLimit.message);
      if (typeof detail === "string") expect(detail.length).toBeLessThanOrEqual(wordsLimit.detail);
    }),
  );
});

test("a body that is a prototype trap is only data", () => {
  expect(wordsOf('{"__proto__":{"title":"x"},"detail":"y"}').message).toBe("y");
});
