/** What the list of predictions is narrowed to; all of it stands in the address. */
import { clsx } from "clsx";
import { ListFilter, X } from "lucide-react";
import { type FormEvent, type ReactNode, useEffect, useState } from "react";
import type { Status } from "../api/types";
import { Button, Select } from "../ui/basics";

export interface PredictionsSearch {
  status?: Status;
  model?: string;
  created_after?: string;
  created_before?: string;
  error_group?: string;
  text?: string;
  error_code?: string;
  version?: string;
  deployment?: string;
  source?: string;
  user?: string;
}

const STATUSES: Status[] = ["starting", "processing", "succeeded", "failed", "canceled"];
const WORDS: Record<Status, string> = {
  starting: "Waiting",
  processing: "Running",
  succeeded: "Succeeded",
  failed: "Failed",
  canceled: "Canceled",
};
const CODES = [
  "invalid_input",
  "model_failed",
  "model_unavailable",
  "run_timeout",
  "worker_crashed",
  "storage_error",
  "prediction_failed",
];
const RARE: (keyof PredictionsSearch)[] = [
  "created_after",
  "created_before",
  "error_code",
  "version",
  "deployment",
  "source",
  "user",
];

/** Whether no index serves it: then the server looks through so many at a time, and says where it stopped. */
export const isLookedThrough = (search: PredictionsSearch): boolean =>
  Boolean(search.version || search.deployment || search.source || search.error_code || search.text) ||
  search.user === "*";

type Narrow = (change: Partial<PredictionsSearch>) => void;

export function Filters({
  search,
  narrow,
  mayChooseUser,
}: {
  search: PredictionsSearch;
  narrow: Narrow;
  mayChooseUser: boolean;
}) {
  const used = RARE.filter((name) => search[name]).length;
  const [open, setOpen] = useState(used > 0);
  return (
    <div className="mb-4 space-y-3">
      <div className="flex flex-wrap gap-1.5" role="group" aria-label="Status">
        <Chip on={!search.status} onClick={() => narrow({ status: undefined })}>
          All
        </Chip>
        {STATUSES.map((status) => (
          <Chip
            key={status}
            on={search.status === status}
            onClick={() => narrow({ status: search.status === status ? undefined : status })}
          >
            {WORDS[status]}
          </Chip>
        ))}
        {search.error_group && (
          <Chip on onClick={() => narrow({ error_group: undefined })}>
            one kind of error <X className="size-3.5" aria-label="Remove this filter" />
          </Chip>
        )}
      </div>
      <div className="flex flex-wrap items-end gap-3">
        <Text name="model" label="Model" placeholder="owner/name" search={search} narrow={narrow} />
        <Text
          name="text"
          label="Text"
          placeholder="in input, output, error or id"
          search={search}
          narrow={narrow}
        />
        <Button aria-expanded={open} onClick={() => setOpen(!open)}>
          <ListFilter className="size-4" aria-hidden /> More filters{used > 0 && ` (${used})`}
        </Button>
      </div>
      {open && (
        <div className="flex flex-wrap items-end gap-3">
          <Moment name="created_after" label="Made after (UTC)" search={search} narrow={narrow} />
          <Moment name="created_before" label="and before (UTC)" search={search} narrow={narrow} />
          <label className="hint block" htmlFor="error-code">
            Error code
            <Select
              id="error-code"
              className="mt-1 block min-h-10 text-[0.93rem]"
              value={search.error_code ?? ""}
              onChange={(event) => narrow({ error_code: event.target.value || undefined })}
            >
              <option value="">any</option>
              {CODES.map((code) => (
                <option key={code}>{code}</option>
              ))}
            </Select>
          </label>
          <Text name="version" label="Version" placeholder="its whole id" search={search} narrow={narrow} />
          <Text
            name="deployment"
            label="Deployment"
            placeholder="owner/name"
            search={search}
            narrow={narrow}
          />
          <Text name="source" label="Came by" placeholder="api, ws, web …" search={search} narrow={narrow} />
          {mayChooseUser && (
            <Text name="user" label="User (* everybody)" placeholder="you" search={search} narrow={narrow} />
          )}
        </div>
      )}
    </div>
  );
}

/** A day and a minute. */
function Moment({
  name,
  label,
  search,
  narrow,
}: {
  name: "created_after" | "created_before";
  label: string;
  search: PredictionsSearch;
  narrow: Narrow;
}) {
  return (
    <label className="hint block flex-1 basis-52 sm:flex-none">
      {label}
      <input
        type="datetime-local"
        className="field num mt-1 w-full text-[0.93rem]"
        value={search[name]?.slice(0, 16) ?? ""}
        onChange={({ target }) => narrow({ [name]: target.value ? `${target.value}:00Z` : undefined })}
      />
    </label>
  );
}

/** Applied by Enter, when one leaves it, and when it is cleared. */
function Text({
  name,
  label,
  placeholder,
  search,
  narrow,
}: {
  name: keyof PredictionsSearch;
  label: string;
  placeholder: string;
  search: PredictionsSearch;
  narrow: Narrow;
}) {
  const applied = search[name] ?? "";
  const [value, setValue] = useState<string>(applied);
  useEffect(() => setValue(applied), [applied]);
  const apply = () => {
    if (value.trim() !== applied) narrow({ [name]: value.trim() || undefined });
  };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    apply();
  };
  return (
    <form onSubmit={submit} className="min-w-40 flex-1 sm:max-w-64">
      <label className="hint block">
        {label}
        <input
          type="search"
          className="field mt-1 text-[0.93rem]"
          placeholder={placeholder}
          value={value}
          spellCheck={false}
          autoCapitalize="none"
          onChange={(event) => {
            setValue(event.target.value);
            if (!event.target.value && applied) narrow({ [name]: undefined });
          }}
          onBlur={apply}
        />
      </label>
    </form>
  );
}

function Chip({ on, onClick, children }: { on: boolean; onClick: () => void; children: ReactNode }) {
  return (
    <button
      type="button"
      aria-pressed={on}
      onClick={onClick}
      className={clsx(
        "inline-flex min-h-8 items-center gap-1.5 rounded-full border px-3 text-[0.9rem] font-medium",
        on
          ? "border-transparent bg-soft text-on-soft"
          : "border-line text-muted hover:border-strong hover:text-ink",
      )}
    >
      {children}
    </button>
  );
}
