/** The public API, typed by the committed openapi.json; where it is, is where the page came from. */
import createClient from "openapi-fetch";
import type { components, paths } from "./schema";

export type Schemas = components["schemas"];

/** Of the app, with a slash at its end; PUBLIC_URL may put it below a path. */
export const BASE = new URL(document.baseURI);
export const BASE_PATH = BASE.pathname.replace(/\/+$/, "");

/** What the API answered instead of a result, or that it did not answer. */
export class ApiProblem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    detail: string,
    readonly fields: { field: string; description: string }[] = [],
    readonly retryAfter: number | null = null,
  ) {
    super(detail);
  }

  get isOffline(): boolean {
    return this.status === 0;
  }
}

export const OFFLINE = "Lovage does not answer. It may be restarting; this page tries again by itself.";

async function reach(request: Request): Promise<Response> {
  try {
    return await fetch(request);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiProblem(0, "offline", OFFLINE);
  }
}

export const api = createClient<paths>({
  baseUrl: `${BASE.origin}${BASE_PATH}`,
  fetch: reach,
  credentials: "same-origin",
});

// biome-ignore lint/suspicious/noExplicitAny: whatever the server says
export function problemOf(response: Response, body: any): ApiProblem {
  const retry = Number(response.headers.get("retry-after"));
  return new ApiProblem(
    response.status,
    body?.code ?? "unknown",
    body?.detail ?? `The server answered ${response.status}.`,
    body?.invalid_fields ?? [],
    retry || null,
  );
}

/** The data of an answer; raises ApiProblem for any other. */
export async function data<T>(call: Promise<{ data?: T; error?: unknown; response: Response }>): Promise<T> {
  const { data, error, response } = await call;
  if (!response.ok) throw problemOf(response, error);
  return data as T;
}

/** A URL of the API as this page reaches it, whatever host the server believes to have. */
export function here(url: string): string {
  const at = url.indexOf("/v1/");
  return at < 0 ? url : `${BASE.origin}${BASE_PATH}${url.slice(at)}`;
}

/** Whether a file lies on this very server, so that showing it tells nobody else who looks. */
export function isOwn(url: string): boolean {
  return url.startsWith("data:") || url.startsWith("blob:") || /\/v1\/files\//.test(url);
}

/** The next page of a list, by the whole URL that the API gives. */
export function cursorOf(next: string | null | undefined): string | undefined {
  return next ? (new URL(next).searchParams.get("cursor") ?? undefined) : undefined;
}

/** What openapi.json does not describe: sign-in, and raw bodies. */
export async function call<T>(method: string, path: string, body?: unknown): Promise<T> {
  const response = await reach(
    new Request(`${BASE.origin}${BASE_PATH}${path}`, {
      method,
      credentials: "same-origin",
      headers: body === undefined || body instanceof FormData ? {} : { "Content-Type": "application/json" },
      body: body === undefined ? null : body instanceof FormData ? body : JSON.stringify(body),
    }),
  );
  const text = await response.text();
  const json = text ? JSON.parse(text) : undefined;
  if (!response.ok) throw problemOf(response, json);
  return json as T;
}
