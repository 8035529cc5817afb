/**
 * Owns the server's OpenAPI document, made from the shapes that check the messages, so that it cannot say anything else.
 * The words of the protocol are docs/protocol.md.
 */
import * as z from "zod/mini";
import * as wire from "../wire.ts";

type Schema = { readonly [key: string]: unknown };
type Document = { readonly openapi: string; readonly [key: string]: unknown };

const shapes = {
  PushRequest: wire.pushRequest,
  PushResponse: wire.pushResponse,
  PullRequest: wire.pullRequest,
  PullResponse: wire.pullResponse,
  PullLine: wire.pullLine,
  FetchRequest: wire.fetchRequest,
  FetchResponse: wire.fetchResponse,
  Hello: wire.hello,
  Poke: wire.poke,
} as const;

const refTo = (name: string): Schema => ({ $ref: `#/components/schemas/${name}` });
const content = (media: string, schema: Schema): Schema => ({ content: { [media]: { schema } } });

const problem: Schema = {
  type: "object",
  required: ["type", "title", "status", "detail", "code", "hint"],
  properties: {
    type: { type: "string" },
    title: { type: "string" },
    status: { type: "integer" },
    detail: { type: "string" },
    instance: { type: "string" },
    code: { type: "string", description: "Decide by this" },
    hint: { type: "string", description: "What to do next" },
    details: { type: "object" },
  },
};

const refusal: Schema = { description: "Refused or failed", ...content("application/problem+json", refTo("Problem")) };

const protocolHeader: Schema = {
  name: "Holdfast-Protocol",
  in: "header",
  required: true,
  schema: { type: "integer", const: wire.protocolVersion },
};

/** The document of a server of this version. */
export function makeOpenApi(version: string): Document {
  const schemas = Object.fromEntries(
    Object.entries(shapes).map(([name, shape]) => {
      const { $schema: _dialect, ...schema } = z.toJSONSchema(shape, { io: "input", unrepresentable: "any" });
      return [name, schema];
    }),
  );
  const { push, pull, fetch, hello, events } = wire.routes;
  return {
    openapi: "3.1.0",
    info: {
      title: "Holdfast sync server",
      version: version === "" ? "0" : version,
      description: "Push operations, pull records by version. An error is problem+json with `code` and `hint`.",
    },
    security: [{ token: [] }],
    paths: {
      [push]: { post: post("push", "Applies operations, each all or none", ["PushRequest", "PushResponse"]) },
      [pull]: { post: withLines(post("pull", "One page of the feed", ["PullRequest", "PullResponse"])) },
      [fetch]: { post: post("fetch", "Single records as they are now", ["FetchRequest", "FetchResponse"]) },
      [hello]: {
        get: get("hello", "What this server is and what this token may do", ["application/json", refTo("Hello")]),
      },
      [events]: {
        get: {
          ...get("events", "Pokes as server-sent events; the data of each is a Poke", [
            "text/event-stream",
            refTo("Poke"),
          ]),
          parameters: [
            { name: "space", in: "query", required: true, schema: { type: "array", items: { type: "string" } } },
          ],
        },
      },
      "/health": {
        get: {
          ...get("health", "Whether the server and its database answer", ["application/json", { type: "object" }]),
          security: [{}],
        },
      },
      "/metrics": { get: get("metrics", "Metrics for Prometheus", ["text/plain", { type: "string" }]) },
      "/openapi.json": {
        get: { ...get("openapi", "This document", ["application/json", { type: "object" }]), security: [{}] },
      },
    },
    components: {
      schemas: { ...schemas, Problem: problem },
      securitySchemes: { token: { type: "http", scheme: "bearer", description: "A static token or a JSON Web Token" } },
    },
  };
}

function post(operationId: string, summary: string, [request, response]: readonly [string, string]): Schema {
  return {
    operationId,
    summary,
    parameters: [protocolHeader],
    requestBody: { required: true, ...content("application/json", refTo(request)) },
    responses: {
      "200": { description: "Answered", ...content("application/json", refTo(response)) },
      default: refusal,
    },
  };
}

/** A pull can also be answered as lines. */
function withLines(operation: Schema): Schema {
  const answered = {
    description:
      "Answered, as one page or, when `Accept` asks for application/x-ndjson, as lines of everything there is",
    content: {
      "application/json": { schema: refTo("PullResponse") },
      "application/x-ndjson": { schema: refTo("PullLine") },
    },
  };
  return { ...operation, responses: { "200": answered, default: refusal } };
}

function get(operationId: string, summary: string, [media, schema]: readonly [string, Schema]): Schema {
  return {
    operationId,
    summary,
    responses: { "200": { description: "Answered", ...content(media, schema) }, default: refusal },
  };
}
