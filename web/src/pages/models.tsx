/** Cards of all models that one may run. */
import { useInfiniteQuery } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { Blocks, Plus, Search } from "lucide-react";
import { useDeferredValue, useEffect, useState } from "react";
import type { Model } from "../api/types";
import { modelsQuery } from "../app/models";
import { useSession } from "../app/session";
import { ago, compact } from "../lib/format";
import { Badge, Button, buttonClass, Empty, ErrorNote, PageHeader, Skeleton } from "../ui/basics";
import { ServingBadge } from "../ui/serving-badge";

export function ModelsPage({ q = "" }: { q?: string }) {
  const [words, setWords] = useState(q);
  const wanted = useDeferredValue(words);
  const navigate = useNavigate();
  const session = useSession();
  const query = useInfiniteQuery(modelsQuery(wanted));
  useEffect(() => {
    navigate({ to: ".", search: wanted ? { q: wanted } : {}, replace: true, resetScroll: false });
  }, [wanted, navigate]);
  const models = query.data?.pages.flatMap((page) => page.results) ?? [];
  const mayAdd = session?.user?.scopes.includes("models");
  const add = mayAdd && (
    <Link to="/models/new" className={buttonClass("primary")}>
      <Plus className="size-4" aria-hidden /> Add a model
    </Link>
  );
  return (
    <>
      <PageHeader title="Models" actions={add}>
        Everything that you may run here: what is public, and your own.
      </PageHeader>
      <label className="relative mb-5 block max-w-md">
        <span className="sr-only">Search the models</span>
        <Search
          className="pointer-events-none absolute top-1/2 left-3 size-4 -translate-y-1/2 text-faint"
          aria-hidden
        />
        <input
          type="search"
          className="field pl-9"
          placeholder="Search by name or description"
          value={words}
          onChange={(event) => setWords(event.target.value)}
        />
      </label>
      <ErrorNote error={query.error} retry={() => query.refetch()} />
      {query.isPending && <ModelGridSkeleton />}
      {query.isSuccess && !models.length && (
        <div className="card">
          {wanted ? (
            <Empty icon={<Search className="size-5" />} title={`Nothing matches “${wanted}”`}>
              All the words must stand in a model's name or description.
            </Empty>
          ) : (
            <Empty icon={<Blocks className="size-5" />} title="No models yet" action={add}>
              Add one from the Hugging Face hub, a folder, or S3.
            </Empty>
          )}
        </div>
      )}
      <ModelGrid models={models} />
      {query.hasNextPage && (
        <div className="mt-5 text-center">
          <Button onClick={() => query.fetchNextPage()} busy={query.isFetchingNextPage}>
            More models
          </Button>
        </div>
      )}
    </>
  );
}

/** `heading`: of the level below what stands above the grid. */
export function ModelGrid({ models, heading = "h2" }: { models: Model[]; heading?: "h2" | "h3" }) {
  return (
    <ul className="grid gap-4 sm:grid-cols-2 xl:grid-cols-3">
      {models.map((model) => (
        <li key={model.id} className="min-w-0">
          <ModelCard model={model} Heading={heading} />
        </li>
      ))}
    </ul>
  );
}

export function ModelGridSkeleton() {
  return (
    <div className="grid gap-4 sm:grid-cols-2 xl:grid-cols-3" role="status" aria-label="Loading">
      {[0, 1, 2, 3, 4, 5].map((i) => (
        <div key={i} className="card space-y-3 p-5">
          <Skeleton className="h-5 w-1/2" />
          <Skeleton className="h-4 w-11/12" />
          <Skeleton className="h-4 w-1/3" />
        </div>
      ))}
    </div>
  );
}

function ModelCard({ model, Heading }: { model: Model; Heading: "h2" | "h3" }) {
  const version = model.latest_version;
  return (
    <Link
      to="/models/$owner/$name"
      params={{ owner: model.owner, name: model.name }}
      className="card group flex h-full flex-col p-5 transition-colors hover:border-accent"
    >
      <div className="flex items-start justify-between gap-3">
        <Heading className="wrap min-w-0 font-semibold">
          <span className="font-normal text-muted">{model.owner}/</span>
          {model.name}
        </Heading>
        {model.visibility === "private" && <Badge>private</Badge>}
      </div>
      <p className="wrap mt-1.5 line-clamp-2 flex-1 text-muted">{model.description || "No description."}</p>
      <div className="mt-4 flex flex-wrap items-center gap-2">
        {version ? (
          <ServingBadge status={version.serving.status} />
        ) : (
          <Badge tone="amber">no version yet</Badge>
        )}
        {version && <Badge>{version.task || version.runtime}</Badge>}
        <span className="hint num ml-auto">
          {model.run_count
            ? `${compact(model.run_count)} ${model.run_count === 1 ? "run" : "runs"}`
            : `added ${ago(model.created_at)}`}
        </span>
      </div>
    </Link>
  );
}
