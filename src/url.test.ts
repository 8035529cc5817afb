/**
 * Owns the rules of addresses: origin, segments, what is refused, held against the platform's own parser.
 * What is sent where is left to the tests of the operation types.
 */
import { fc, test as property } from "@fast-check/vitest";
import { describe, expect, test } from "vitest";
import { checkUrl, displayUrl, originOf, parseUrl, pathSegments, replaceSegments, urlLimit } from "./url.ts";

describe("an address", () => {
  test.each([
    ["https://Api.Example.com:443/notes?x=1#y", "https://api.example.com"],
    ["HTTP://a.example:80", "http://a.example"],
    ["http://a.example:8080/x", "http://a.example:8080"],
    ["https://a.example:80/", "https://a.example:80"],
    ["http://[::1]:80/x", "http://[::1]"],
    ["http://[::1]:8000/x", "http://[::1]:8000"],
    ["http://[fe80::80]/x", "http://[fe80::80]"],
    ["ftp://a.example/x", ""],
  ])("%s has the origin %s", (text, origin) => {
    expect(originOf(text)).toBe(origin);
    if (origin !== "") expect(new URL(text).origin).toBe(origin);
  });

  test.each([
    "",
    "notes",
    "/notes",
    "ftp://a.example",
    "https://",
    "https://user:secret@a.example/",
    "https://a.example\\@evil.example/",
    "https://a.example /x",
    "https://a.ex\tample/",
    "http://a.example:99999999/",
    "http://[::1/",
    `https://a.example/${"x".repeat(urlLimit)}`,
  ])("that reads %j is refused", (text) => {
    expect(parseUrl(text)).toBeNull();
    expect(() => checkUrl(text)).toThrow(expect.objectContaining({ code: "invalid_input" }));
  });

  test("with a password in it is refused without showing the password", () => {
    expect(() => checkUrl("https://user:secret@a.example/")).toThrow(/^((?!secret).)*$/);
  });

  test("of exactly the longest length is accepted", () => {
    const text = `https://a.example/${"x".repeat(urlLimit - 18)}`;
    expect(text).toHaveLength(urlLimit);
    expect(checkUrl(text)).toBe(text);
  });

  test("is shown to people without its query", () => {
    expect(displayUrl("https://a.example/x?token=secret#y")).toBe("https://a.example/x");
  });
});

describe("path segments", () => {
  test("are decoded, and the query is none of them", () => {
    expect(pathSegments("https://a.example//notes/a%20b%2Fc/%zz?local-1/x#y/z")).toEqual(["notes", "a b/c", "%zz"]);
  });

  test("are replaced whole, encoded, and only where they match", () => {
    const swap = (each: string) => (each === "local 1" ? "4/2" : null);
    expect(replaceSegments("https://a.example/n/local%201/local%201x?id=local%201", swap)).toBe(
      "https://a.example/n/4%2F2/local%201x?id=local%201",
    );
  });

  test("never become a step up the path", () => {
    for (const bad of [".", "..", "", "\ud800"]) {
      expect(replaceSegments("https://a.example/n/x/y", (each) => (each === "x" ? bad : null))).toBe(
        "https://a.example/n/x/y",
      );
    }
  });

  property.prop([fc.webUrl({ withQueryParameters: true, withFragments: true })])(
    "replacing nothing changes nothing, and the origin is the platform's",
    (text) => {
      expect(replaceSegments(text, () => null)).toBe(text);
      expect(originOf(text)).toBe(new URL(text).origin);
    },
  );

  property.prop([fc.string({ unit: "grapheme", minLength: 1 }).filter((each) => each !== "." && each !== "..")])(
    "what is put into a path comes out again as one segment",
    (id) => {
      const text = replaceSegments("https://a.example/n/x/y", (each) => (each === "x" ? id : null));
      expect(pathSegments(text)).toEqual(["n", id, "y"]);
      expect(new URL(text).pathname.split("/")).toHaveLength(4);
    },
  );
});
