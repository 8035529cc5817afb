// Owns reading the examples out of a page of documentation; leaves running them to test/docs.test.ts.

/** One fenced block. `name` is set when a comment before it says which file it shows. */
export type Example = {
  readonly page: string;
  readonly line: number;
  readonly language: string;
  readonly text: string;
  readonly name: string | undefined;
  readonly leftOut: { readonly reason: string } | undefined;
};

/** Shown, never run. */
const proseLanguages = ["text", "json", "toml", "yaml"];
const runLanguages = ["ts", "js", "sh"];

/** Finds every fenced block of a page. A block that would silently never run is an error of the page. */
export function readExamples(page: string, markdown: string): readonly Example[] {
  const lines = markdown.split("\n");
  const examples: Example[] = [];
  for (let at = 0; at < lines.length; at++) {
    const fence = lines[at]?.match(/^(\s*)(`{3,})\s*(.*)$/);
    if (!fence) continue;
    const [, indent = "", ticks = "", info = ""] = fence;
    const end = lines.findIndex((line, index) => index > at && line.trim() === ticks);
    if (end === -1) throw new Error(`${page}:${at + 1}: the block is never closed`);
    const body = lines.slice(at + 1, end).map((line) => (line.startsWith(indent) ? line.slice(indent.length) : line));
    examples.push(
      toExample({ page, line: at + 1, info, text: `${body.join("\n")}\n`, before: commentBefore(lines, at) }),
    );
    at = end;
  }
  return examples;
}

type Block = {
  readonly page: string;
  readonly line: number;
  readonly info: string;
  readonly text: string;
  readonly before: string | undefined;
};

function toExample({ page, line, info, text, before }: Block): Example {
  const [language = "", ...flags] = info.trim().split(/\s+/);
  const where = `${page}:${line}`;
  if (!proseLanguages.includes(language) && !runLanguages.includes(language)) {
    throw new Error(`${where}: name the language, one of ${[...runLanguages, ...proseLanguages].join(", ")}`);
  }
  const strange = flags.find((flag) => flag !== "no-run");
  if (strange !== undefined) throw new Error(`${where}: "${strange}" means nothing here; the only flag is no-run`);
  const name = before?.match(/^file:\s*([\w./-]+)$/)?.[1];
  if (flags.length > 0 && (before === undefined || name !== undefined)) {
    throw new Error(`${where}: no-run needs its reason in an HTML comment on the line before`);
  }
  const isProse = proseLanguages.includes(language) && name === undefined;
  const reason = flags.length > 0 ? before : isProse ? `${language} is shown, not run` : undefined;
  return { page, line, language, text, name, leftOut: reason === undefined ? undefined : { reason } };
}

function commentBefore(lines: readonly string[], at: number): string | undefined {
  const above = lines.slice(0, at).findLast((line) => line.trim() !== "");
  return above?.match(/^\s*<!--\s*(.*?)\s*-->\s*$/)?.[1];
}
