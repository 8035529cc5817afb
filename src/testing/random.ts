/**
 * Owns seeded randomness: the same seed gives the same numbers on every machine.
 * It is for tests and simulations; real worlds bring their own.
 */

/** A stream of pseudo-random numbers. */
export type Random = {
  /** A number in [0, 1). */
  readonly next: () => number;
  /** An integer in [0, below). */
  readonly below: (below: number) => number;
  /** True with this probability. */
  readonly chance: (probability: number) => boolean;
  /** One of the values. */
  readonly pick: <const T>(values: readonly [T, ...T[]]) => T;
  /** `count` random bytes. */
  readonly bytes: (count: number) => Uint8Array;
  /** A stream of its own, so that what one part draws does not shift what another part gets. */
  readonly fork: (name: string) => Random;
};

/**
 * Makes a stream from a seed: sfc32 (Chris Doty-Humphrey, PractRand), seeded through the mixing step of MurmurHash3.
 * @example
 * seededRandom("42").next() === seededRandom("42").next() // true
 */
export function seededRandom(seed: string): Random {
  const next = sfc32(seed);
  const below = (limit: number): number => Math.floor(next() * limit);
  return {
    next,
    below,
    chance: (probability) => next() < probability,
    pick: (values) => values[below(values.length)] as (typeof values)[0],
    bytes: (count) => Uint8Array.from({ length: count }, () => below(256)),
    fork: (name) => seededRandom(`${seed}/${name}`),
  };
}

function sfc32(seed: string): () => number {
  let [a, b, c] = [mixed(seed, 0x9e3779b9), mixed(seed, 0x243f6a88), mixed(seed, 0xb7e15162)];
  let counter = 1;
  const draw = (): number => {
    const sum = (a + b + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + sum;
    return (sum >>> 0) / 4_294_967_296;
  };
  // The first numbers still show the seed's pattern.
  for (let round = 0; round < 15; round += 1) draw();
  return draw;
}

function mixed(text: string, start: number): number {
  let hash = start;
  for (let index = 0; index < text.length; index += 1) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x5bd1e995);
    hash ^= hash >>> 13;
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) | 0;
}
