// Owns single changed bits of values, as storage makes them. Damage to whole files is made in test/crash.

/** A value with one bit of it changed, in every way. */
export function flipsOf(value: unknown): readonly (string | number)[] {
  if (typeof value === "number")
    return Array.from({ length: 45 }, (_, bit) =>
      Math.floor(value / 2 ** bit) % 2 === 0 ? value + 2 ** bit : value - 2 ** bit,
    );
  const text = String(value ?? "");
  return [...text].flatMap((letter, at) =>
    [0, 1, 3, 6].map(
      (bit) => text.slice(0, at) + String.fromCharCode(letter.charCodeAt(0) ^ (1 << bit)) + text.slice(at + 1),
    ),
  );
}

/** A value as SQL says it. */
export const cellOf = (value: string | number): string =>
  typeof value === "number" ? String(value) : `'${value.replaceAll("'", "''")}'`;
