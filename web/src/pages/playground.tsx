/** A model's form and its runs. What is run stands in the address, so that a reload goes on and a link shares it. */
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { clsx } from "clsx";
import { Columns2, MessageSquareReply, Play, RotateCcw, Share2, X } from "lucide-react";
import { type KeyboardEvent, useEffect, useMemo, useRef, useState } from "react";
import { ApiProblem } from "../api/client";
import { type Input, isEnded, type Json, type Model, type Prediction, type Version } from "../api/types";
import { createPrediction, predictionQuery, useFollowed } from "../app/prediction";
import {
  choicesOf,
  cleanInput,
  type Field,
  type Form,
  faultsOf,
  formOf,
  initialInput,
  isConcatenated,
} from "../lib/schema-form";
import { GrowingText } from "../lib/stream";
import { Button, copyText, ErrorNote, IconButton } from "../ui/basics";
import { FormField } from "../ui/fields";
import { FromCode } from "../ui/from-code";
import { OpenLink, RunView } from "../ui/run-view";
import { toast, toastError } from "../ui/toasts";

export interface RunSearch {
  run?: string;
  beside?: string;
  version?: string;
}

const EXAMPLES: Record<string, Input> = {
  prompt: { prompt: "Once upon a time" },
  text: { text: "hello" },
};

/** The model's own example, else its defaults, else something to begin with. */
export function firstInput(model: Model, form: Form): Input {
  const example = model.default_example?.input as Input | undefined;
  const input = initialInput(form, example);
  if (Object.keys(input).length) return input;
  const known = form.front.find((field) => EXAMPLES[field.name]);
  return known ? { ...EXAMPLES[known.name] } : {};
}

export function Playground({
  model,
  version,
  search,
}: {
  model: Model;
  version: Version;
  search: RunSearch;
}) {
  const client = useQueryClient();
  const navigate = useNavigate();
  const form = useMemo(() => formOf(version), [version]);
  const joined = useMemo(() => isConcatenated(version), [version]);
  const [input, setInput] = useState<Input>(() => firstInput(model, form));
  const [faults, setFaults] = useState<Record<string, string>>({});
  const [error, setError] = useState<unknown>();
  const [busy, setBusy] = useState(false);
  const box = useRef<HTMLFormElement>(null);
  const outputs = useRef<HTMLDivElement>(null);

  // What a link or a reload shows again comes with the input that it was run with.
  const shared = useQuery({ ...predictionQuery(search.run ?? ""), enabled: Boolean(search.run) });
  const taken = useRef(false);
  useEffect(() => {
    const before = shared.data?.input as Input | null | undefined;
    if (!before || taken.current) return;
    taken.current = true;
    setInput(initialInput(form, before));
  }, [shared.data, form]);

  const show = (next: RunSearch) =>
    navigate({
      to: ".",
      search: (old: Record<string, unknown>) => ({ ...old, ...next }),
      replace: true,
      resetScroll: false,
    });

  const run = async (side: "run" | "beside" = "run") => {
    const wrong = faultsOf(form, input);
    setFaults(wrong);
    setError(undefined);
    if (Object.keys(wrong).length)
      return box.current?.querySelector<HTMLElement>("[aria-invalid=true]")?.focus();
    setBusy(true);
    taken.current = true;
    try {
      const reference = search.version ? version.id : model.id;
      const made = await createPrediction(client, reference, cleanInput(form, input));
      await show({ [side]: made.id });
      // Where the form fills the screen, what comes of it is below.
      if (matchMedia("(width < 64rem)").matches) outputs.current?.scrollIntoView({ behavior: "smooth" });
    } catch (problem) {
      setError(problem);
      if (problem instanceof ApiProblem) setFaults(serverFaults(problem));
    } finally {
      setBusy(false);
    }
  };

  const onKey = (event: KeyboardEvent) => {
    if (event.key === "Enter" && (event.metaKey || event.ctrlKey)) {
      event.preventDefault();
      run();
    }
  };
  const change = (name: string, value: Input[string] | undefined) => {
    setInput((now) => {
      const { [name]: _, ...rest } = now;
      return value === undefined ? rest : { ...rest, [name]: value };
    });
    setFaults(({ [name]: _, ...rest }) => rest);
  };
  const choices = choicesOf(form);
  const chosen = choices.find((field) => input[field.name] !== undefined) ?? choices[0];
  const choose = (field: Field) => {
    const said = textOf(input[chosen?.name ?? ""]);
    setInput((now) => {
      const rest = Object.fromEntries(
        Object.entries(now).filter(([name]) => !choices.some((each) => each.name === name)),
      );
      return {
        ...rest,
        [field.name]:
          field.kind === "messages" ? [{ role: "user", content: said }] : field.kind === "text" ? said : null,
      };
    });
    setFaults({});
  };
  const fields = (list: Form["front"]) =>
    list
      .filter((field) => !choices.includes(field) || field === chosen)
      .map((field) => (
        <FormField
          key={field.name}
          field={field}
          value={input[field.name]}
          fault={faults[field.name]}
          onChange={(value) => change(field.name, value)}
        />
      ));
  const takesMessages = form.front.some((field) => field.kind === "messages");
  const opened = form.advanced.some((field) => input[field.name] !== undefined || faults[field.name]);

  return (
    <div
      className={clsx(
        "grid items-start gap-5",
        search.beside
          ? "lg:grid-cols-[minmax(0,4fr)_minmax(0,7fr)] xl:grid-cols-[20rem_minmax(0,1fr)]"
          : "lg:grid-cols-[minmax(0,5fr)_minmax(0,6fr)]",
      )}
    >
      <form
        ref={box}
        noValidate
        className="card lg:sticky lg:top-6"
        onKeyDown={onKey}
        onSubmit={(event) => {
          event.preventDefault();
          run();
        }}
      >
        <div className="flex items-center justify-between border-b px-5 py-2.5">
          <h2 className="font-semibold">Input</h2>
          <Button
            small
            tone="quiet"
            onClick={() => {
              setInput(firstInput(model, form));
              setFaults({});
            }}
          >
            <RotateCcw className="size-3.5" aria-hidden /> Start over
          </Button>
        </div>
        <div className="space-y-5 p-5">
          {choices.length > 1 && (
            <div className="flex gap-1 rounded-lg bg-sunken p-1" role="radiogroup" aria-label="What to give">
              {choices.map((field) => (
                <button
                  key={field.name}
                  type="button"
                  role="radio"
                  aria-checked={field === chosen}
                  onClick={() => choose(field)}
                  className={clsx(
                    "min-h-8 flex-1 rounded-md px-3 font-medium",
                    field === chosen ? "bg-surface text-ink shadow-card" : "text-muted hover:text-ink",
                  )}
                >
                  {field.kind === "messages" ? "Chat" : field.title}
                </button>
              ))}
            </div>
          )}
          {form.front.length ? fields(form.front) : <p className="text-muted">This model takes no input.</p>}
          {form.advanced.length > 0 && (
            <details className="group rounded-lg border" open={opened}>
              <summary className="flex items-center justify-between rounded-lg px-3.5 py-2.5 font-medium hover:bg-hover">
                Advanced
                <span className="hint">{form.advanced.length} more</span>
              </summary>
              <div className="space-y-5 border-t p-3.5">{fields(form.advanced)}</div>
            </details>
          )}
          <ErrorNote error={error} />
        </div>
        <div className="sticky bottom-0 flex items-center gap-2 rounded-b-xl border-t bg-surface px-5 py-3">
          <Button
            type="submit"
            tone="primary"
            busy={busy}
            tip="Ctrl + Enter"
            className="flex-1 sm:flex-none sm:px-6"
          >
            <Play className="size-4" aria-hidden /> Run
          </Button>
          {search.run && (
            <Button
              onClick={() => run("beside")}
              disabled={busy}
              tip="Keep the run that is shown, and run this input beside it"
            >
              <Columns2 className="size-4" aria-hidden /> <span className="hidden sm:inline">Run</span> beside
            </Button>
          )}
        </div>
      </form>
      <div ref={outputs} className="min-w-0 scroll-mt-16 space-y-5">
        {search.run ? (
          <div className={search.beside ? "grid items-start gap-5 xl:grid-cols-2" : ""}>
            <Run
              id={search.run}
              joined={joined}
              title={search.beside ? "First" : "Output"}
              onAgain={(made) => show({ run: made.id })}
              onReply={takesMessages ? (messages) => setInput((now) => replyTo(now, messages)) : undefined}
            />
            {search.beside && (
              <Run
                id={search.beside}
                joined={joined}
                title="Beside it"
                onAgain={(made) => show({ beside: made.id })}
                onClose={() => show({ beside: undefined })}
              />
            )}
          </div>
        ) : (
          <Example model={model} joined={joined} />
        )}
        <FromCode
          model={model}
          version={version}
          pinned={Boolean(search.version)}
          input={cleanInput(form, input)}
        />
      </div>
    </div>
  );
}

/** What was said, whichever way, so that changing the way loses nothing. */
function textOf(value: Json | undefined): string {
  if (typeof value === "string") return value;
  const messages = (Array.isArray(value) ? value : []) as { role?: string; content?: string }[];
  return messages.findLast((message) => message.role === "user")?.content ?? "";
}

/** The conversation with its answer, and a place for what comes next. */
function replyTo(input: Input, messages: Json[]): Input {
  const { prompt: _, ...rest } = input;
  return { ...rest, messages: [...messages, { role: "user", content: "" }] };
}

function serverFaults(problem: ApiProblem): Record<string, string> {
  return Object.fromEntries(
    problem.fields.map((field) => [field.field.replace(/^input\./, "").split(".")[0], field.description]),
  );
}

function Run({
  id,
  joined,
  title,
  onAgain,
  onClose,
  onReply,
}: {
  id: string;
  joined: boolean;
  title: string;
  onAgain: (made: Prediction) => void;
  onClose?: () => void;
  onReply?: (messages: Json[]) => void;
}) {
  const followed = useFollowed(id);
  const share = async () => {
    await copyText(location.href);
    toast("The link to this run is copied. It shows the run to you, signed in; others see the model.");
  };
  const said = conversationOf(followed.prediction);
  return (
    <section className="card min-w-0" aria-label={title}>
      <div className="flex items-center justify-between border-b px-5 py-1.5">
        <h2 className="font-semibold">{title}</h2>
        <div className="flex items-center">
          <OpenLink id={id} />
          <IconButton name="Share this run" onClick={share}>
            <Share2 className="size-4" />
          </IconButton>
          {onClose && (
            <IconButton name="Close this run" onClick={onClose}>
              <X className="size-4" />
            </IconButton>
          )}
        </div>
      </div>
      <div className="p-5">
        <RunView
          followed={followed}
          joined={joined}
          actions={<RunAgain of={followed.prediction} onMade={onAgain} />}
        />
        {onReply && said && (
          <Button small className="mt-4" onClick={() => onReply(said)}>
            <MessageSquareReply className="size-4" aria-hidden /> Go on with this conversation
          </Button>
        )}
      </div>
    </section>
  );
}

/** The very same once more: its version and its input, whatever the form says by now. */
function RunAgain({ of, onMade }: { of: Prediction | undefined; onMade: (made: Prediction) => void }) {
  const client = useQueryClient();
  const again = useMutation({
    mutationFn: (before: Prediction) => createPrediction(client, before.version, before.input as Input),
    onSuccess: onMade,
    onError: toastError,
  });
  if (!of || !isEnded(of.status) || of.data_removed) return null;
  return (
    <Button small busy={again.isPending} onClick={() => again.mutate(of)}>
      <RotateCcw className="size-3.5" aria-hidden /> Run again
    </Button>
  );
}

/** What was said and answered, when a run of a conversation has succeeded. */
function conversationOf(prediction: Prediction | undefined): Json[] | null {
  const input = prediction?.input as Input | null | undefined;
  if (prediction?.status !== "succeeded" || !input) return null;
  const before = Array.isArray(input.messages)
    ? input.messages
    : typeof input.prompt === "string"
      ? [{ role: "user", content: input.prompt }]
      : null;
  const output = prediction.output as Json;
  const answer = Array.isArray(output) ? output.join("") : typeof output === "string" ? output : null;
  return before && answer !== null ? [...before, { role: "assistant", content: answer }] : null;
}

function Example({ model, joined }: { model: Model; joined: boolean }) {
  const example = model.default_example;
  if (example)
    return (
      <section className="card">
        <h2 className="border-b px-5 py-2.5 font-semibold">Example</h2>
        <div className="p-5">
          <RunView
            followed={{ prediction: example, error: undefined, text: NO_TEXT, streaming: false }}
            joined={joined}
          />
        </div>
      </section>
    );
  return (
    <section className="flex min-h-56 flex-col items-center justify-center rounded-xl border border-dashed border-strong/50 px-6 py-10 text-center">
      <Play className="mb-3 size-7 text-faint" aria-hidden />
      <p className="font-medium">Run it, and its output appears here as it is made.</p>
      <p className="hint mt-1">The address then holds the run: reload, or share it.</p>
    </section>
  );
}

const NO_TEXT = new GrowingText();
