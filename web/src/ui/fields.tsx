/** One field of a model's form, by its kind. */
import { clsx } from "clsx";
import { Dices, FileUp, Plus, Trash2, X } from "lucide-react";
import {
  type ChangeEvent,
  type DragEvent,
  type ReactNode,
  useEffect,
  useId,
  useLayoutEffect,
  useRef,
  useState,
} from "react";
import { call } from "../api/client";
import type { Json, Schema, UploadedFile } from "../api/types";
import { bytes } from "../lib/format";
import { fileName, mediaOf } from "../lib/output";
import { type Field, randomSeed } from "../lib/schema-form";
import { Button, Described, IconButton, Progress, Select, Switch } from "./basics";

interface FieldProps {
  field: Field;
  value: Json | undefined;
  fault?: string;
  onChange: (value: Json | undefined) => void;
  disabled?: boolean;
}

interface InnerProps extends FieldProps {
  id: string;
  described: string;
}

export function FormField(props: FieldProps) {
  const id = useId();
  const { field, fault } = props;
  const { schema } = field;
  const described = `${id}-hint`;
  const inline = field.kind === "switch";
  const control = <Control {...props} id={id} described={described} />;
  return (
    <div>
      <div className={clsx("flex justify-between gap-3", inline ? "items-center" : "items-baseline")}>
        <label className="label wrap" htmlFor={id}>
          {field.title}
          {field.required && <span className="font-normal text-faint"> needed</span>}
        </label>
        {inline ? control : <Aside field={field} value={props.value} />}
      </div>
      {!inline && <div className="mt-1.5">{control}</div>}
      <div id={described}>
        {fault && <p className="mt-1 text-[0.87rem] font-medium text-danger">{fault}</p>}
        {schema.description && (
          <p className={clsx("hint", inline ? "max-w-[85%]" : "mt-1")}>
            <Described text={schema.description} />
          </p>
        )}
      </div>
    </div>
  );
}

function Aside({ field, value }: { field: Field; value: Json | undefined }) {
  const { kind, schema } = field;
  if ((kind === "text" || kind === "line") && typeof value === "string" && value.length > 200)
    return <span className="hint num">{value.length.toLocaleString("en")} characters</span>;
  if (kind === "slider" && value === undefined && schema.default === undefined)
    return <span className="hint">the model's own</span>;
  return null;
}

function Control(props: InnerProps): ReactNode {
  switch (props.field.kind) {
    case "choice":
      return <Choice {...props} />;
    case "switch":
      return (
        <Switch
          id={props.id}
          checked={Boolean(props.value ?? props.field.schema.default)}
          onChange={props.onChange}
        />
      );
    case "slider":
      return <Slider {...props} />;
    case "number":
      return <NumberBox {...props} />;
    case "seed":
      return <Seed {...props} />;
    case "line":
      return <Line {...props} />;
    case "text":
      return <GrowingArea {...props} />;
    case "file":
      return <FileDrop {...props} />;
    case "files":
      return <Files {...props} />;
    case "lines":
      return <Lines {...props} />;
    case "messages":
      return <Messages {...props} />;
    default:
      return <JsonBox {...props} />;
  }
}

function Choice({ id, described, field, value, onChange }: InnerProps) {
  const choices = field.schema.enum ?? [];
  return (
    <Select
      id={id}
      aria-describedby={described}
      className="w-full"
      value={JSON.stringify(value ?? field.schema.default ?? null)}
      onChange={(event) => onChange(JSON.parse(event.target.value))}
    >
      {!field.required && field.schema.default === undefined && <option value="null">the model's own</option>}
      {choices.map((choice) => (
        <option key={String(choice)} value={JSON.stringify(choice)}>
          {String(choice)}
        </option>
      ))}
    </Select>
  );
}

const stepOf = (schema: Schema): number => {
  if (schema.type === "integer") return 1;
  const range = (schema.maximum ?? 1) - (schema.minimum ?? 0);
  return range <= 2 ? 0.01 : range <= 20 ? 0.1 : 1;
};

const numberOf = (event: ChangeEvent<HTMLInputElement>): number | undefined =>
  event.target.value === "" ? undefined : event.target.valueAsNumber;

function Slider(props: InnerProps) {
  const { field, value, onChange, id } = props;
  const { schema } = field;
  const shown = (value ?? schema.default ?? schema.minimum ?? 0) as number;
  // A range as wide as 1 to 32,768 is of no use by hand: the slider covers what is usual, the box all of it.
  const most = usualMost(schema);
  return (
    <div className="flex items-center gap-3">
      <input
        type="range"
        className="slider"
        aria-label={field.title}
        min={schema.minimum}
        max={most}
        step={stepOf(schema)}
        value={Math.min(shown, most)}
        onChange={(event) => onChange(event.target.valueAsNumber)}
      />
      <NumberBox {...props} id={id} narrow />
    </div>
  );
}

export function usualMost(schema: Schema): number {
  const { maximum = 1, minimum = 0, default: usual } = schema;
  if (typeof usual !== "number" || usual <= minimum || maximum / usual < 32) return maximum;
  return Math.min(maximum, usual * 8);
}

function NumberBox({
  id,
  described,
  field,
  value,
  fault,
  onChange,
  narrow,
}: InnerProps & { narrow?: boolean }) {
  const { schema } = field;
  return (
    <input
      id={id}
      type="number"
      inputMode={schema.type === "integer" ? "numeric" : "decimal"}
      aria-describedby={described}
      aria-invalid={fault ? true : undefined}
      className={clsx("field num", narrow ? "max-w-28" : "max-w-56")}
      min={schema.minimum}
      max={schema.maximum}
      step={schema.type === "integer" ? 1 : "any"}
      placeholder={schema.default === undefined ? "" : String(schema.default)}
      value={typeof value === "number" && !Number.isNaN(value) ? value : ""}
      onChange={(event) => onChange(numberOf(event))}
    />
  );
}

function Seed(props: InnerProps) {
  return (
    <div className="flex items-center gap-2">
      <NumberBox
        {...props}
        field={{ ...props.field, schema: { ...props.field.schema, default: "random" } }}
      />
      <IconButton name="Roll the dice" onClick={() => props.onChange(randomSeed())}>
        <Dices className="size-4.5" />
      </IconButton>
      {props.value !== undefined && (
        <IconButton name="Random again" onClick={() => props.onChange(undefined)}>
          <X className="size-4" />
        </IconButton>
      )}
    </div>
  );
}

function Line({ id, described, field, value, fault, onChange }: InnerProps) {
  return (
    <input
      id={id}
      aria-describedby={described}
      aria-invalid={fault ? true : undefined}
      className="field"
      value={typeof value === "string" ? value : ""}
      placeholder={typeof field.schema.default === "string" ? field.schema.default : ""}
      onChange={(event) => onChange(event.target.value)}
    />
  );
}

const GROWS = CSS.supports("field-sizing", "content");

/** As high as its text, within reason: by the browser, where it can. */
export function Area({
  value,
  onChange,
  rows = 3,
  most = 420,
  ...rest
}: {
  value: string;
  onChange: (value: string) => void;
  rows?: number;
  most?: number;
  id?: string;
  placeholder?: string;
  "aria-label"?: string;
  "aria-describedby"?: string;
  "aria-invalid"?: boolean;
  className?: string;
}) {
  const ref = useRef<HTMLTextAreaElement>(null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: its height follows its text
  useLayoutEffect(() => {
    const area = ref.current;
    if (!area || GROWS) return;
    area.style.height = "auto";
    area.style.height = `${Math.min(most, area.scrollHeight + 2)}px`;
  }, [value, most]);
  return (
    <textarea
      {...rest}
      ref={ref}
      rows={rows}
      className={clsx("field field-sizing-content block resize-y leading-relaxed", rest.className)}
      style={GROWS ? { minHeight: `calc(${rows}lh + 1.2rem)`, maxHeight: most } : undefined}
      value={value}
      onChange={(event) => onChange(event.target.value)}
    />
  );
}

function GrowingArea({ id, described, field, value, fault, onChange }: InnerProps) {
  return (
    <Area
      id={id}
      aria-describedby={described}
      aria-invalid={fault ? true : undefined}
      value={typeof value === "string" ? value : ""}
      placeholder={typeof field.schema.default === "string" ? field.schema.default : ""}
      onChange={onChange}
    />
  );
}

export async function uploadFile(file: File): Promise<string> {
  const form = new FormData();
  form.set("content", file, file.name);
  const uploaded = await call<UploadedFile>("POST", "/v1/files", form);
  return uploaded.urls.get ?? "";
}

/** What the field shows of a file that was just chosen; the API's own URL needs a credential to be seen. */
const chosen = new Map<string, { url: string; name: string; size: number; type: string }>();

function FileDrop({ id, described, field, value, fault, onChange }: InnerProps) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState("");
  const [over, setOver] = useState(false);
  const input = useRef<HTMLInputElement>(null);
  const take = async (file: File | undefined) => {
    if (!file) return;
    setBusy(true);
    setError("");
    try {
      const url = await uploadFile(file);
      chosen.set(url, { url: URL.createObjectURL(file), name: file.name, size: file.size, type: file.type });
      onChange(url);
    } catch (problem) {
      setError(problem instanceof Error ? problem.message : String(problem));
    } finally {
      setBusy(false);
    }
  };
  const drop = (event: DragEvent) => {
    event.preventDefault();
    setOver(false);
    take(event.dataTransfer.files[0]);
  };
  if (typeof value === "string" && value) return <Chosen url={value} onRemove={() => onChange(undefined)} />;
  return (
    <div
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={drop}
      className={clsx(
        "rounded-lg border border-dashed p-4 text-center",
        over ? "border-accent bg-soft" : "border-strong/70 bg-sunken/60",
        fault && "border-danger",
      )}
    >
      {busy ? (
        <Progress value={null} label="Uploading" />
      ) : (
        <>
          <FileUp className="mx-auto mb-1.5 size-5 text-faint" aria-hidden />
          <button
            type="button"
            id={id}
            aria-describedby={described}
            className="font-medium text-accent underline underline-offset-2"
            onClick={() => input.current?.click()}
          >
            Choose a file
          </button>{" "}
          <span className="text-muted">or drop it here</span>
          <input
            ref={input}
            type="file"
            hidden
            data-testid={`file-${field.name}`}
            accept={field.schema.contentMediaType}
            onChange={(event) => take(event.target.files?.[0])}
          />
          <input
            className="field mt-3"
            aria-label={`${field.title}: or its address`}
            placeholder="or its address: https://…"
            onKeyDown={(event) => {
              if (event.key !== "Enter") return;
              event.preventDefault();
              onChange(event.currentTarget.value.trim());
            }}
            onBlur={(event) => event.target.value.trim() && onChange(event.target.value.trim())}
          />
        </>
      )}
      {error && <p className="mt-2 text-[0.87rem] text-danger">{error}</p>}
    </div>
  );
}

function Chosen({ url, onRemove }: { url: string; onRemove: () => void }) {
  const file = chosen.get(url);
  const kind = file ? mediaOf(`x.${file.name.split(".").at(-1)}`) : mediaOf(url);
  const source = file?.url ?? (url.startsWith("data:") ? url : "");
  return (
    <div className="flex items-center gap-3 rounded-lg border bg-sunken/60 p-2.5">
      {kind === "image" && source && <img src={source} alt="" className="size-16 rounded-md object-cover" />}
      <div className="min-w-0 flex-1">
        <p className="truncate font-medium">{file?.name ?? fileName(url)}</p>
        <p className="hint truncate">{file ? bytes(file.size) : url}</p>
        {kind === "audio" && source && <audio src={source} controls className="mt-2 w-full" />}
      </div>
      <IconButton name="Remove the file" onClick={onRemove}>
        <X className="size-4" />
      </IconButton>
    </div>
  );
}

function Files(props: InnerProps) {
  const urls = Array.isArray(props.value) ? (props.value as string[]) : [];
  const change = (next: string[]) => props.onChange(next.length ? next : undefined);
  return (
    <div className="space-y-2">
      {urls.map((url) => (
        <Chosen key={url} url={url} onRemove={() => change(urls.filter((each) => each !== url))} />
      ))}
      <FileDrop
        {...props}
        value={undefined}
        onChange={(url) => typeof url === "string" && url && change([...urls, url])}
      />
    </div>
  );
}

function Lines({ id, described, field, value, onChange }: InnerProps) {
  const lines = Array.isArray(value) ? value.map(String) : [];
  const change = (next: string[]) => onChange(next.length ? next : undefined);
  return (
    <div className="space-y-2">
      {lines.map((line, i) => (
        <div key={i} className="flex items-start gap-1.5">
          <Area
            rows={1}
            aria-label={`${field.title} ${i + 1}`}
            value={line}
            onChange={(text) => change(lines.map((each, n) => (n === i ? text : each)))}
          />
          <IconButton
            name={`Remove ${field.title} ${i + 1}`}
            onClick={() => change(lines.filter((_, n) => n !== i))}
          >
            <Trash2 className="size-4" />
          </IconButton>
        </div>
      ))}
      <Button id={id} aria-describedby={described} small onClick={() => change([...lines, ""])}>
        <Plus className="size-4" /> Add {lines.length ? "another" : "one"}
      </Button>
    </div>
  );
}

interface Message {
  role: string;
  content: string;
}

function Messages({ id, described, value, onChange }: InnerProps) {
  const messages = (Array.isArray(value) ? value : []) as unknown as Message[];
  const change = (next: Message[]) => onChange(next.length ? (next as unknown as Json) : undefined);
  const next = messages.at(-1)?.role === "user" ? "assistant" : "user";
  return (
    <div className="space-y-2">
      {messages.map((message, i) => (
        <div
          key={i}
          className={clsx(
            "rounded-lg border p-2",
            message.role === "assistant" ? "ml-6 bg-soft/50" : "mr-6 bg-sunken/60",
          )}
        >
          <div className="mb-1 flex items-center justify-between">
            <Select
              aria-label={`Who says message ${i + 1}`}
              className="min-h-8 border-transparent bg-transparent py-0.5 text-[0.87rem]"
              value={message.role}
              onChange={(event) =>
                change(messages.map((each, n) => (n === i ? { ...each, role: event.target.value } : each)))
              }
            >
              {["system", "user", "assistant"].map((role) => (
                <option key={role}>{role}</option>
              ))}
            </Select>
            <IconButton
              name={`Remove message ${i + 1}`}
              className="size-7"
              onClick={() => change(messages.filter((_, n) => n !== i))}
            >
              <Trash2 className="size-3.5" />
            </IconButton>
          </div>
          <Area
            rows={1}
            aria-label={`Message ${i + 1}`}
            value={message.content}
            onChange={(content) => change(messages.map((each, n) => (n === i ? { ...each, content } : each)))}
          />
        </div>
      ))}
      <Button
        id={id}
        aria-describedby={described}
        small
        onClick={() => change([...messages, { role: next, content: "" }])}
      >
        <Plus className="size-4" /> Add a message
      </Button>
    </div>
  );
}

function JsonBox({ id, described, field, value, fault, onChange }: InnerProps) {
  const given = value ?? field.schema.default;
  const [text, setText] = useState(() => (given === undefined ? "" : JSON.stringify(given, null, 2)));
  const [bad, setBad] = useState(false);
  const said = useRef(value);
  // A value that came from elsewhere (a run that is shown again) takes the place of what was typed.
  useEffect(() => {
    if (value === said.current) return;
    said.current = value;
    setText(value === undefined ? "" : JSON.stringify(value, null, 2));
    setBad(false);
  }, [value]);
  const change = (next: string) => {
    setText(next);
    try {
      said.current = next.trim() ? JSON.parse(next) : undefined;
      onChange(said.current);
      setBad(false);
    } catch {
      setBad(true);
    }
  };
  return (
    <>
      <Area
        id={id}
        rows={1}
        aria-describedby={described}
        aria-invalid={fault || bad ? true : undefined}
        className="font-mono text-[0.87rem]"
        value={text}
        onChange={change}
      />
      {bad && (
        <p className="mt-1 text-[0.87rem] font-medium text-danger">This is not JSON: texts need quotes.</p>
      )}
    </>
  );
}
