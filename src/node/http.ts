/**
 * Owns the way to Node's own HTTP without what an `import` of it costs: that asks for every export, and one of them answers
 * by loading undici, which takes longer than a short command does. What is said over HTTP is the matter of its users.
 */
import type * as NodeHttp from "node:http";

const http = process.getBuiltinModule("node:http");

export type Agent = NodeHttp.Agent;
export const { Agent, globalAgent, request } = http;
