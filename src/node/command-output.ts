/**
 * Owns keeping the head and the tail of a process's output in bounded memory, as text, without the secrets that we gave it.
 * What is kept of how much is the payload's say; the cuts between characters are `command.ts`.
 */
import { cutAfter, cutBefore } from "../command.ts";

export type Output = {
  readonly push: (block: Uint8Array) => void;
  /** Bytes that came, kept or not. */
  readonly totalBytes: () => number;
  readonly isTruncated: () => boolean;
  readonly text: () => string;
};

/** A secret may stand across the place where output is cut: this much more is held at least, and cut once secrets are gone. */
const slackBytes = 4_096;

/** Keeps the first and the last half of `limit` bytes; hides every one of `secrets`. */
export function makeOutput(limit: number, secrets: readonly string[]): Output {
  const headLimit = Math.ceil(limit / 2);
  const tailLimit = limit - headLimit;
  const slack = Math.max(slackBytes, ...secrets.map((secret) => Buffer.byteLength(secret)));
  const head = new Uint8Array(headLimit + slack);
  const tail = new Uint8Array(tailLimit + slack);
  let total = 0;
  const hide = makeHide(secrets);

  const push = (block: Uint8Array) => {
    const room = Math.max(0, head.length - total);
    if (room > 0) head.set(block.subarray(0, room), total);
    // The tail is a ring over everything that came: byte n lies at n modulo its length.
    const last = block.subarray(Math.max(0, block.length - tail.length));
    const start = (total + block.length - last.length) % tail.length;
    const first = last.subarray(0, tail.length - start);
    tail.set(first, start);
    tail.set(last.subarray(first.length), 0);
    total += block.length;
  };
  const unrolled = () => {
    const at = total % tail.length;
    return total <= tail.length ? tail.slice(0, total) : Buffer.concat([tail.subarray(at), tail.subarray(0, at)]);
  };
  const text = () => {
    if (total <= limit) return decode(hide(joined(head, unrolled(), total)));
    // Secrets are hidden first, with the same number of bytes, so that a cut cannot leave half of one.
    const start = hide(head.slice(0, Math.min(total, head.length)));
    const end = hide(unrolled());
    const headEnd = cutBefore(start, headLimit);
    const tailStart = cutAfter(end, end.length - tailLimit);
    const left = total - headEnd - (end.length - tailStart);
    return `${decode(start.subarray(0, headEnd))}\n… ${left} bytes left out …\n${decode(end.subarray(tailStart))}`;
  };
  return { push, totalBytes: () => total, isTruncated: () => total > limit, text };
}

/** The whole of an output that fits: its first bytes from the head, what is missing from the tail. */
function joined(head: Uint8Array, tail: Uint8Array, total: number): Uint8Array {
  const first = head.subarray(0, Math.min(total, head.length));
  return Buffer.concat([first, tail.subarray(tail.length - (total - first.length))]);
}

/** Short secrets are left: hiding every "1" would hide the output. */
function makeHide(secrets: readonly string[]): (bytes: Uint8Array) => Uint8Array {
  const hidden = secrets.filter((secret) => secret.length >= 6).map((secret) => Buffer.from(secret));
  return (bytes) => {
    // All are looked for in the text as it came: hiding one must not keep another, which overlaps it, from being found.
    const said = Buffer.from(bytes);
    const view = Buffer.from(bytes);
    for (const secret of hidden) {
      for (let at = said.indexOf(secret); at >= 0; at = said.indexOf(secret, at + 1))
        view.fill("*", at, at + secret.length);
    }
    return view;
  };
}

function decode(bytes: Uint8Array): string {
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
}
