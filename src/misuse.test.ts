// Proves when a wrong spelling is near enough to a right one to be meant. Leaves who uses the words to them.
import { expect, test } from "vitest";
import { checkOptions, misspelt, nearest } from "./misuse.ts";

test("a few wrong letters or a name broken off are understood, anything further is not", () => {
  const names = ["queue.add", "queue.addMany", "network.status"];
  expect(nearest("queue.ad", names)).toBe("queue.add");
  expect(nearest("Queue.Add", names)).toBe("queue.add");
  expect(nearest("netwrok.status", names)).toBe("network.status");
  expect(nearest("netw", names)).toBe("network.status");
  expect(nearest("frobnicate", names)).toBe(null);
  expect(nearest("at", ["add"])).toBe(null);
});

test("the message names the one that was meant, or all there are", () => {
  expect(misspelt("the verb", "ad", ["add", "get"])).toBe('the verb "ad" does not exist; did you mean "add"?');
  expect(misspelt("the verb", "zzz", ["add", "get"])).toBe('the verb "zzz" does not exist; use one of add, get');
});

test("options may be left out, but not be anything else than an object with known names", () => {
  expect(() => checkOptions("f", undefined, ["a"])).not.toThrow();
  expect(() => checkOptions("f", { a: 1 }, ["a"])).not.toThrow();
  expect(() => checkOptions("f", { signall: 1 }, ["signal"])).toThrow(TypeError);
  for (const wrong of [null, [], 7, "a"])
    expect(() => checkOptions("f", wrong, ["a"])).toThrow("f takes an object with a");
});
