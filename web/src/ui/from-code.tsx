/** A run from code, in each language; and the addresses that take this model. */
import { useState } from "react";
import { BASE, BASE_PATH } from "../api/client";
import type { Input, Model, Version } from "../api/types";
import { snippets } from "../lib/snippets";
import { Code } from "./basics";
import { Tabs } from "./tabs";

export function FromCode({
  model,
  version,
  pinned,
  input,
}: {
  model: Model;
  version: Version;
  pinned: boolean;
  input: Input;
}) {
  const all = snippets({
    base: `${BASE.origin}${BASE_PATH}`,
    model: model.id,
    input,
    streams: version.streams,
    runtime: version.runtime,
    ...(pinned ? { version: version.id } : {}),
  });
  const [name, setName] = useState("curl");
  const shown = all.some((each) => each.name === name) ? name : "curl";
  return (
    <section className="card min-w-0 px-5 pt-3 pb-5">
      <h2 className="mb-1 font-semibold">The same from code</h2>
      <Tabs
        label="Languages"
        value={shown}
        onChange={setName}
        tabs={all.map((each) => ({
          value: each.name,
          label: each.name,
          content: <Code text={each.code} language={each.name} />,
        }))}
      />
      <p className="hint mt-2">
        <code className="font-mono">LOVAGE_TOKEN</code> is an API key of yours; make one under API keys.
      </p>
    </section>
  );
}
