/**
 * Owns the OpenAPI 3.1 document, made from the verb table so that it cannot tell anything else than the routes do.
 * Serving it is `routes.ts`; the reference for people is made from it by `scripts/http-reference.ts`.
 */
import * as z from "zod/mini";
import { errorTable } from "../errors.ts";
import { event, operation, receipt } from "../shapes.ts";
import type { Verb } from "../verbs.ts";
import { verbNames, verbs } from "../verbs.ts";

export type JsonSchema = { readonly [key: string]: unknown };
export type OpenApiOperation = {
  readonly operationId: string;
  readonly summary: string;
  readonly tags: readonly string[];
  readonly security?: readonly JsonSchema[];
  readonly parameters?: readonly JsonSchema[];
  readonly requestBody?: {
    readonly required: boolean;
    readonly content: { readonly [media: string]: { readonly schema: JsonSchema } };
  };
  readonly responses: { readonly [status: string]: JsonSchema };
};
export type OpenApiDocument = {
  readonly openapi: string;
  readonly info: JsonSchema;
  readonly servers: readonly JsonSchema[];
  readonly security: readonly JsonSchema[];
  readonly paths: { readonly [path: string]: { readonly [method: string]: OpenApiOperation } };
  readonly components: {
    readonly schemas: { readonly [name: string]: JsonSchema };
    readonly securitySchemes: JsonSchema;
  };
};

const schemaPrefix = "#/components/schemas/";
const problemSchema: JsonSchema = {
  type: "object",
  description: "RFC 9457. Decide by `code`: it is stable.",
  properties: {
    type: { type: "string" },
    title: { type: "string" },
    status: { type: "integer" },
    detail: { type: "string", description: "What happened, to which id" },
    instance: { type: "string" },
    code: { type: "string", enum: Object.keys(errorTable) },
    hint: { type: "string", description: "What to do next" },
    details: { type: "object" },
  },
  required: ["type", "title", "status", "detail", "instance", "code", "hint"],
};
const healthSchema: JsonSchema = {
  type: "object",
  description: "Without the token only `status`, and `proof` where a challenge was given.",
  properties: {
    status: { type: "string", enum: ["ok", "degraded", "stopping"] },
    proof: {
      type: "string",
      description:
        'base64url(HMAC-SHA256(token, "holdfast-health\\n" + port + "\\n" + challenge)); port 0 on the socket',
    },
    version: { type: "string" },
    pid: { type: "integer" },
    port: { type: "integer" },
    startedAt: { type: "integer" },
    uptimeMs: { type: "integer" },
    queue: { type: "object" },
  },
  required: ["status"],
};

/** Makes the document; `version` is the daemon's. */
export function makeOpenApi(version: string): OpenApiDocument {
  const { schemas, nameOf } = makeSchemas();
  const paths: Record<string, { readonly [method: string]: OpenApiOperation }> = {};
  for (const verb of verbNames) paths[`/v1/${verb}`] = { post: verbOperation(verb, nameOf) };
  paths["/v1/events"] = { get: eventsOperation() };
  paths["/health"] = { get: healthOperation() };
  paths["/metrics"] = { get: plainOperation("metrics", "Metrics for Prometheus", "text/plain", { type: "string" }) };
  paths["/openapi.json"] = { get: plainOperation("openapi", "This document", "application/json", { type: "object" }) };
  return {
    openapi: "3.1.0",
    info: {
      title: "Holdfast daemon",
      version,
      description:
        "A durable queue of operations. Every verb is POST /v1/<verb>; an error is problem+json with `code` and `hint`.",
    },
    servers: [
      { url: "http://127.0.0.1:{port}", variables: { port: { default: "0", description: "The port in daemon.json" } } },
    ],
    security: [{ token: [] }],
    paths,
    components: {
      schemas: { ...schemas, Problem: problemSchema, Health: healthSchema },
      securitySchemes: {
        token: { type: "http", scheme: "bearer", description: "The content of the file `token` in the data directory" },
      },
    },
  };
}

type NameOf = (schema: z.core.$ZodType) => string;

function makeSchemas(): { readonly schemas: Record<string, JsonSchema>; readonly nameOf: NameOf } {
  const registry = z.registry<{ readonly id: string }>();
  const add = (schema: z.core.$ZodType, id: string): void => {
    // Verbs share shapes; the first name stays.
    if (!registry.has(schema)) registry.add(schema, { id });
  };
  add(operation, "Operation");
  add(receipt, "Receipt");
  add(event, "Event");
  for (const verb of verbNames) {
    add(verbs[verb].input, `${verb}.input`);
    add(verbs[verb].output, `${verb}.output`);
  }
  const made = z.toJSONSchema(registry, { uri: (id) => `${schemaPrefix}${id}`, io: "input" });
  const schemas: Record<string, JsonSchema> = {};
  for (const [name, schema] of Object.entries(made.schemas)) {
    if (name === "__shared") continue;
    const { $schema: _dialect, $id: _id, ...rest } = relocate(schema) as Record<string, unknown>;
    schemas[name] = rest;
  }
  const shared = (made.schemas as Readonly<Record<string, unknown>>).__shared as
    | { readonly $defs?: Readonly<Record<string, unknown>> }
    | undefined;
  for (const [name, schema] of Object.entries(shared?.$defs ?? {}))
    schemas[sharedName(name)] = relocate(schema) as JsonSchema;
  return { schemas, nameOf: (schema) => registry.get(schema)?.id ?? "" };
}

/** Anonymous schemas that refer to themselves land in a container of their own; they become named components. */
function relocate(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(relocate);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, each]) => {
      const match = key === "$ref" && typeof each === "string" ? /__shared#\/\$defs\/(.+)$/.exec(each) : null;
      return [key, match === null ? relocate(each) : `${schemaPrefix}${sharedName(match[1] ?? "")}`];
    }),
  );
}

/** `z.json()` is the only schema of the table that refers to itself. */
function sharedName(name: string): string {
  return name === "schema0" ? "Json" : `Shared.${name}`;
}

function verbOperation(verb: Verb, nameOf: NameOf): OpenApiOperation {
  const { summary, input, output } = verbs[verb];
  return {
    operationId: verb,
    summary,
    tags: [verb.split(".")[0] ?? verb],
    requestBody: { required: false, content: json(refTo(nameOf(input))) },
    responses: { "200": { description: "Done", content: json(refTo(nameOf(output))) }, default: problemAnswer },
  };
}

function eventsOperation(): OpenApiOperation {
  return {
    operationId: "events",
    summary: "Streams changes as server-sent events",
    tags: ["events"],
    parameters: [
      { name: "after", in: "query", description: "Begin after this sequence", schema: { type: "integer", minimum: 0 } },
      {
        name: "last-event-id",
        in: "header",
        description: "Sent by a client that resumes; goes before `after`",
        schema: { type: "integer", minimum: 0 },
      },
    ],
    responses: {
      "200": {
        description:
          "Each message's data is an Event; its id is the event's sequence, absent for what is only told live. `event: truncated` says that the place in the feed is gone: read the state again.",
        content: { "text/event-stream": { schema: refTo("Event") } },
      },
      default: problemAnswer,
    },
  };
}

function healthOperation(): OpenApiOperation {
  return {
    ...plainOperation(
      "health",
      "Tells whether the daemon serves, and proves that it is the right one",
      "application/json",
      refTo("Health"),
    ),
    // An empty requirement: the token may be left out.
    security: [{}, { token: [] }],
    parameters: [
      {
        name: "challenge",
        in: "query",
        description: "Any 16 to 128 characters of base64url",
        schema: { type: "string", pattern: "^[A-Za-z0-9_-]{16,128}$" },
      },
    ],
  };
}

function plainOperation(operationId: string, summary: string, media: string, schema: JsonSchema): OpenApiOperation {
  return {
    operationId,
    summary,
    tags: ["daemon"],
    responses: { "200": { description: "Done", content: { [media]: { schema } } }, default: problemAnswer },
  };
}

const refTo = (name: string): JsonSchema => ({ $ref: `${schemaPrefix}${name}` });
const json = (schema: JsonSchema): { readonly "application/json": { readonly schema: JsonSchema } } => ({
  "application/json": { schema },
});
const problemAnswer: JsonSchema = {
  description: "Refused or failed",
  content: { "application/problem+json": { schema: refTo("Problem") } },
};
