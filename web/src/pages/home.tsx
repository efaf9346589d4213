/** What one wants to see first: at the first start three ways to begin, later what runs and what ran. */
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { ArrowRight, Play, Plus, Terminal } from "lucide-react";
import type { ReactNode } from "react";
import { api, BASE, BASE_PATH, data } from "../api/client";
import type { Prediction } from "../api/types";
import { useLive } from "../app/live";
import { modelsQuery } from "../app/models";
import { useSession } from "../app/session";
import { ago, count, seconds } from "../lib/format";
import { snippets } from "../lib/snippets";
import { Code, ErrorNote, Loading, PageHeader, StatusBadge } from "../ui/basics";
import { ModelGrid, ModelGridSkeleton } from "./models";

const SHOWN = 6;

export function HomePage() {
  const session = useSession();
  const models = useInfiniteQuery(modelsQuery(""));
  const recent = useQuery({
    queryKey: ["predictions", "recent"],
    queryFn: () =>
      data(api.GET("/v1/predictions", { params: { query: { limit: SHOWN } } })) as Promise<{
        results: Prediction[];
      }>,
    enabled: Boolean(session?.user),
  });
  useLive("status", () => recent.refetch(), Boolean(session?.user));
  const list = models.data?.pages[0]?.results ?? [];
  const demo = list.find((model) => model.name === "words") ?? list.find((model) => model.latest_version);
  const isNew = recent.isSuccess && recent.data.results.length <= 1;
  return (
    <>
      <PageHeader title={session?.user ? `Hello, ${session.user.username}` : "Lovage"}>
        {isNew || !session?.user
          ? "Run a model in the browser, add your own, or call one from code."
          : "What runs here, and what you ran last."}
      </PageHeader>
      {(isNew || !session?.user) && (
        <FirstSteps demo={demo?.id} mayAdd={Boolean(session?.user?.scopes.includes("models"))} />
      )}
      <PlatformLine />
      {session?.user && !isNew && (
        <section className="mb-8">
          <Heading title="Latest predictions" to="/predictions" />
          {recent.isPending && <Loading rows={4} />}
          <ErrorNote error={recent.error} retry={() => recent.refetch()} />
          {recent.data && <Recent predictions={recent.data.results} />}
        </section>
      )}
      <section>
        <Heading title="Models" to="/models" />
        <ErrorNote error={models.error} retry={() => models.refetch()} />
        {models.isPending ? <ModelGridSkeleton /> : <ModelGrid models={list.slice(0, SHOWN)} heading="h3" />}
      </section>
    </>
  );
}

function Heading({ title, to }: { title: string; to: string }) {
  return (
    <div className="mb-3 flex items-center justify-between">
      <h2 className="text-lg font-semibold">{title}</h2>
      <Link to={to} className="flex items-center gap-1 rounded font-medium text-accent hover:underline">
        All of them <ArrowRight className="size-4" aria-hidden />
      </Link>
    </div>
  );
}

function PlatformLine() {
  const status = useQuery({
    queryKey: ["status"],
    queryFn: () => data(api.GET("/status")),
    refetchInterval: 10_000,
  });
  if (!status.data) return null;
  const { live_workers, waiting, claimed, running, models_loaded, devices } = status.data;
  // The gateway to backends is a worker, and no device.
  const kinds = Object.entries(devices).filter(([kind]) => kind !== "backends");
  const figures: [string, string][] = [
    [count(live_workers), live_workers === 1 ? "worker" : "workers"],
    [count(models_loaded), "models loaded"],
    [count(running), "running"],
    [count(waiting + claimed), "waiting"],
  ];
  return (
    <Link
      to="/fleet"
      className="card mb-8 grid grid-cols-2 gap-y-3 px-5 py-4 transition-colors hover:border-accent sm:flex sm:flex-wrap sm:gap-x-10"
    >
      {figures.map(([value, name]) => (
        <span key={name}>
          <span className="num block text-xl font-semibold leading-tight">{value}</span>
          <span className="hint">{name}</span>
        </span>
      ))}
      <span className="hint col-span-2 self-center sm:ml-auto">
        {live_workers
          ? kinds.map(([kind, n]) => `${n} × ${kind}`).join(", ")
          : "No worker is alive: predictions wait until one is."}
      </span>
    </Link>
  );
}

function FirstSteps({ demo, mayAdd }: { demo?: string; mayAdd: boolean }) {
  const [owner = "", name = ""] = demo?.split("/") ?? [];
  const command = snippets({
    base: `${BASE.origin}${BASE_PATH}`,
    model: demo ?? "demo/echo",
    input: { prompt: "Once upon a time" },
    streams: true,
  }).find((each) => each.name === "CLI");
  return (
    <div className="mb-8 grid gap-4 lg:grid-cols-3">
      <Step
        icon={<Play className="size-5" />}
        title="Run a model"
        link={
          demo ? (
            <Link
              to="/models/$owner/$name"
              params={{ owner, name }}
              className="font-medium text-accent hover:underline"
            >
              Open {demo}
            </Link>
          ) : (
            <Link to="/models" className="font-medium text-accent hover:underline">
              See the models
            </Link>
          )
        }
      >
        The form is made from the model's own schema. Its output appears as it is made.
      </Step>
      <Step
        icon={<Plus className="size-5" />}
        title="Add your own"
        link={
          mayAdd ? (
            <Link to="/models/new" className="font-medium text-accent hover:underline">
              Add a model
            </Link>
          ) : (
            <Link to="/sign-in" className="font-medium text-accent hover:underline">
              Sign in first
            </Link>
          )
        }
      >
        From the Hugging Face hub, a folder of this machine, or S3. How to run it is found out from its files.
      </Step>
      <Step
        icon={<Terminal className="size-5" />}
        title="Call it from code"
        link={
          <Link to="/keys" className="font-medium text-accent hover:underline">
            Make an API key
          </Link>
        }
      >
        <Code text={command?.code ?? ""} language="command" wrap className="text-left" />
      </Step>
    </div>
  );
}

function Step({
  icon,
  title,
  children,
  link,
}: {
  icon: ReactNode;
  title: string;
  children: ReactNode;
  link: ReactNode;
}) {
  return (
    <div className="card flex min-w-0 flex-col p-5">
      <div className="mb-3 flex size-10 items-center justify-center rounded-xl bg-soft text-on-soft">
        {icon}
      </div>
      <h2 className="font-semibold">{title}</h2>
      <div className="mt-1 mb-3 min-w-0 flex-1 text-muted">{children}</div>
      {link}
    </div>
  );
}

function Recent({ predictions }: { predictions: Prediction[] }) {
  return (
    <ul className="card divide-y">
      {predictions.map((prediction) => (
        <li key={prediction.id}>
          <Link
            to="/p/$id"
            params={{ id: prediction.id }}
            className="flex items-center gap-x-3 px-4 py-3 first:rounded-t-xl hover:bg-hover sm:gap-x-4 sm:px-5"
          >
            <span className="w-24 shrink-0">
              <StatusBadge status={prediction.status} />
            </span>
            <span className="min-w-0 flex-1">
              <span className="block truncate font-medium">{prediction.model}</span>
              {prediction.status === "failed" && (
                <span className="block truncate text-[0.87rem] text-danger">{prediction.error}</span>
              )}
            </span>
            <span className="hint num w-20 shrink-0 text-right">
              <span className="block sm:hidden">{ago(prediction.created_at)}</span>
              {prediction.metrics.total_time ? seconds(prediction.metrics.total_time as number) : null}
            </span>
            <span className="hint num hidden w-20 text-right sm:block">{ago(prediction.created_at)}</span>
          </Link>
        </li>
      ))}
    </ul>
  );
}
