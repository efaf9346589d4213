/** A model: playground, API, versions, readme, statistics, and what its owner may do to it. */
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { History, PackageOpen, Plus, Power, PowerOff, Trash2 } from "lucide-react";
import { useState } from "react";
import { ApiProblem, api, call, data } from "../api/client";
import type { Model, Schema, Version } from "../api/types";
import { modelQuery, versionQuery } from "../app/models";
import { type Session, useSession } from "../app/session";
import { ago, compact, count, moment, plural, seconds } from "../lib/format";
import { resolve, schemas } from "../lib/schema-form";
import {
  Badge,
  Button,
  buttonClass,
  Confirm,
  CopyButton,
  Described,
  Empty,
  ErrorNote,
  Facts,
  Loading,
  Section,
  Skeleton,
  Switch,
} from "../ui/basics";
import { Area } from "../ui/fields";
import { JsonTree } from "../ui/json-tree";
import { Markdown } from "../ui/markdown";
import { ServingBadge } from "../ui/serving-badge";
import { Tabs } from "../ui/tabs";
import { toast, toastError } from "../ui/toasts";
import { ApiTab } from "./model-api";
import { Playground, type RunSearch } from "./playground";

export type ModelTab = "playground" | "schema" | "versions" | "readme" | "stats" | "api" | "manage";
export interface ModelSearch extends RunSearch {
  tab?: ModelTab;
}

export function ModelPage({ owner, name, search }: { owner: string; name: string; search: ModelSearch }) {
  const session = useSession();
  const navigate = useNavigate();
  const query = useQuery({ ...modelQuery(owner, name), refetchInterval: 15_000 });
  const pinned = useQuery({
    ...versionQuery(owner, name, search.version ?? ""),
    enabled: Boolean(search.version),
  });
  const model = query.data;
  if (query.isPending) return <ModelSkeleton />;
  if (!model) return <NoModel owner={owner} name={name} error={query.error} retry={() => query.refetch()} />;
  const version = search.version ? pinned.data : model.latest_version;
  const own = session?.user && (session.user.username === owner || session.user.is_admin);
  const open = (tab: ModelTab) =>
    navigate({
      to: ".",
      search: (old: Record<string, unknown>) => ({ ...old, tab: tab === "playground" ? undefined : tab }),
    });
  const content = {
    playground: version ? (
      <Playground key={version.id} model={model} version={version} search={search} />
    ) : search.version && pinned.isPending ? (
      <Loading />
    ) : (
      <NoVersion error={pinned.error} />
    ),
    schema: version ? <SchemaTab version={version} /> : <NoVersion />,
    versions: <VersionsTab model={model} own={Boolean(own)} />,
    readme: <ReadmeTab model={model} own={Boolean(own)} />,
    stats: version ? <StatsTab model={model} version={version} own={Boolean(own)} /> : <NoVersion />,
    api: version ? (
      <ApiTab model={model} version={version} pinned={Boolean(search.version)} />
    ) : (
      <NoVersion />
    ),
    manage: <ManageTab model={model} session={session} />,
  };
  const tabs: [ModelTab, string][] = [
    ["playground", "Playground"],
    ["schema", "Schema"],
    ["versions", "Versions"],
    ["readme", "Readme"],
    ["stats", "Stats"],
    ["api", "API"],
  ];
  if (own) tabs.push(["manage", "Manage"]);
  return (
    <>
      <header className="mb-4">
        <div className="flex flex-wrap items-center gap-x-3 gap-y-2">
          <h1 className="wrap text-[1.6rem] font-semibold leading-tight tracking-tight">
            <span className="font-normal text-muted">{model.owner}/</span>
            {model.name}
          </h1>
          <CopyButton text={model.id} name="Copy the name" />
          <div className="flex flex-wrap items-center gap-2">
            {model.visibility === "private" && <Badge>private</Badge>}
            {version && <ServingBadge status={version.serving.status} />}
            {version && <Badge>{version.task || version.runtime}</Badge>}
            {search.version && <Badge tone="blue">version {search.version.slice(0, 8)}</Badge>}
          </div>
        </div>
        <p className="wrap mt-1 max-w-3xl text-muted">
          {model.description || "No description."}
          {model.run_count > 0 && (
            <span className="text-faint">
              {" "}
              · {compact(model.run_count)} {model.run_count === 1 ? "run" : "runs"}
            </span>
          )}
        </p>
        {version?.serving.reason && version.serving.status !== "loaded" && (
          <div className="mt-3 max-w-3xl">
            <ErrorNote error={version.serving.reason} />
          </div>
        )}
      </header>
      <Tabs
        label="About this model"
        value={search.tab ?? "playground"}
        onChange={open}
        tabs={tabs.map(([value, label]) => ({ value, label, content: content[value] }))}
      />
    </>
  );
}

function ModelSkeleton() {
  return (
    <div role="status" aria-label="Loading" className="space-y-4">
      <Skeleton className="h-8 w-64" />
      <Skeleton className="h-5 w-96 max-w-full" />
      <div className="grid gap-5 pt-6 lg:grid-cols-2">
        <Skeleton className="h-80 w-full" />
        <Skeleton className="h-80 w-full" />
      </div>
    </div>
  );
}

function NoModel({
  owner,
  name,
  error,
  retry,
}: {
  owner: string;
  name: string;
  error: unknown;
  retry: () => void;
}) {
  if (!(error instanceof ApiProblem && error.status === 404))
    return <ErrorNote error={error} retry={retry} />;
  return (
    <div className="card">
      <h1 className="sr-only">Model</h1>
      <Empty
        icon={<PackageOpen className="size-5" />}
        title={`There is no model ${owner}/${name}`}
        action={
          <Link to="/models" className={buttonClass()}>
            All models
          </Link>
        }
      >
        Its name may be misspelled, or it is somebody's private model.
      </Empty>
    </div>
  );
}

function NoVersion({ error }: { error?: unknown }) {
  if (error) return <ErrorNote error={error} />;
  return (
    <div className="card">
      <Empty icon={<PackageOpen className="size-5" />} title="This model has no version yet">
        A version says where the files are. Its owner can add one under Manage.
      </Empty>
    </div>
  );
}

function SchemaTab({ version }: { version: Version }) {
  const all = schemas(version);
  const properties = Object.entries(all.Input?.properties ?? {});
  const required = new Set(all.Input?.required ?? []);
  return (
    <div className="space-y-5">
      <Section title="Input">
        <ul className="-my-3 divide-y">
          {properties.map(([name, raw]) => (
            <Property key={name} name={name} schema={resolve(raw, all)} required={required.has(name)} />
          ))}
        </ul>
      </Section>
      <Section title="Output">
        <JsonTree value={(all.Output ?? {}) as never} />
      </Section>
    </div>
  );
}

function Property({ name, schema, required }: { name: string; schema: Schema; required: boolean }) {
  const bounds = [
    schema.minimum !== undefined && `from ${count(schema.minimum)}`,
    schema.maximum !== undefined && `to ${count(schema.maximum)}`,
    schema.maxLength !== undefined && `at most ${count(schema.maxLength)} characters`,
    schema.maxItems !== undefined && `at most ${count(schema.maxItems)} items`,
    schema.enum && `one of ${schema.enum.join(", ")}`,
    schema.default !== undefined && `default ${JSON.stringify(schema.default)}`,
  ].filter(Boolean);
  return (
    <li className="py-3">
      <p className="flex flex-wrap items-center gap-2">
        <code className="font-mono font-medium">{name}</code>
        <Badge>{schema.format === "uri" ? "file or URL" : (schema.type ?? "any")}</Badge>
        {required && <Badge tone="amber">needed</Badge>}
      </p>
      {schema.description && (
        <p className="mt-1 text-muted">
          <Described text={schema.description} />
        </p>
      )}
      {bounds.length > 0 && <p className="hint num wrap">{bounds.join(" · ")}</p>}
    </li>
  );
}

function VersionsTab({ model, own }: { model: Model; own: boolean }) {
  const { owner, name } = model;
  const client = useQueryClient();
  const [asked, setAsked] = useState<Version>();
  const versions = useQuery({
    queryKey: ["versions", owner, name],
    queryFn: () =>
      data(api.GET("/v1/models/{owner}/{name}/versions", { params: { path: { owner, name } } })) as Promise<{
        results: Version[];
      }>,
  });
  const makeCurrent = useMutation({
    mutationFn: (version: Version) =>
      call("POST", `/v1/models/${owner}/${name}/versions/${version.id}/current`),
    onSuccess: (_, version) => {
      setAsked(undefined);
      client.invalidateQueries({ queryKey: ["model", owner, name] });
      toast(`${model.id} now runs version ${version.id.slice(0, 8)}.`);
    },
  });
  if (versions.error) return <ErrorNote error={versions.error} retry={() => versions.refetch()} />;
  if (!versions.data) return <Loading />;
  if (!versions.data.results.length) return <NoVersion />;
  const newest = model.latest_version?.id;
  const made = model.latest_version?.created_at ?? "";
  return (
    <ul className="card divide-y">
      {own && (
        <li className="px-5 py-3 text-muted">
          Who calls <code className="font-mono">{model.id}</code> gets the current version. To go back to an
          older one, make it the current one; a new version is added under Manage.
        </li>
      )}
      {versions.data.results.map((version) => (
        <li key={version.id} className="flex flex-wrap items-center gap-x-4 gap-y-2 px-5 py-4">
          <div className="min-w-0 flex-1 basis-64">
            <p className="flex flex-wrap items-center gap-2">
              <code className="font-mono font-medium">{version.id.slice(0, 12)}</code>
              <CopyButton text={version.id} name="Copy the id" />
              {version.id === newest && <Badge tone="green">current</Badge>}
              <ServingBadge status={version.serving.status} />
            </p>
            <p className="hint wrap mt-0.5">
              {version.source !== "none" && `${version.source} · `}
              {version.runtime}
              {version.task && ` · ${version.task}`} · made {ago(version.created_at)}
              {Object.keys(version.config).length > 0 && ` · ${JSON.stringify(version.config)}`}
            </p>
          </div>
          <div className="flex flex-wrap gap-2">
            <Link
              to="/models/$owner/$name"
              params={{ owner, name }}
              search={version.id === newest ? {} : { version: version.id }}
              className="inline-flex min-h-8 items-center rounded-lg border border-strong/50 px-2.5 text-[0.87rem] font-medium hover:bg-hover"
            >
              Try it
            </Link>
            {own && version.id !== newest && (
              <Button small onClick={() => setAsked(version)}>
                <History className="size-4" aria-hidden />
                {version.created_at < made ? "Roll back to this" : "Make current"}
              </Button>
            )}
          </div>
        </li>
      ))}
      <Confirm
        open={Boolean(asked)}
        title={
          asked && asked.created_at < made
            ? "Roll back to this version?"
            : "Make this version the current one?"
        }
        action={asked && asked.created_at < made ? "Roll back" : "Make it current"}
        keep="Leave it as it is"
        busy={makeCurrent.isPending}
        error={makeCurrent.error}
        onClose={() => setAsked(undefined)}
        onConfirm={() => asked && makeCurrent.mutate(asked)}
      >
        From now on <code className="font-mono">{model.id}</code> runs version{" "}
        <code className="font-mono">{asked?.id.slice(0, 12)}</code> (made {moment(asked?.created_at)}). What
        runs already is not touched, and the version of now stays in this list: you can go back the same way.
      </Confirm>
    </ul>
  );
}

function ReadmeTab({ model, own }: { model: Model; own: boolean }) {
  const { owner, name } = model;
  const client = useQueryClient();
  const [draft, setDraft] = useState<string>();
  const readme = useQuery({
    queryKey: ["readme", owner, name],
    queryFn: async () => {
      const answer = await fetch(new URL(`v1/models/${owner}/${name}/readme`, document.baseURI));
      if (!answer.ok) throw new Error("The readme could not be read.");
      return answer.text();
    },
  });
  const save = useMutation({
    mutationFn: (text: string) => call("PATCH", `/v1/models/${owner}/${name}`, { readme: text }),
    onSuccess: (_, text) => {
      client.setQueryData(["readme", owner, name], text);
      setDraft(undefined);
      toast("The readme is saved.");
    },
  });
  if (readme.error) return <ErrorNote error={readme.error} retry={() => readme.refetch()} />;
  if (readme.isPending) return <Loading />;
  const edit = (
    <Button small onClick={() => setDraft(readme.data || `# ${model.name}\n\n`)}>
      {readme.data ? "Edit" : "Write one"}
    </Button>
  );
  if (draft !== undefined)
    return (
      <div className="grid gap-4 lg:grid-cols-2">
        <div>
          <Area
            aria-label="Readme in Markdown"
            rows={16}
            most={900}
            className="font-mono text-[0.87rem]"
            value={draft}
            onChange={setDraft}
          />
          <div className="mt-3 flex gap-2">
            <Button tone="primary" busy={save.isPending} onClick={() => save.mutate(draft)}>
              Save
            </Button>
            <Button onClick={() => setDraft(undefined)}>Discard</Button>
          </div>
          <div className="mt-3">
            <ErrorNote error={save.error} />
          </div>
        </div>
        <div className="card p-5">
          <Markdown text={draft} />
        </div>
      </div>
    );
  return (
    <div className="card p-5">
      {own && readme.data && <div className="float-right">{edit}</div>}
      {readme.data ? (
        <Markdown text={readme.data} />
      ) : (
        <Empty icon={<PackageOpen className="size-5" />} title="No readme" action={own && edit}>
          What the model is for, what it was trained on, where it fails.
        </Empty>
      )}
    </div>
  );
}

interface Stats {
  predictions: number;
  complete: boolean;
  statuses: Record<string, number>;
  errors: Record<string, number>;
  per_second: number;
  seconds: Record<string, { p50: number; p95: number; p99: number } | null>;
  batches: { mean_size: number | null };
  padding: { mean: number | null };
}

function StatsTab({ model, version, own }: { model: Model; version: Version; own: boolean }) {
  const [window, setWindow] = useState("1h");
  const stats = useQuery({
    queryKey: ["stats", version.id, window],
    queryFn: () => call<Stats>("GET", `/v1/models/${model.id}/versions/${version.id}/stats?window=${window}`),
    enabled: own,
  });
  if (!own)
    return <p className="text-muted">The statistics of a model are for its owner and administrators.</p>;
  const found = stats.data;
  return (
    <div className="space-y-5">
      <div className="flex gap-1" role="radiogroup" aria-label="How far back">
        {["15m", "1h", "1d", "7d"].map((each) => (
          <button
            key={each}
            type="button"
            role="radio"
            aria-checked={window === each}
            onClick={() => setWindow(each)}
            className={`min-h-8 rounded-lg px-3 font-medium ${window === each ? "bg-soft text-on-soft" : "text-muted hover:bg-hover"}`}
          >
            {each}
          </button>
        ))}
      </div>
      <ErrorNote error={stats.error} retry={() => stats.refetch()} />
      {stats.isPending && <Loading />}
      {found && !found.predictions && (
        <div className="card">
          <Empty icon={<History className="size-5" />} title="Nothing has run in this time">
            Choose a longer time, or run it once.
          </Empty>
        </div>
      )}
      {found && found.predictions > 0 && (
        <div className="grid gap-5 lg:grid-cols-2">
          <Section title="Where the time went" hint={`Of ${plural(found.predictions, "prediction")}`}>
            <table className="num w-full text-right">
              <thead className="text-muted">
                <tr>
                  <th className="pb-1 text-left font-medium">phase</th>
                  <th className="pb-1 font-medium">p50</th>
                  <th className="pb-1 font-medium">p95</th>
                  <th className="pb-1 font-medium">p99</th>
                </tr>
              </thead>
              <tbody>
                {Object.entries(found.seconds).map(
                  ([phase, values]) =>
                    values && (
                      <tr key={phase} className="border-t">
                        <td className="py-1.5 text-left">{phase.replace("_", " ")}</td>
                        <td>{seconds(values.p50)}</td>
                        <td>{seconds(values.p95)}</td>
                        <td>{seconds(values.p99)}</td>
                      </tr>
                    ),
                )}
              </tbody>
            </table>
          </Section>
          <Section title="How it ended">
            <Facts
              rows={[
                ...Object.entries(found.statuses).map(
                  ([status, n]) => [status, count(n)] as [string, string],
                ),
                ...Object.entries(found.errors).map(
                  ([code, n]) => [`failed: ${code}`, count(n)] as [string, string],
                ),
                ["per second", found.per_second.toFixed(2)],
                ["mean batch", found.batches.mean_size?.toFixed(1) ?? "–"],
                ["padding", found.padding.mean === null ? "–" : `${(found.padding.mean * 100).toFixed(1)} %`],
              ]}
            />
          </Section>
        </div>
      )}
    </div>
  );
}

interface Routing {
  queue: string;
  strategy: string;
  reasons: string[];
  candidates:
    | {
        worker: string;
        loaded: boolean;
        score: number | null;
        reason: string;
        waiting: number;
        running: number;
        slots: number;
        seconds: number | null;
      }[]
    | null;
}

function ManageTab({ model, session }: { model: Model; session: Session | undefined }) {
  const { owner, name } = model;
  const client = useQueryClient();
  const navigate = useNavigate();
  const [description, setDescription] = useState(model.description ?? "");
  const [removing, setRemoving] = useState(false);
  const refresh = () => client.invalidateQueries({ queryKey: ["model", owner, name] });
  const change = useMutation({
    mutationFn: (body: Record<string, unknown>) => call("PATCH", `/v1/models/${owner}/${name}`, body),
    onSuccess: () => {
      refresh();
      client.invalidateQueries({ queryKey: ["models"] });
      toast("Saved.");
    },
  });
  const remove = useMutation({
    mutationFn: () => call("DELETE", `/v1/models/${owner}/${name}`),
    onSuccess: () => {
      client.invalidateQueries({ queryKey: ["models"] });
      toast(`${model.id} is deleted.`);
      navigate({ to: "/models" });
    },
  });
  return (
    <div className="grid gap-5 lg:grid-cols-2">
      <Section title="About it">
        <form
          className="space-y-4"
          onSubmit={(event) => {
            event.preventDefault();
            change.mutate({ description });
          }}
        >
          <label className="block">
            <span className="label">Description</span>
            <Area className="mt-1.5" rows={2} value={description} onChange={setDescription} />
          </label>
          <div className="flex items-center justify-between gap-4">
            <div>
              <p className="label" id="visibility">
                Public
              </p>
              <p className="hint">Everybody with an account here may see and run it.</p>
            </div>
            <Switch
              label="Public"
              checked={model.visibility === "public"}
              onChange={(open) => change.mutate({ visibility: open ? "public" : "private" })}
            />
          </div>
          <ErrorNote error={change.error} />
          <Button
            type="submit"
            tone="primary"
            busy={change.isPending}
            disabled={description === (model.description ?? "")}
          >
            Save
          </Button>
        </form>
      </Section>
      {model.latest_version && <Serving model={model} version={model.latest_version} />}
      <NewVersion model={model} />
      <Section title="Delete it" className="lg:col-span-2">
        <div className="flex flex-wrap items-center justify-between gap-3">
          <p className="max-w-xl text-muted">
            Nobody can run {model.id} any more. Predictions made with it stay readable
            {session?.user?.username !== owner && `, and ${owner} is not told`}.
          </p>
          <Button tone="danger" onClick={() => setRemoving(true)}>
            <Trash2 className="size-4" aria-hidden /> Delete the model
          </Button>
        </div>
        <Confirm
          open={removing}
          title={`Delete ${model.id}?`}
          action="Delete it"
          busy={remove.isPending}
          error={remove.error}
          onClose={() => setRemoving(false)}
          onConfirm={() => remove.mutate()}
        >
          Its name becomes free, and its versions can be run no more. This cannot be undone.
        </Confirm>
      </Section>
    </div>
  );
}

export function Serving({ model, version }: { model: Model; version: Version }) {
  const { owner, name } = model;
  const client = useQueryClient();
  const routing = useQuery({
    queryKey: ["routing", version.id],
    queryFn: () => call<Routing>("GET", `/v1/models/${owner}/${name}/routing?version=${version.id}`),
    refetchInterval: 3_000,
  });
  const command = useMutation({
    mutationFn: ({ action, workers }: { action: "load" | "unload"; workers?: string[] }) =>
      call<{ asked: string[] }>("POST", `/v1/models/${owner}/${name}/${action}`, {
        version: version.id,
        ...(workers && { workers }),
      }),
    onSuccess: ({ asked }, { action }) => {
      toast(
        asked.length
          ? `${asked.join(", ")} ${asked.length > 1 ? "were" : "was"} asked to ${action} it.`
          : "No live worker could run it.",
        !asked.length,
      );
      client.invalidateQueries({ queryKey: ["routing", version.id] });
      client.invalidateQueries({ queryKey: ["model", owner, name] });
    },
    onError: toastError,
  });
  return (
    <Section
      title="Where it runs"
      hint={routing.data ? `The next run goes to the queue ${routing.data.queue}` : undefined}
    >
      <ErrorNote error={routing.error} retry={() => routing.refetch()} />
      {routing.isPending && <Loading rows={2} />}
      {routing.data?.candidates?.length === 0 && (
        <p className="text-muted">No worker is alive. Predictions wait until one is.</p>
      )}
      <ul className="-my-2 divide-y">
        {routing.data?.candidates?.map((each) => (
          <li key={each.worker} className="flex flex-wrap items-center justify-between gap-2 py-2.5">
            <div className="min-w-0">
              <p className="flex flex-wrap items-center gap-2">
                <code className="font-mono text-[0.9rem]">{each.worker}</code>
                <Badge tone={each.loaded ? "green" : "gray"}>{each.loaded ? "loaded" : "not loaded"}</Badge>
              </p>
              <p className="hint num">
                {each.score === null
                  ? each.reason
                  : `${each.running}/${each.slots} running · ${each.waiting} waiting`}
                {each.seconds !== null && ` · ${seconds(each.seconds)} each`}
              </p>
            </div>
            {each.score !== null && (
              <Button
                small
                busy={command.isPending && command.variables?.workers?.[0] === each.worker}
                onClick={() =>
                  command.mutate({ action: each.loaded ? "unload" : "load", workers: [each.worker] })
                }
              >
                {each.loaded ? (
                  <PowerOff className="size-4" aria-hidden />
                ) : (
                  <Power className="size-4" aria-hidden />
                )}
                {each.loaded ? "Unload" : "Load"}
              </Button>
            )}
          </li>
        ))}
      </ul>
      {Object.keys(version.facts).length > 0 && (
        <details className="mt-4">
          <summary className="font-medium text-muted">What workers measured</summary>
          <div className="mt-2">
            <JsonTree value={version.facts as never} />
          </div>
        </details>
      )}
    </Section>
  );
}

function NewVersion({ model }: { model: Model }) {
  const { owner, name } = model;
  const client = useQueryClient();
  const [source, setSource] = useState("");
  const add = useMutation({
    mutationFn: () =>
      call<Version>("POST", `/v1/models/${owner}/${name}/versions`, { source: source.trim() }),
    onSuccess: (version) => {
      setSource("");
      client.invalidateQueries({ queryKey: ["model", owner, name] });
      client.invalidateQueries({ queryKey: ["versions", owner, name] });
      toast(`Version ${version.id.slice(0, 8)} is there.`);
    },
  });
  return (
    <Section title="Add a version" hint="A new one becomes the current one" className="lg:col-span-2">
      <form
        className="flex flex-wrap items-end gap-3"
        onSubmit={(event) => {
          event.preventDefault();
          add.mutate();
        }}
      >
        <label className="min-w-0 flex-1 basis-72">
          <span className="label">Source</span>
          <input
            className="field mt-1.5 font-mono text-[0.9rem]"
            placeholder="hf:org/name@revision, path:/models/mine or s3://bucket/folder"
            value={source}
            required
            spellCheck={false}
            onChange={(event) => setSource(event.target.value)}
          />
        </label>
        <Button type="submit" busy={add.isPending} disabled={!source.trim()}>
          <Plus className="size-4" aria-hidden /> Add the version
        </Button>
      </form>
      <div className="mt-3">
        <ErrorNote error={add.error} />
      </div>
    </Section>
  );
}
