/** Adding a model: where its files are, what would run it, what it is called. */
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { clsx } from "clsx";
import { ArrowLeft, Box, Cloud, Folder, FolderUp, Globe } from "lucide-react";
import { type ComponentType, type FormEvent, useEffect, useRef, useState } from "react";
import { ApiProblem, api, call, data } from "../api/client";
import type { Model, Runtime } from "../api/types";
import { useSession } from "../app/session";
import type { FolderFile } from "../lib/folder";
import { type Progress, uploadFolder } from "../lib/upload";
import { Badge, Button, ErrorNote, PageHeader, Select, Switch } from "../ui/basics";
import { Area } from "../ui/fields";
import { toast } from "../ui/toasts";
import { ChooseFolder, UploadProgress } from "./new-model-folder";
import { FoundOut } from "./new-model-report";

type Origin = "hf" | "upload" | "path" | "s3" | "none";

const ORIGINS: Record<
  Origin,
  {
    title: string;
    hint: string;
    label: string;
    placeholder: string;
    prefix: string;
    icon: ComponentType<{ className?: string }>;
  }
> = {
  hf: {
    title: "Hugging Face hub",
    hint: "By its name there; the revision is pinned.",
    label: "Repository",
    placeholder: "sentence-transformers/all-MiniLM-L6-v2",
    prefix: "hf:",
    icon: Globe,
  },
  upload: {
    title: "A folder of this computer",
    hint: "Sent in parts; broken off, it goes on.",
    label: "",
    placeholder: "",
    prefix: "upload:",
    icon: FolderUp,
  },
  path: {
    title: "A folder of the server",
    hint: "One that the server may read (MODEL_ROOTS).",
    label: "Folder",
    placeholder: "/models/reranker",
    prefix: "path:",
    icon: Folder,
  },
  s3: {
    title: "S3",
    hint: "A bucket that the workers can read.",
    label: "Address",
    placeholder: "s3://bucket/folder",
    prefix: "",
    icon: Cloud,
  },
  none: {
    title: "No files",
    hint: "A runtime that needs none, such as echo.",
    label: "",
    placeholder: "",
    prefix: "",
    icon: Box,
  },
};

export function NewModelPage() {
  const session = useSession();
  const navigate = useNavigate();
  const client = useQueryClient();
  const [origin, setOrigin] = useState<Origin>("hf");
  const [place, setPlace] = useState("");
  const [runtime, setRuntime] = useState("");
  const [name, setName] = useState("");
  const [open, setOpen] = useState(false);
  const [description, setDescription] = useState("");
  const [files, setFiles] = useState<FolderFile[]>([]);
  const [sent, setSent] = useState<Progress>();
  const upload = useRef<AbortController>(null);
  useEffect(() => () => upload.current?.abort(), []);
  const runtimes = useQuery({ queryKey: ["runtimes"], queryFn: () => data(api.GET("/v1/runtimes")) });
  const chosen = ORIGINS[origin];
  const source =
    origin === "none" ? "none" : `${chosen.prefix}${place.trim().replace(chosen.prefix || /^$/, "")}`;
  const suggested = suggest(place);
  const usable = (runtimes.data?.results ?? []).filter(
    (each) => !each.error && each.needs_source === (origin !== "none"),
  );
  const send = (called: string) => {
    upload.current = new AbortController();
    return uploadFolder(`${session?.user?.username}/${called}`, files, setSent, upload.current.signal);
  };
  const add = useMutation({
    mutationFn: async () => {
      const called = name.trim() || suggested;
      const uploaded = origin === "upload" ? await send(called) : undefined;
      return call<Model>("POST", "/v1/models", {
        name: called,
        visibility: open ? "public" : "private",
        ...(description.trim() && { description: description.trim() }),
        version: { source: uploaded ?? source, ...(runtime && { runtime }) },
      });
    },
    onSettled: () => setSent(undefined),
    onSuccess: (model) => {
      client.invalidateQueries({ queryKey: ["models"] });
      toast(`${model.id} is there.`);
      navigate({ to: "/models/$owner/$name", params: { owner: model.owner, name: model.name } });
    },
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    add.mutate();
  };
  const has = { none: runtime, upload: files.length > 0 }[origin as string] ?? place.trim();
  const ready = has && (name.trim() || suggested);
  return (
    <>
      <Button tone="quiet" small className="mb-2 -ml-2" onClick={() => navigate({ to: "/models" })}>
        <ArrowLeft className="size-4" aria-hidden /> Models
      </Button>
      <PageHeader title="Add a model">
        What runs it is found out from its files, unless you say so.
      </PageHeader>
      <form onSubmit={submit} className="card max-w-3xl divide-y">
        <Step number={1} title="Where are its files?">
          <div className="grid gap-2 sm:grid-cols-2" role="radiogroup" aria-label="Where are its files?">
            {(Object.keys(ORIGINS) as Origin[]).map((each) => {
              const { icon: Icon, title, hint } = ORIGINS[each];
              return (
                <button
                  key={each}
                  type="button"
                  role="radio"
                  aria-checked={origin === each}
                  onClick={() => {
                    setOrigin(each);
                    setRuntime("");
                    setPlace("");
                    setFiles([]);
                    add.reset();
                  }}
                  className={clsx(
                    "flex items-start gap-3 rounded-lg border p-3.5 text-left",
                    origin === each ? "border-accent bg-soft text-on-soft" : "hover:bg-hover",
                  )}
                >
                  <Icon className="mt-0.5 size-5 shrink-0" aria-hidden />
                  <span>
                    <span className="block font-medium">{title}</span>
                    <span className={clsx("text-[0.83rem]", origin === each ? "" : "text-muted")}>
                      {hint}
                    </span>
                  </span>
                </button>
              );
            })}
          </div>
          {origin === "upload" && (
            <ChooseFolder
              files={files}
              folder={place}
              onChoose={(folder, chosen) => {
                setFiles(chosen);
                setPlace(folder);
                add.reset();
              }}
            />
          )}
          {origin !== "none" && origin !== "upload" && (
            <label className="mt-4 block">
              <span className="label">{chosen.label}</span>
              <input
                className="field mt-1.5 font-mono text-[0.9rem]"
                placeholder={chosen.placeholder}
                value={place}
                required
                spellCheck={false}
                autoCapitalize="none"
                onChange={(event) => {
                  setPlace(event.target.value);
                  add.reset();
                }}
              />
            </label>
          )}
        </Step>
        <Step number={2} title="What runs it?">
          <Select
            aria-label="Runtime"
            className="w-full"
            value={runtime}
            onChange={(event) => setRuntime(event.target.value)}
          >
            <option value="">{origin === "none" ? "Choose one" : "Found out from its files"}</option>
            {usable.map((each) => (
              <option key={each.name} value={each.name}>
                {each.name}
              </option>
            ))}
          </Select>
          {runtime && <About runtime={usable.find((each) => each.name === runtime)} />}
          {origin !== "none" && origin !== "upload" && <FoundOut source={source} runtime={runtime} />}
          {origin === "upload" && !runtime && (
            <p className="hint mt-2">It is found out when the files are there.</p>
          )}
          <ErrorNote error={runtimes.error} />
        </Step>
        <Step number={3} title="What is it called?">
          <label className="block">
            <span className="label">Name</span>
            <span className="mt-1.5 flex items-center gap-2">
              <span className="text-muted">{session?.user?.username}/</span>
              <input
                className="field"
                aria-label="Name"
                placeholder={suggested || "my-model"}
                value={name}
                maxLength={64}
                spellCheck={false}
                autoCapitalize="none"
                onChange={(event) => setName(event.target.value)}
              />
            </span>
          </label>
          <label className="mt-4 block">
            <span className="label">Description</span>
            <Area
              className="mt-1.5"
              rows={2}
              value={description}
              onChange={setDescription}
              placeholder="What it is good for"
            />
          </label>
          <div className="mt-4 flex items-center justify-between gap-4">
            <div>
              <p className="label">Public</p>
              <p className="hint">Everybody with an account here may see and run it.</p>
            </div>
            <Switch label="Public" checked={open} onChange={setOpen} />
          </div>
        </Step>
        <div className="space-y-3 p-5">
          <Refusal error={add.error} />
          {sent && <UploadProgress sent={sent} onStop={() => upload.current?.abort()} />}
          {add.isPending && !sent && (
            <p className="hint" role="status">
              Looking at its files. From the hub this can take some seconds.
            </p>
          )}
          <Button type="submit" tone="primary" busy={add.isPending} disabled={!ready}>
            Add the model
          </Button>
        </div>
      </form>
    </>
  );
}

/** Why nothing would run it, in the server's words, with what to do. */
function Refusal({ error }: { error: unknown }) {
  if (!error) return null;
  if (error instanceof DOMException && error.name === "AbortError")
    return <p className="text-muted">Stopped. What was sent is kept: add it again, and it goes on.</p>;
  const fields = error instanceof ApiProblem ? error.fields.map((field) => field.field) : [];
  const isOffline = error instanceof ApiProblem && error.isOffline;
  const hint = fields.some((field) => field.startsWith("version.runtime") || field === "runtime")
    ? "Choose another runtime above."
    : fields.some((field) => field.includes("source"))
      ? "Look at the place of its files above."
      : fields.includes("name")
        ? "Choose another name."
        : isOffline
          ? "Once it answers, add it again: an upload goes on where it broke off."
          : "";
  return (
    <div className="space-y-1.5">
      <ErrorNote error={error} />
      {hint && <p className="hint">{hint}</p>}
    </div>
  );
}

function About({ runtime }: { runtime: Runtime | undefined }) {
  if (!runtime) return null;
  return (
    <div className="mt-3 rounded-lg bg-sunken p-3.5">
      <p>{runtime.description}</p>
      <p className="mt-2 flex flex-wrap gap-1.5">
        {runtime.streams && <Badge tone="green">streams</Badge>}
        {runtime.hardware.map((each) => (
          <Badge key={each}>{each}</Badge>
        ))}
        {runtime.tasks
          .filter(Boolean)
          .slice(0, 12)
          .map((each) => (
            <Badge key={each}>{each}</Badge>
          ))}
      </p>
    </div>
  );
}

function Step({ number, title, children }: { number: number; title: string; children: React.ReactNode }) {
  return (
    <fieldset className="min-w-0 p-5">
      <legend className="float-left mb-3 flex w-full items-center gap-2.5 font-semibold">
        <span className="num flex size-6 items-center justify-center rounded-full bg-soft text-[0.85rem] text-on-soft">
          {number}
        </span>
        {title}
      </legend>
      <div className="clear-both">{children}</div>
    </fieldset>
  );
}

/** A name from the last part of the place. */
export function suggest(place: string): string {
  const last =
    place
      .trim()
      .replace(/[@?].*$/, "")
      .replace(/\/+$/, "")
      .split("/")
      .at(-1) ?? "";
  return last
    .toLowerCase()
    .replace(/[^a-z0-9._-]+/g, "-")
    .replace(/^[-.]+|[-.]+$/g, "")
    .slice(0, 64);
}
