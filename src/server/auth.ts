/**
 * Owns who a request comes from: static tokens and JSON Web Tokens become a subject with spaces and roles, or a refusal that machines can read.
 * The tables are `tokens.ts`; what a role may do is `collections.ts`.
 */
import type { JSONWebKeySet, JWTPayload, JWTVerifyGetKey, JWTVerifyOptions } from "jose";
import { createLocalJWKSet, createRemoteJWKSet, errors, jwtVerify } from "jose";
import { isKeepable } from "../json.ts";
import { checkOptions } from "../misuse.ts";
import type { Core } from "./core.ts";
import type { Refusal } from "./problem.ts";
import { refuse } from "./problem.ts";
import type { Grant } from "./tokens.ts";
import { findSuspension, findToken } from "./tokens.ts";

/** What a token opens. */
export type Access = {
  readonly subject: string;
  readonly spaces: readonly Grant[];
  /** Names the token for limits; it opens nothing. */
  readonly tokenId: string;
  readonly expiresAt: number | null;
};

export type JwtOptions = {
  /** Where the issuer publishes its keys; or the keys themselves. */
  readonly jwks: string | JSONWebKeySet;
  readonly issuer: string;
  readonly audience: string;
  /** Signature algorithms that are accepted. Default: the asymmetric ones. */
  readonly algorithms?: readonly string[];
  /** Seconds by which the issuer's clock may differ. Default 30. */
  readonly clockToleranceS?: number;
  /**
   * Reads the spaces out of the claims. Default: `spaces`, a list of names or an object of name to roles, with the roles of `roles`.
   * Must be pure.
   */
  readonly spaces?: (claims: JWTPayload) => readonly Grant[];
};

export type AuthOptions = {
  /** Accept the static tokens of the store. Default true. */
  readonly tokens?: boolean;
  readonly jwt?: JwtOptions;
};

export type Verdict =
  | { readonly kind: "granted"; readonly access: Access }
  | { readonly kind: "refused"; readonly refusal: Refusal };

export type Authenticate = (authorization: string | null) => Promise<Verdict>;

const asymmetric = [
  "RS256",
  "RS384",
  "RS512",
  "PS256",
  "PS384",
  "PS512",
  "ES256",
  "ES384",
  "ES512",
  "EdDSA",
  "Ed25519",
];
const jwtShape = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*$/;
const longestToken = 8_192;

export function makeAuth(core: Core, options: AuthOptions): Authenticate {
  checkAuth(options);
  const keys = options.jwt === undefined ? null : keySetOf(options.jwt.jwks);
  return async (authorization) => {
    const token = bearerOf(authorization);
    if (token === null)
      return refused("token_missing", "this request names no token", "send `Authorization: Bearer <token>`");
    if (token.length > longestToken) return invalid();
    if (options.jwt !== undefined && keys !== null && jwtShape.test(token))
      return judgeJwt(core, { options: options.jwt, keys, token });
    return options.tokens === false ? invalid() : judgeStatic(core, token);
  };
}

const jwtOptions = ["jwks", "issuer", "audience", "algorithms", "clockToleranceS", "spaces"];

/** What is left out or misspelt is not checked by the library, which would let everybody in whom the same issuer knows. */
export function checkAuth(options: AuthOptions): void {
  checkOptions("auth", options, ["tokens", "jwt"]);
  const { tokens, jwt } = options;
  if (tokens !== undefined && typeof tokens !== "boolean")
    throw new TypeError(`auth: tokens must be true or false; got ${JSON.stringify(tokens)}`);
  if (jwt !== undefined) checkJwt(jwt);
  else if (tokens === false) throw new TypeError("auth: nobody could come in; name jwt, or leave tokens on");
}

function checkJwt(jwt: { readonly [K in keyof JwtOptions]: unknown }): void {
  checkOptions("auth.jwt", jwt, jwtOptions);
  const { jwks, algorithms, clockToleranceS, spaces } = jwt;
  for (const name of ["issuer", "audience"] as const)
    if (typeof jwt[name] !== "string" || jwt[name] === "") throw new TypeError(`auth.jwt: ${name} must be named`);
  const isAddress = typeof jwks === "string" && URL.canParse(jwks) && /^https?:/i.test(jwks);
  if (!isAddress && !Array.isArray((jwks as Partial<JSONWebKeySet> | null | undefined)?.keys))
    throw new TypeError(`auth.jwt: jwks must be the address of a key set, or one; got ${JSON.stringify(jwks)}`);
  const areTexts = Array.isArray(algorithms) && algorithms.length > 0 && algorithms.every((x) => typeof x === "string");
  if (algorithms !== undefined && !areTexts)
    throw new TypeError(`auth.jwt: algorithms must be a list such as ["ES256"]; got ${JSON.stringify(algorithms)}`);
  if (clockToleranceS !== undefined && !(Number.isFinite(clockToleranceS) && (clockToleranceS as number) >= 0))
    throw new TypeError(
      `auth.jwt: clockToleranceS must be a number of seconds; got ${JSON.stringify(clockToleranceS)}`,
    );
  if (spaces !== undefined && typeof spaces !== "function")
    throw new TypeError("auth.jwt: spaces must be a function of the claims");
}

function bearerOf(authorization: string | null): string | null {
  const match = /^Bearer +([^\s]+) *$/i.exec(authorization ?? "");
  return match?.[1] ?? null;
}

const refused = (...parts: Parameters<typeof refuse>): Verdict => ({ kind: "refused", refusal: refuse(...parts) });

const invalid = (): Verdict =>
  refused("token_invalid", "this server does not know the token", "sign in again, or ask for a new token");

const expired = (): Verdict =>
  refused("token_expired", "the token has expired", "refresh it and send the request again");

function suspended(subject: string, reason: string): Verdict {
  const words = reason === "" ? "" : `: ${reason}`;
  const hint = "what is unsent stays on this device; `holdfast queue export` writes it to a file";
  return refused("account_suspended", `the account ${subject} is suspended${words}`, hint, {
    details: { subject, reason },
  });
}

async function judgeStatic(core: Core, text: string): Promise<Verdict> {
  const hash = await core.hash(text);
  const found = await findToken(core.store, hash);
  if (found === null || !isEqual(found.token.hash, hash)) return invalid();
  const { id, subject, spaces, expiresAt, revokedAt } = found.token;
  if (revokedAt !== null)
    return refused("token_revoked", `the token ${id} was revoked`, "ask whoever runs the server for a new one", {
      details: { subject },
    });
  if (expiresAt !== null && expiresAt <= core.now()) return expired();
  if (found.suspension !== null) return suspended(subject, found.suspension);
  return { kind: "granted", access: { subject, spaces, tokenId: id, expiresAt } };
}

/** Compares in a time that does not depend on where two texts differ. */
function isEqual(a: string, b: string): boolean {
  let difference = a.length ^ b.length;
  for (let index = 0; index < a.length; index += 1) difference |= a.charCodeAt(index) ^ (b.charCodeAt(index) || 0);
  return difference === 0;
}

type KeySet = JWTVerifyGetKey & {
  /** True for a while after the keys were fetched: an issuer is not asked again for every key that it does not have. */
  readonly coolingDown?: boolean;
};

const keySetOf = (jwks: string | JSONWebKeySet): KeySet =>
  typeof jwks === "string" ? createRemoteJWKSet(new URL(jwks)) : createLocalJWKSet(jwks);

type Judged = { readonly options: JwtOptions; readonly keys: KeySet; readonly token: string };

async function judgeJwt(core: Core, { options, keys, token }: Judged): Promise<Verdict> {
  let claims: JWTPayload;
  const wasCooling = keys.coolingDown === true;
  try {
    claims = await verify(token, keys, {
      issuer: options.issuer,
      audience: options.audience,
      algorithms: [...(options.algorithms ?? asymmetric)],
      clockTolerance: options.clockToleranceS ?? 30,
      currentDate: new Date(core.now()),
      requiredClaims: ["sub", "exp"],
    });
  } catch (error) {
    // The issuer may have changed its keys since they were fetched.
    return wasCooling && error instanceof errors.JWKSNoMatchingKey ? keyUnknown() : judgeFailure(core, error);
  }
  // The library checks that it is there, not that it is a text.
  const subject: unknown = claims.sub;
  if (typeof subject !== "string" || subject === "" || !isKeepable(subject)) return invalid();
  const suspension = await findSuspension(core.store, subject);
  if (suspension !== null) return suspended(subject, suspension);
  const spaces = options.spaces === undefined ? spacesOf(claims) : options.spaces(claims);
  const expiresAt = claims.exp === undefined ? null : claims.exp * 1_000;
  return { kind: "granted", access: { subject, spaces, tokenId: `jwt:${subject}`, expiresAt } };
}

/** A token need not name its key; then each of the issuer's that fits may be the one. */
async function verify(token: string, keys: KeySet, checks: JWTVerifyOptions): Promise<JWTPayload> {
  try {
    return (await jwtVerify(token, keys, checks)).payload;
  } catch (error) {
    if (!(error instanceof errors.JWKSMultipleMatchingKeys)) throw error;
    for await (const key of error) {
      try {
        return (await jwtVerify(token, key, checks)).payload;
      } catch (each) {
        if (!(each instanceof errors.JWSSignatureVerificationFailed)) throw each;
      }
    }
    throw error;
  }
}

const keyUnknown = (): Verdict =>
  refused("io_failed", "the key that signed the token is not known yet", "try again in a moment", {
    headers: { "retry-after": "30" },
  });

/** Keys that cannot be had say nothing about the token: whoever sent it tries again and is not signed out. */
function judgeFailure(core: Core, error: unknown): Verdict {
  if (error instanceof errors.JWTExpired) return expired();
  const isOurs =
    error instanceof errors.JWKSTimeout || error instanceof errors.JWKSInvalid || !(error instanceof errors.JOSEError);
  const isUnreachable = isOurs || error.code === "ERR_JOSE_GENERIC";
  if (!isUnreachable) return invalid();
  core.log({ level: "error", message: "the keys of the token issuer cannot be had", error: String(error) });
  return refused("io_failed", "the token cannot be checked now", "try again in a moment", {
    headers: { "retry-after": "5" },
  });
}

function spacesOf(claims: JWTPayload): readonly Grant[] {
  const roles = textsOf(claims.roles);
  const { spaces } = claims;
  if (Array.isArray(spaces)) return textsOf(spaces).map((space) => ({ space, roles }));
  if (typeof spaces !== "object" || spaces === null) return [];
  return Object.entries(spaces).map(([space, own]) => ({ space, roles: [...new Set([...roles, ...textsOf(own)])] }));
}

const textsOf = (value: unknown): readonly string[] =>
  Array.isArray(value) ? value.filter((each) => typeof each === "string") : typeof value === "string" ? [value] : [];
