// Owns docs/http.md, made from the daemon's OpenAPI document; `node scripts/http-reference.ts` writes it, a test holds it to the document.
// Leaves the document itself to src/node/openapi.ts.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { errorTable } from "../src/errors.ts";
import type { JsonSchema, OpenApiDocument } from "../src/node/openapi.ts";
import { makeOpenApi } from "../src/node/openapi.ts";

const prefix = "#/components/schemas/";

const opening = `# HTTP reference

The daemon's HTTP face, made from its OpenAPI document (\`GET /openapi.json\`). Do not edit this page: run \`node scripts/http-reference.ts\`.

Every request needs the header \`Authorization: Bearer <token>\` with the content of the file \`token\` in the data directory, and a Host header that names
\`127.0.0.1\`, \`[::1]\` or \`localhost\` with the port of \`daemon.json\`. Bodies are \`application/json\`. An error is \`application/problem+json\` (RFC 9457) with the
stable members \`code\` and \`hint\`; decide by \`code\`. What the daemon checks and why: [daemon.md](daemon.md).
`;

/** The whole page. */
export function renderReference(document: OpenApiDocument): string {
  const routes = Object.entries(document.paths).map(([path, methods]) => renderPath(document, path, methods));
  return `${[opening, "## Routes\n", ...routes, renderSchemas(document), renderErrors()].join("\n").trimEnd()}\n`;
}

type Methods = OpenApiDocument["paths"][string];

function renderPath(document: OpenApiDocument, path: string, methods: Methods): string {
  const parts = Object.entries(methods).map(([method, operation]) => {
    const input = operation.requestBody?.content["application/json"]?.schema;
    const answers = Object.values(
      (operation.responses["200"]?.content ?? {}) as Readonly<Record<string, { readonly schema: JsonSchema }>>,
    );
    const parameters = (operation.parameters ?? []).map(
      (each) => `- \`${String(each.name)}\` (${String(each.in)}): ${String(each.description)}`,
    );
    const lines = [`### ${method.toUpperCase()} ${path}`, "", `${operation.summary}.`, ""];
    if (parameters.length > 0) lines.push(...parameters, "");
    if (input !== undefined) lines.push(...renderFields("Body", resolve(document, input)), "");
    const description = String(operation.responses["200"]?.description ?? "");
    if (description !== "Done") lines.push(description, "");
    for (const { schema } of answers) lines.push(`Answers ${typeName(schema)}.`, "");
    return lines.join("\n");
  });
  return parts.join("\n");
}

function renderFields(title: string, schema: JsonSchema): readonly string[] {
  const properties = Object.entries((schema.properties ?? {}) as Readonly<Record<string, JsonSchema>>);
  if (properties.length === 0) return [`${title}: \`{}\` or nothing.`];
  const required = (schema.required ?? []) as readonly string[];
  const rows = properties.map(
    ([name, each]) =>
      `| \`${name}\` | ${typeName(each)} | ${required.includes(name) ? "yes" : ""} | ${escapeCell(meaningOf(each))} |`,
  );
  return [`${title}:`, "", "| field | type | required | meaning |", "|---|---|---|---|", ...rows];
}

function renderSchemas(document: OpenApiDocument): string {
  const all = JSON.stringify(document.components.schemas);
  // An input is shown at its route; here only where another shape refers to it.
  const isShown = (name: string): boolean => !name.endsWith(".input") || all.includes(`"${prefix}${name}"`);
  const shown = Object.entries(document.components.schemas).filter(([name]) => isShown(name));
  const parts = shown.map(([name, schema]) => {
    const fields = schema.properties === undefined ? [`${typeName(schema)}`] : renderFields("Fields", schema);
    return [
      `### ${name}`,
      "",
      ...(schema.description === undefined ? [] : [String(schema.description), ""]),
      ...fields,
      "",
    ].join("\n");
  });
  return ["## Shapes", "", ...parts].join("\n");
}

function renderErrors(): string {
  const rows = Object.entries(errorTable).map(
    ([code, traits]) => `| \`${code}\` | ${traits.status} | ${traits.isTransient ? "yes" : ""} |`,
  );
  return [
    "## Error codes",
    "",
    "| code | HTTP status | trying again unchanged can help |",
    "|---|---|---|",
    ...rows,
  ].join("\n");
}

function resolve(document: OpenApiDocument, schema: JsonSchema): JsonSchema {
  return typeof schema.$ref === "string"
    ? (document.components.schemas[schema.$ref.slice(prefix.length)] ?? {})
    : schema;
}

/** What may be null carries its description on the other choice. */
function meaningOf(schema: JsonSchema): string {
  const choices = (schema.anyOf ?? []) as readonly JsonSchema[];
  return String(schema.description ?? choices.find((each) => each.description !== undefined)?.description ?? "");
}

function typeName(schema: JsonSchema): string {
  if (typeof schema.$ref === "string") {
    const name = schema.$ref.slice(prefix.length);
    return `[${name}](#${name.toLowerCase().replaceAll(".", "")})`;
  }
  const choices = (schema.anyOf ?? schema.oneOf) as readonly JsonSchema[] | undefined;
  if (choices !== undefined) return [...new Set(choices.map(typeName))].join(" or ");
  if (Array.isArray(schema.enum)) return schema.enum.map((each) => `\`${JSON.stringify(each)}\``).join(", ");
  if (schema.const !== undefined) return `\`${JSON.stringify(schema.const)}\``;
  if (schema.type === "array") return `array of ${typeName((schema.items ?? {}) as JsonSchema)}`;
  if (Array.isArray(schema.type)) return schema.type.join(" or ");
  return String(schema.type ?? "anything");
}

const escapeCell = (text: string): string => text.replaceAll("|", "\\|");

if (import.meta.main)
  writeFileSync(join(import.meta.dirname, "../docs/http.md"), renderReference(makeOpenApi("0.1.0")));
