// Owns the rules of the error class. What each code means to a transport is tested where it travels.
import { expect, test, vi } from "vitest";
import { errorFrom, HoldfastError, isCode } from "./errors.ts";

test("an error of another copy of this package in the same process is one of ours", async () => {
  vi.resetModules();
  const copy = await import("./errors.ts");
  expect(copy.HoldfastError).not.toBe(HoldfastError);
  const error = new copy.HoldfastError("not_found", "there is no n1", "look again");
  expect(error).toBeInstanceOf(HoldfastError);
  expect(isCode(error, "not_found")).toBe(true);
  expect(new Error("no")).not.toBeInstanceOf(HoldfastError);
  for (const other of [null, undefined, "text", {}]) expect(other instanceof HoldfastError).toBe(false);
});

test("a body with a code that is none of the table becomes internal, whatever members objects have", () => {
  for (const code of ["constructor", "toString", "no_such_code", 7, null]) {
    expect(errorFrom({ code, message: "m", hint: "h" }).code).toBe("internal");
  }
  const odd = errorFrom({ code: "not_found", message: "there is no n1", hint: 5, details: "none" });
  expect([odd.code, odd.hint, odd.details]).toEqual(["not_found", "", undefined]);
});
