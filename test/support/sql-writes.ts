// Owns finding which SQL tables a source file writes; leaves the judgement to test/support/laws.ts.
import ts from "typescript";
import { lineOf, walk } from "./imports.ts";

export type Write = { readonly table: string; readonly line: number };

/** Stands where a template has an expression, so that a computed table name shows. */
export const computed = "computed_name";

const tableName = String.raw`(?:(?:main|temp)\s*\.\s*)?["\x60[]?([A-Za-z_]\w*)`;
const writes = new RegExp(
  [
    String.raw`\b(?:INSERT(?:\s+OR\s+\w+)?\s+INTO|REPLACE\s+INTO|DELETE\s+FROM)\s+${tableName}`,
    String.raw`\bUPDATE(?:\s+OR\s+\w+)?\s+(?!SET\b|OF\b)${tableName}["\x60\]]?\s+(?:AS\s+\w+\s+|INDEXED\s+BY\s+\w+\s+)?SET\b`,
  ].join("|"),
  "gi",
);
const creations = /\bCREATE\s+(?:VIRTUAL\s+)?TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?["`[]?([A-Za-z_]\w*)/gi;

/** Every INSERT, UPDATE, DELETE and REPLACE in the string and template literals of a file. */
export function findWrites(source: ts.SourceFile): readonly Write[] {
  return findTexts(source).flatMap(({ text, line }) =>
    [...text.matchAll(writes)].map((match) => ({ table: (match[1] ?? match[2] ?? "").toLowerCase(), line })),
  );
}

/** The tables that a file creates. */
export function findTables(source: ts.SourceFile): readonly string[] {
  const names = findTexts(source).flatMap(({ text }) => [...text.matchAll(creations)].map((match) => match[1] ?? ""));
  return [...new Set(names.map((name) => name.toLowerCase()))];
}

type Text = { readonly text: string; readonly line: number };

function findTexts(source: ts.SourceFile): readonly Text[] {
  const texts: Text[] = [];
  walk(source, (node) => {
    const line = () => lineOf(source, node);
    if (ts.isStringLiteralLike(node)) texts.push({ text: node.text, line: line() });
    if (ts.isTemplateExpression(node)) {
      const rest = node.templateSpans.map((span) => `${computed}${span.literal.text}`);
      texts.push({ text: node.head.text + rest.join(""), line: line() });
    }
    // A statement put together with "+" is read as one text; its parts are read again and add nothing.
    if (ts.isBinaryExpression(node) && node.operatorToken.kind === ts.SyntaxKind.PlusToken) {
      texts.push({ text: joined(node), line: line() });
    }
  });
  return texts;
}

function joined(node: ts.Expression): string {
  if (ts.isStringLiteralLike(node)) return node.text;
  if (ts.isParenthesizedExpression(node)) return joined(node.expression);
  if (ts.isBinaryExpression(node) && node.operatorToken.kind === ts.SyntaxKind.PlusToken) {
    return joined(node.left) + joined(node.right);
  }
  return computed;
}
