/**
 * Owns the table of everything that can go wrong between an operation and its remote: its class, what it costs and its words.
 * What a row says is `failure-row.ts`, how an error or an answer finds its row is `failure.ts`; `failure-page.ts` writes the page from these rows.
 */
import type { FailureRow } from "./failure-row.ts";
import {
  busy,
  charged,
  conflict,
  connecting,
  disowned,
  paced,
  rejected,
  signedOut,
  unanswered,
  unsent,
} from "./failure-row.ts";

const waits = "nothing to do: it is sent again by itself";
const signIn = "give fresh credentials with `holdfast credentials set`, or sign in again; it goes on by itself";
const decide =
  "see both sides with `holdfast queue show`, then `holdfast queue resolve` with --choose local, remote or merge";
const fix = "change the operation with `holdfast queue edit`, then `holdfast queue retry`";

/** Failures without an answer. */
const network: readonly FailureRow[] = [
  unsent({
    code: "dns_not_found",
    on: ["ENOTFOUND"],
    reason: "the name was not found",
    hint: `${waits}; if it lasts, check the host's spelling`,
  }),
  unsent({
    code: "dns_unavailable",
    on: ["EAI_AGAIN", "EAI_FAIL", "EAI_NODATA", "EAI_NONAME", "ESERVFAIL", "ETIMEOUT"],
    reason: "the name could not be looked up",
    hint: waits,
  }),
  unsent({
    code: "refused",
    on: ["ECONNREFUSED"],
    reason: "the connection was refused",
    hint: `${waits}; if it lasts, check that the server runs on that port`,
  }),
  connecting({
    code: "unreachable",
    on: ["EHOSTUNREACH", "EHOSTDOWN", "ENETUNREACH", "ENETDOWN", "EADDRNOTAVAIL"],
    reason: "there is no way to the network or host",
    hint: waits,
  }),
  connecting({
    code: "timed_out_network",
    on: ["ETIMEDOUT"],
    reason: "the network gave no answer in time",
    hint: waits,
  }),
  unsent({
    code: "connect_timed_out",
    on: ["ERR_CONNECT_TIMED_OUT", "UND_ERR_CONNECT_TIMEOUT"],
    reason: "no connection was made in time",
    hint: waits,
  }),
  unsent({
    code: "out_of_sockets",
    on: ["EMFILE", "ENFILE", "ENOBUFS"],
    reason: "this machine has no connection to spare",
    hint: "close programs or raise the limit of open files",
  }),
  unsent({
    code: "certificate_expired",
    on: ["CERT_HAS_EXPIRED", "CERT_NOT_YET_VALID"],
    reason: "the certificate is not valid now",
    hint: "check this machine's clock; a sign-in page of the network may stand between; else tell the server's owner",
  }),
  unsent({
    code: "certificate_untrusted",
    on: [
      "DEPTH_ZERO_SELF_SIGNED_CERT",
      "SELF_SIGNED_CERT_IN_CHAIN",
      "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
      "UNABLE_TO_GET_ISSUER_CERT",
      "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
      "CERT_UNTRUSTED",
      "CERT_REVOKED",
      "CERT_CHAIN_TOO_LONG",
      "INVALID_CA",
      "CERT_SIGNATURE_FAILURE",
    ],
    reason: "the certificate is not trusted",
    hint: "a sign-in page of the network may stand between; for your own authority start the daemon with NODE_EXTRA_CA_CERTS",
  }),
  unsent({
    code: "certificate_of_another",
    on: ["ERR_TLS_CERT_ALTNAME_INVALID", "HOSTNAME_MISMATCH"],
    reason: "the certificate belongs to another host",
    hint: "a sign-in page of the network may stand between; else check the host's spelling",
  }),
  connecting({
    code: "tls_mismatch",
    on: [
      "ERR_SSL_WRONG_VERSION_NUMBER",
      "ERR_SSL_PACKET_LENGTH_TOO_LONG",
      "ERR_SSL_UNSUPPORTED_PROTOCOL",
      "ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION",
      "ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE",
      "ERR_SSL_TLSV1_UNRECOGNIZED_NAME",
    ],
    reason: "the two sides found no secure way to speak",
    hint: "something between may intercept, or the port speaks plain http",
  }),
  unanswered({
    code: "tls_failed",
    on: ["ERR_SSL_*", "ERR_TLS_*", "EPROTO"],
    reason: "the secure connection failed",
    hint: "nothing to do: it is sent again by itself; something between may intercept",
  }),
  unanswered({
    code: "timed_out",
    on: ["name:TimeoutError", "UND_ERR_HEADERS_TIMEOUT", "UND_ERR_BODY_TIMEOUT"],
    reason: "no answer came in time",
    hint: `${waits}; raise \`timeoutMs\` if the server needs longer`,
  }),
  unanswered({
    code: "reset",
    on: ["ECONNRESET", "ECONNABORTED", "EPIPE", "ERR_STREAM_PREMATURE_CLOSE"],
    reason: "the connection was cut",
    hint: waits,
  }),
  unanswered({
    code: "closed",
    on: ["ERR_CLOSED_EARLY", "UND_ERR_SOCKET", "UND_ERR_CLOSED", "UND_ERR_DESTROYED"],
    reason: "the connection was closed before the answer was whole",
    hint: waits,
  }),
  unanswered({
    code: "answer_cut",
    on: ["the body ends before its length", "UND_ERR_RES_CONTENT_LENGTH_MISMATCH", "Z_BUF_ERROR"],
    reason: "the answer ended in the middle",
    hint: waits,
  }),
  unanswered({
    code: "answer_undecodable",
    on: ["Z_DATA_ERROR", "ERR__ERROR_FORMAT_*", "ERR_BROTLI_*", "ERR_ZSTD_*"],
    reason: "the answer's compression is broken",
    hint: waits,
  }),
  unanswered({
    code: "not_http",
    on: ["HPE_*", "name:HTTPParserError", "UND_ERR_HEADERS_OVERFLOW"],
    reason: "what answered does not speak HTTP",
    hint: `${waits}; check port and scheme`,
  }),
  unanswered({
    code: "stopped",
    on: ["name:AbortError", "UND_ERR_ABORTED", "ABORT_ERR"],
    reason: "the attempt was stopped here",
    hint: waits,
  }),
  rejected({
    code: "blocked_port",
    on: ["a port that fetch refuses"],
    reason: "this port is never used for HTTP",
    hint: fix,
  }),
  rejected({
    code: "request_unusable",
    on: [
      "ERR_INVALID_URL",
      "ERR_INVALID_ARG_VALUE",
      "UND_ERR_INVALID_ARG",
      "ERR_INVALID_CHAR",
      "ERR_HTTP_INVALID_HEADER_VALUE",
      "ERR_INVALID_HTTP_TOKEN",
      "ERR_UNESCAPED_CHARACTERS",
      "ERR_HTTP_CONTENT_LENGTH_MISMATCH",
      "UND_ERR_REQ_CONTENT_LENGTH_MISMATCH",
    ],
    reason: "the request cannot be sent as it is",
    hint: fix,
  }),
  unanswered({ code: "no_answer", on: ["any other error"], reason: "no answer came", hint: waits }),
];

/** Answers that cannot be taken for the remote's own word. */
const doubtful: readonly FailureRow[] = [
  unanswered({
    code: "portal_page",
    on: ["HTML over plain http where none was asked for"],
    reason: "a page came instead of an answer, perhaps a network's sign-in page",
    hint: 'open a browser to sign in to the network; if the server does answer with pages, set "expect": "any"',
  }),
  unanswered({
    code: "page_instead_of_json",
    on: ["HTML where JSON was asked for"],
    reason: "a page came instead of JSON",
    hint: 'a proxy may stand between; if the server does answer with pages, set "expect": "any"',
  }),
  charged({
    code: "page_instead_of_refusal",
    on: ["a refusal as HTML over a trusted connection"],
    reason: "a page came instead of a refusal, perhaps of a proxy before the server",
    hint: 'check the URL; if the server does refuse with pages, set "expect": "any"',
  }),
  unanswered({
    code: "malformed_answer",
    on: ["a body that is not the JSON it says"],
    reason: "the answer is not the JSON that it says it is",
    hint: waits,
  }),
  unanswered({
    code: "malformed_status",
    on: ["1xx", "a status outside 100 to 599"],
    reason: "the answer has no usable status",
    hint: waits,
  }),
  unanswered({
    code: "intermediary_failed",
    on: ["a proxy that says it failed itself"],
    reason: "a proxy between answered for the server",
    hint: waits,
  }),
  unanswered({
    code: "portal_redirect",
    on: ["a redirect that cannot be told from a sign-in page"],
    reason: "something between sends elsewhere, perhaps to a sign-in page",
    hint: "open a browser to sign in to the network",
  }),
  charged({
    code: "redirect_loop",
    on: ["too many redirects"],
    reason: "the answers only send elsewhere",
    hint: "check the URL",
  }),
  charged({
    code: "redirect_downgrade",
    on: ["a redirect from https to http"],
    reason: "the server sends from https to plain http, which is not followed",
    hint: "use the URL that it redirects to, with https",
  }),
  charged({
    code: "redirect_unusable",
    on: ["3xx"],
    reason: "the server sends elsewhere but does not say where",
    hint: "check the URL",
  }),
  unanswered({
    code: "network_sign_in",
    on: ["511"],
    reason: "the network asks to sign in first",
    hint: "open a browser to sign in to the network",
  }),
  disowned({
    code: "unexpected_success",
    on: ["2xx"],
    reason: "the server accepted with a status that the operation does not count as success",
    hint: "add the status to `success`, or check the server",
  }),
  unanswered({
    code: "unproven_refusal",
    on: ["an unknown 4xx that may be of a proxy"],
    reason: "a refusal came that may not be the server's",
    hint: waits,
  }),
];

/** Refusals of the real remote, one by one. */
const refusals: readonly FailureRow[] = [
  rejected({ code: "bad_request", on: ["400"], reason: "the server finds the request malformed", hint: fix }),
  signedOut({ code: "unauthorized", on: ["401"], reason: "the server wants to know who this is", hint: signIn }),
  rejected({
    code: "payment_required",
    on: ["402"],
    reason: "the server wants a payment first",
    hint: "settle it there, then `holdfast queue retry`",
  }),
  rejected({
    code: "forbidden",
    on: ["403"],
    reason: "the server forbids it",
    hint: "ask for the permission, then `holdfast queue retry`",
  }),
  paced({
    code: "rate_limited_forbidden",
    on: ["403 with an exhausted rate limit"],
    reason: "the server's rate limit is used up",
    hint: waits,
  }),
  rejected({ code: "not_there", on: ["404"], reason: "the server does not know this address", hint: fix }),
  rejected({
    code: "method_not_allowed",
    on: ["405"],
    reason: "the server does not allow this method here",
    hint: fix,
  }),
  rejected({
    code: "not_acceptable",
    on: ["406"],
    reason: "the server cannot answer in the form asked for",
    hint: "change `accept` with `holdfast queue edit`",
  }),
  signedOut({
    code: "proxy_unauthorized",
    on: ["407"],
    reason: "a proxy wants to know who this is",
    hint: "sign in to the proxy",
  }),
  charged({
    code: "request_timed_out",
    on: ["408"],
    reason: "the server waited too long for the request",
    hint: waits,
  }),
  conflict({
    code: "conflict",
    on: ["409"],
    reason: "the server's version changed meanwhile",
    hint: decide,
  }),
  busy({
    code: "still_running",
    on: ["409 for an Idempotency-Key that is still running"],
    reason: "the server still works on an earlier attempt of this operation",
    hint: waits,
  }),
  rejected({
    code: "key_reused",
    on: ["an Idempotency-Key that was used for something else"],
    reason: "the server knows this operation's key with other content",
    hint: "it was edited after an attempt; look at the server, then retry it, which takes a new key",
  }),
  rejected({ code: "gone", on: ["410"], reason: "it is no longer there, for good", hint: fix }),
  rejected({ code: "length_required", on: ["411"], reason: "the server wants to know the length first", hint: fix }),
  conflict({
    code: "precondition_failed",
    on: ["412"],
    reason: "the server's version is not the one that was expected",
    hint: decide,
  }),
  rejected({ code: "too_large", on: ["413"], reason: "the body is too large for the server", hint: fix }),
  rejected({ code: "uri_too_long", on: ["414"], reason: "the address is too long for the server", hint: fix }),
  rejected({
    code: "media_type_refused",
    on: ["415"],
    reason: "the server does not take this content type",
    hint: fix,
  }),
  rejected({ code: "range_refused", on: ["416"], reason: "the server does not have the range asked for", hint: fix }),
  rejected({ code: "expectation_failed", on: ["417"], reason: "the server cannot meet the Expect header", hint: fix }),
  rejected({ code: "teapot", on: ["418"], reason: "the server refuses, it says it is a teapot", hint: fix }),
  charged({ code: "misdirected", on: ["421"], reason: "the connection led to the wrong server", hint: waits }),
  rejected({
    code: "unprocessable",
    on: ["422"],
    reason: "the server understood it but cannot accept the content",
    hint: fix,
  }),
  charged({ code: "locked", on: ["423"], reason: "it is locked on the server", hint: waits }),
  charged({
    code: "failed_dependency",
    on: ["424"],
    reason: "something it depends on failed on the server",
    hint: waits,
  }),
  charged({ code: "too_early", on: ["425"], reason: "the server does not take it this early", hint: waits }),
  rejected({ code: "upgrade_required", on: ["426"], reason: "the server wants another protocol", hint: fix }),
  rejected({
    code: "precondition_required",
    on: ["428"],
    reason: "the server wants a precondition",
    hint: "add an If-Match header with `holdfast queue edit`",
  }),
  paced({ code: "rate_limited", on: ["429"], reason: "the server asks for a pause", hint: waits }),
  rejected({ code: "headers_too_large", on: ["431"], reason: "the headers are too large for the server", hint: fix }),
  rejected({
    code: "legal_reasons",
    on: ["451"],
    reason: "the server refuses for legal reasons",
    hint: "ask the server's owner",
  }),
  rejected({ code: "refused_by_server", on: ["4xx"], reason: "the server refused it", hint: fix }),
];

/** The remote's own failures. */
const serverErrors: readonly FailureRow[] = [
  charged({ code: "server_error", on: ["500"], reason: "the server failed", hint: waits }),
  charged({ code: "not_implemented", on: ["501"], reason: "the server cannot do this", hint: "check method and URL" }),
  charged({ code: "bad_gateway", on: ["502"], reason: "the server's gateway got no good answer", hint: waits }),
  charged({ code: "unavailable", on: ["503"], reason: "the server is not available", hint: waits }),
  paced({
    code: "unavailable_until",
    on: ["503 with Retry-After"],
    reason: "the server is not available and names a time",
    hint: waits,
  }),
  charged({ code: "gateway_timed_out", on: ["504"], reason: "the server's gateway waited too long", hint: waits }),
  charged({
    code: "http_version_refused",
    on: ["505"],
    reason: "the server does not speak this HTTP version",
    hint: waits,
  }),
  charged({ code: "insufficient_storage", on: ["507"], reason: "the server has no room", hint: waits }),
  charged({ code: "loop_detected", on: ["508"], reason: "the server found a loop in itself", hint: waits }),
  charged({ code: "server_failed", on: ["5xx"], reason: "the server failed", hint: waits }),
];

/** What arises on this machine before anything is sent. */
const local: readonly FailureRow[] = [
  signedOut({
    code: "credential_missing",
    on: ["a credential that is not there"],
    reason: "the named credential is not there yet",
    hint: "add it with `holdfast credentials set`; it goes on by itself",
  }),
  signedOut({
    code: "credential_refused",
    on: ["a credential that may not go to this origin"],
    reason: "the named credential may not go to this origin",
    hint: "allow the origin with `holdfast credentials set`, or change the operation",
  }),
  signedOut({ code: "token_failed", on: ["a token function throws"], reason: "no token could be had", hint: signIn }),
  rejected({
    code: "file_missing",
    on: ["a captured body that is not there"],
    reason: "the captured body is not there any more",
    hint: "queue the operation again",
  }),
];

const askOwner =
  "ask the server's owner; everything here stays readable, and `holdfast queue export` takes unsent work along";

/** What a sync server says about a whole request: nothing of it is a verdict on any one operation. */
const sync: readonly FailureRow[] = [
  signedOut({
    code: "token_missing",
    on: ["401 token_missing"],
    reason: "the sync server wants a token",
    hint: signIn,
  }),
  signedOut({
    code: "token_invalid",
    on: ["401 token_invalid"],
    reason: "the sync server does not know this token",
    hint: signIn,
  }),
  signedOut({ code: "token_expired", on: ["401 token_expired"], reason: "the token has expired", hint: signIn }),
  signedOut({ code: "token_revoked", on: ["403 token_revoked"], reason: "the token was revoked", hint: askOwner }),
  signedOut({
    code: "account_suspended",
    on: ["403 account_suspended"],
    reason: "the account is suspended",
    hint: askOwner,
  }),
  signedOut({
    code: "space_forbidden",
    on: ["403 space_forbidden", "any other 403 of a sync server"],
    reason: "this token may not use the space",
    hint: askOwner,
  }),
  paced({
    code: "protocol_unsupported",
    on: ["426 of a sync server, or protocol_unsupported"],
    reason: "the sync server speaks other versions of the protocol",
    hint: "update Holdfast here or there; what is unsent stays and goes on by itself",
  }),
  paced({
    code: "not_offered",
    on: ["501 not_offered"],
    reason: "the sync server does not offer this",
    hint: "update the server; what is unsent stays and goes on by itself",
  }),
  paced({
    code: "not_a_sync_server",
    on: ["any other refusal of a whole request"],
    reason: "what answers at this address is no sync server, or refuses to be one",
    hint: "check `url` under [sync] in config.toml; what is unsent stays and goes on by itself",
  }),
  unanswered({
    code: "answer_too_large",
    on: ["an answer beyond the limit"],
    reason: "the answer is larger than a sync server may send",
    hint: waits,
  }),
];

/** Every row, in the order of the documentation. */
export const failureTable: readonly FailureRow[] = [
  ...network,
  ...doubtful,
  ...refusals,
  ...serverErrors,
  ...local,
  ...sync,
];

/** The parts of the table, for its documentation. */
export const failureParts = { network, doubtful, refusals, serverErrors, local, sync } as const;
