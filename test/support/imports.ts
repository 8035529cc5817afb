// Owns reading out of a source file what it imports, in every way in which TypeScript can say so.
// Leaves the judgement to test/support/laws.ts.
import ts from "typescript";

export type Import = {
  /** The specifier as written; undefined when it is computed at run time. */
  readonly specifier: string | undefined;
  readonly line: number;
  readonly isReexport: boolean;
};

const sources = new Map<string, ts.SourceFile>();

/** Every law asks for the same files, so a text is parsed once. */
export function parse(file: string, text: string): ts.SourceFile {
  const key = `${file}\n${text}`;
  const known = sources.get(key);
  if (known !== undefined) return known;
  const how = { languageVersion: ts.ScriptTarget.ESNext, jsDocParsingMode: ts.JSDocParsingMode.ParseNone };
  const source = ts.createSourceFile(file, text, how, true);
  sources.set(key, source);
  return source;
}

export function lineOf(source: ts.SourceFile, node: ts.Node): number {
  return source.getLineAndCharacterOfPosition(node.getStart(source)).line + 1;
}

const nodes = new WeakMap<ts.SourceFile, readonly ts.Node[]>();

/** Calls `visit` with every node of the file, parents first. Every law walks the same files, so the way is kept. */
export function walk(source: ts.SourceFile, visit: (node: ts.Node) => void): void {
  const known = nodes.get(source) ?? nodesOf(source);
  nodes.set(source, known);
  for (const node of known) visit(node);
}

function nodesOf(source: ts.SourceFile): readonly ts.Node[] {
  const found: ts.Node[] = [];
  const descend = (node: ts.Node): void => {
    found.push(node);
    ts.forEachChild(node, descend);
  };
  descend(source);
  return found;
}

/** Imports of values and of types, re-exports, `import()` as call and as type, `require` and built-in look-ups. */
export function findImports(source: ts.SourceFile): readonly Import[] {
  const imports: Import[] = source.typeReferenceDirectives.map(({ fileName, pos }) => ({
    specifier: fileName,
    line: source.getLineAndCharacterOfPosition(pos).line + 1,
    isReexport: false,
  }));
  walk(source, (node) => {
    const found = readImport(node);
    if (found) imports.push({ ...found, line: lineOf(source, node) });
  });
  return imports;
}

function readImport(node: ts.Node): Omit<Import, "line"> | undefined {
  if (ts.isImportDeclaration(node)) return { specifier: literal(node.moduleSpecifier), isReexport: false };
  if (ts.isExportDeclaration(node) && node.moduleSpecifier) {
    return { specifier: literal(node.moduleSpecifier), isReexport: true };
  }
  if (ts.isExternalModuleReference(node)) return { specifier: literal(node.expression), isReexport: false };
  if (ts.isImportTypeNode(node)) {
    const argument = ts.isLiteralTypeNode(node.argument) ? node.argument.literal : undefined;
    return { specifier: literal(argument), isReexport: false };
  }
  if (ts.isCallExpression(node) && isLoader(node.expression)) {
    return { specifier: literal(node.arguments[0]), isReexport: false };
  }
  return undefined;
}

function isLoader(callee: ts.Expression): boolean {
  if (callee.kind === ts.SyntaxKind.ImportKeyword) return true;
  if (ts.isIdentifier(callee)) return callee.text === "require";
  return ts.isPropertyAccessExpression(callee) && callee.name.text === "getBuiltinModule";
}

function literal(node: ts.Node | undefined): string | undefined {
  return node && ts.isStringLiteralLike(node) ? node.text : undefined;
}
