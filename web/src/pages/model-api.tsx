/** A model from outside: the addresses that take it, and its example from code. */
import { BASE, BASE_PATH } from "../api/client";
import type { Model, Version } from "../api/types";
import { cleanInput, formOf } from "../lib/schema-form";
import { CopyButton, Section } from "../ui/basics";
import { FromCode } from "../ui/from-code";
import { firstInput } from "./playground";

const OF_TEXTS: [string, string][] = [
  ["POST /v1/chat/completions", "OpenAI, a conversation"],
  ["POST /v1/completions", "OpenAI, a text to continue"],
  ["POST /v1/responses", "OpenAI's Responses"],
  ["POST /v1/messages", "Anthropic"],
  ["POST /api/chat", "Ollama"],
];
const BY_RUNTIME: Record<string, [string, string][]> = {
  "text-generation": OF_TEXTS,
  embedding: [
    ["POST /v1/embeddings", "OpenAI"],
    ["POST /api/embed", "Ollama"],
  ],
  "image-generation": [["POST /v1/images/generations", "OpenAI"]],
};

export function ApiTab({ model, version, pinned }: { model: Model; version: Version; pinned: boolean }) {
  const form = formOf(version);
  const addresses: [string, string][] = [
    ["POST /v1/predictions", `with "version": "${model.id}"`],
    [`POST /v1/models/${model.id}/predictions`, "the same, by its name"],
    [`GET /v1/models/${model.id}`, "its schema, versions and state"],
    ...(BY_RUNTIME[version.runtime] ?? []),
  ];
  return (
    <div className="grid items-start gap-5 lg:grid-cols-2">
      <Section title="Addresses that take it" hint="With an API key of yours as Authorization: Bearer …">
        <ul className="-my-2 divide-y">
          {addresses.map(([address, words]) => (
            <li key={address} className="flex items-center justify-between gap-3 py-2.5">
              <div className="min-w-0">
                <code className="wrap font-mono text-[0.87rem]">{address}</code>
                <p className="hint">{words}</p>
              </div>
              <CopyButton
                text={`${BASE.origin}${BASE_PATH}${address.split(" ")[1]}`}
                name={`Copy the address ${address}`}
              />
            </li>
          ))}
        </ul>
        <p className="mt-4">
          <a href={`${BASE_PATH}/docs`} className="font-medium text-accent underline">
            All addresses, with their fields
          </a>
        </p>
      </Section>
      <FromCode
        model={model}
        version={version}
        pinned={pinned}
        input={cleanInput(form, firstInput(model, form))}
      />
    </div>
  );
}
