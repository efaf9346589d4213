/** Queries about models and their versions. */
import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import { api, call, cursorOf, data } from "../api/client";
import type { Model, Version } from "../api/types";

export interface ModelPage {
  results: Model[];
  next: string | null;
}

export const modelsQuery = (words: string) =>
  infiniteQueryOptions({
    queryKey: ["models", words],
    initialPageParam: "",
    queryFn: async ({ pageParam }): Promise<ModelPage> => {
      const cursor = pageParam ? `&cursor=${encodeURIComponent(pageParam)}` : "";
      return words.trim()
        ? searchModels(words, cursor)
        : call<ModelPage>("GET", `/v1/models?limit=30${cursor}`);
    },
    getNextPageParam: (page) => cursorOf(page.next),
  });

async function searchModels(words: string, cursor: string): Promise<ModelPage> {
  const response = await fetch(new URL(`v1/models?limit=30${cursor}`, document.baseURI), {
    method: "QUERY",
    body: words,
    headers: { "Content-Type": "text/plain" },
  });
  if (!response.ok) throw new Error((await response.json()).detail);
  return response.json();
}

export const modelQuery = (owner: string, name: string) =>
  queryOptions({
    queryKey: ["model", owner, name],
    queryFn: () =>
      data(api.GET("/v1/models/{owner}/{name}", { params: { path: { owner, name } } })) as Promise<Model>,
    staleTime: 5_000,
  });

export const versionQuery = (owner: string, name: string, id: string) =>
  queryOptions({
    queryKey: ["version", owner, name, id],
    queryFn: () =>
      data(
        api.GET("/v1/models/{owner}/{name}/versions/{version_id}", {
          params: { path: { owner, name, version_id: id } },
        }),
      ) as Promise<Version>,
    staleTime: 60_000,
  });
