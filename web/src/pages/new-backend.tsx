/** The form that adds a backend. */
import { useMutation, useQueryClient } from "@tanstack/react-query";
import type { FormEvent } from "react";
import { call } from "../api/client";
import { Button, ErrorNote } from "../ui/basics";
import { toast } from "../ui/toasts";

/** With each, what it is; the API names all that it knows when it gets another one. */
const KINDS: [string, string][] = [
  ["openai", "vLLM, SGLang, llama.cpp, any server with OpenAI's API"],
  ["ollama", "Ollama"],
  ["tei", "Hugging Face TEI"],
  ["tgi", "Hugging Face TGI"],
  ["oip", "Triton, KServe: the Open Inference Protocol"],
  ["lovage", "another Lovage"],
  ["mcp", "an MCP server, whose tools become models"],
  ["p2p", "peers: peers:any, or peers:NAME,NAME"],
];

export function NewBackend({ onDone }: { onDone: () => void }) {
  const client = useQueryClient();
  const add = useMutation({
    mutationFn: (body: Record<string, unknown>) => call<{ name: string }>("POST", "/v1/backends", body),
    onSuccess: ({ name }) => {
      client.invalidateQueries({ queryKey: ["backends"] });
      toast(`${name} is there. Test it, then register what it serves.`);
      onDone();
    },
  });
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const text = (name: string) => String(form.get(name) ?? "").trim();
    add.mutate({
      name: text("name"),
      kind: text("kind"),
      url: text("url"),
      ...(text("credential") && { credential: text("credential") }),
      ...(text("max_concurrency") && { max_concurrency: Number(text("max_concurrency")) }),
    });
  };
  return (
    <form onSubmit={submit} className="space-y-4">
      <Line id="backend-name" label="Name" hint="Lower-case letters, digits, dots and dashes">
        <input
          id="backend-name"
          aria-describedby="backend-name-hint"
          name="name"
          required
          maxLength={64}
          spellCheck={false}
          autoCapitalize="none"
          className="field mt-1.5"
          placeholder="gpu"
        />
      </Line>
      <Line
        id="backend-kind"
        label="Kind"
        hint={KINDS.map(([kind, words]) => `${kind}: ${words}`).join("; ")}
      >
        <input
          id="backend-kind"
          aria-describedby="backend-kind-hint"
          name="kind"
          required
          maxLength={32}
          list="backend-kinds"
          spellCheck={false}
          autoCapitalize="none"
          className="field mt-1.5"
          placeholder="openai"
        />
        <datalist id="backend-kinds">
          {KINDS.map(([kind, words]) => (
            <option key={kind} value={kind}>
              {words}
            </option>
          ))}
        </datalist>
      </Line>
      <Line id="backend-url" label="URL" hint="As the gateway workers reach it">
        <input
          id="backend-url"
          aria-describedby="backend-url-hint"
          name="url"
          type="url"
          required
          maxLength={2048}
          className="field mt-1.5 font-mono text-[0.9rem]"
          placeholder="http://10.0.0.7:8000"
        />
      </Line>
      <Line
        id="backend-credential"
        label="Credential"
        hint="Sent as a bearer token, kept encrypted, never shown again"
      >
        <input
          id="backend-credential"
          aria-describedby="backend-credential-hint"
          name="credential"
          type="password"
          autoComplete="off"
          className="field mt-1.5"
        />
      </Line>
      <Line
        id="backend-max_concurrency"
        label="Most at once"
        hint="Predictions that one gateway worker has there; 64 when empty"
      >
        <input
          id="backend-max_concurrency"
          aria-describedby="backend-max_concurrency-hint"
          name="max_concurrency"
          type="number"
          min={1}
          max={10_000}
          className="field mt-1.5"
        />
      </Line>
      <ErrorNote error={add.error} />
      <div className="flex justify-end gap-2">
        <Button onClick={onDone}>Not now</Button>
        <Button type="submit" tone="primary" busy={add.isPending}>
          Add the backend
        </Button>
      </div>
    </form>
  );
}

function Line({
  id,
  label,
  hint,
  children,
}: {
  id: string;
  label: string;
  hint: string;
  children: React.ReactNode;
}) {
  return (
    <div>
      <label htmlFor={id} className="label">
        {label}
      </label>
      {children}
      <p id={`${id}-hint`} className="hint mt-1">
        {hint}
      </p>
    </div>
  );
}
