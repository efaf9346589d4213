/** The small parts of every page. */
import { clsx } from "clsx";
import {
  Ban,
  Check,
  CircleAlert,
  CircleCheck,
  CircleX,
  Clock,
  Copy,
  LoaderCircle,
  WifiOff,
} from "lucide-react";
import {
  type ButtonHTMLAttributes,
  type ComponentProps,
  type ReactNode,
  useEffect,
  useRef,
  useState,
} from "react";
import { ApiProblem } from "../api/client";
import type { Status } from "../api/types";

type Tone = "primary" | "plain" | "quiet" | "danger";

const TONES: Record<Tone, string> = {
  primary: "bg-accent text-on-accent hover:bg-[var(--accent-hover)] border-transparent",
  plain: "bg-surface text-ink border-strong/50 hover:bg-hover hover:border-strong",
  quiet: "bg-transparent text-muted border-transparent hover:bg-hover hover:text-ink",
  danger: "bg-surface text-danger border-danger/50 hover:bg-danger-soft hover:border-danger",
};

export const buttonClass = (tone: Tone = "plain", small = false): string =>
  clsx(
    "inline-flex select-none items-center justify-center gap-1.5 whitespace-nowrap rounded-lg border font-medium transition-colors disabled:opacity-50",
    small ? "min-h-8 px-2.5 text-[0.87rem]" : "min-h-10 px-3.5",
    TONES[tone],
  );

interface ButtonProps extends ButtonHTMLAttributes<HTMLButtonElement> {
  tone?: Tone;
  small?: boolean;
  busy?: boolean;
  /** What it does, where its words do not say it. */
  tip?: string;
}

export function Button({ tone, small, busy, tip, className, children, ...rest }: ButtonProps) {
  return (
    <button
      type="button"
      data-tip={tip}
      {...rest}
      disabled={rest.disabled || busy}
      className={clsx(buttonClass(tone, small), className)}
    >
      {busy && <LoaderCircle className="size-4 animate-spin" aria-hidden />}
      {children}
    </button>
  );
}

/** A button that is an icon; its name is its tooltip. */
export function IconButton({ name, className, ...rest }: ButtonProps & { name: string }) {
  return (
    <button
      type="button"
      aria-label={name}
      data-tip={name}
      {...rest}
      className={clsx(
        "inline-flex size-9 shrink-0 items-center justify-center rounded-lg text-muted hover:bg-hover hover:text-ink disabled:opacity-50",
        className,
      )}
    />
  );
}

const BADGES = {
  green: "bg-soft text-on-soft",
  red: "bg-danger-soft text-danger",
  amber: "bg-warn-soft text-warn",
  blue: "bg-info-soft text-info",
  gray: "bg-hover text-muted",
};
export type BadgeTone = keyof typeof BADGES;

export function Badge({
  tone = "gray",
  children,
  className,
}: {
  tone?: BadgeTone;
  children: ReactNode;
  className?: string;
}) {
  return (
    <span
      className={clsx(
        "inline-flex items-center gap-1 whitespace-nowrap rounded-full px-2 py-0.5 text-[0.78rem] font-medium leading-5",
        BADGES[tone],
        className,
      )}
    >
      {children}
    </span>
  );
}

const STATUS_TONES: Record<Status, BadgeTone> = {
  starting: "amber",
  processing: "blue",
  succeeded: "green",
  failed: "red",
  canceled: "gray",
};
const STATUS_COLORS: Record<Status, string> = {
  starting: "text-warn",
  processing: "text-info",
  succeeded: "text-accent",
  failed: "text-danger",
  canceled: "text-faint",
};
const STATUS_WORDS: Record<Status, string> = {
  starting: "waiting",
  processing: "running",
  succeeded: "succeeded",
  failed: "failed",
  canceled: "canceled",
};

export function StatusBadge({ status }: { status: Status }) {
  const moving = status === "starting" || status === "processing";
  return (
    <Badge tone={STATUS_TONES[status]}>
      <span className={clsx("size-1.5 rounded-full bg-current", moving && "animate-pulse")} aria-hidden />
      {STATUS_WORDS[status]}
    </Badge>
  );
}

const STATUS_ICONS = {
  starting: Clock,
  processing: LoaderCircle,
  succeeded: CircleCheck,
  failed: CircleX,
  canceled: Ban,
};

/** Where a badge is too wide: told apart by its form, not by its color alone. */
export function StatusIcon({ status, className }: { status: Status; className?: string }) {
  const Icon = STATUS_ICONS[status];
  return (
    <span title={STATUS_WORDS[status]} className={clsx("block", className)}>
      <Icon className={clsx("size-full", STATUS_COLORS[status])} aria-hidden />
      <span className="sr-only">{STATUS_WORDS[status]}</span>
    </span>
  );
}

export function CopyButton({ text, name = "Copy", label }: { text: string; name?: string; label?: string }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    await copyText(text);
    setCopied(true);
    setTimeout(() => setCopied(false), 1500);
  };
  const Icon = copied ? Check : Copy;
  if (label)
    return (
      <Button small onClick={copy}>
        <Icon className="size-4" aria-hidden />
        <span aria-live="polite">{copied ? "Copied" : label}</span>
      </Button>
    );
  return (
    <IconButton name={copied ? "Copied" : name} onClick={copy} className="size-8">
      <Icon className="size-4" aria-hidden />
    </IconButton>
  );
}

/** On plain HTTP to another machine browsers have no clipboard; a selection can be copied everywhere. */
export async function copyText(text: string): Promise<void> {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

export function Skeleton({ className }: { className?: string }) {
  return <div className={clsx("skeleton", className ?? "h-4 w-full")} aria-hidden />;
}

export function Loading({ rows = 4 }: { rows?: number }) {
  return (
    <div className="space-y-3" role="status" aria-label="Loading">
      {Array.from({ length: rows }, (_, i) => (
        <Skeleton key={i} className={clsx("h-5", ["w-full", "w-11/12", "w-9/12", "w-10/12"][i % 4])} />
      ))}
    </div>
  );
}

export function Empty({
  icon,
  title,
  children,
  action,
}: {
  icon: ReactNode;
  title: string;
  children?: ReactNode;
  action?: ReactNode;
}) {
  return (
    <div className="flex flex-col items-center px-6 py-14 text-center">
      <div className="mb-4 flex size-12 items-center justify-center rounded-2xl bg-soft text-on-soft">
        {icon}
      </div>
      <p className="text-base font-semibold">{title}</p>
      {children && <div className="mt-1 max-w-md text-muted">{children}</div>}
      {action && <div className="mt-5 flex flex-wrap justify-center gap-2">{action}</div>}
    </div>
  );
}

/** What went wrong, where, and what to do. */
export function ErrorNote({ error, retry }: { error: unknown; retry?: () => void }) {
  if (!error) return null;
  const problem = error instanceof ApiProblem ? error : null;
  const offline = problem?.isOffline;
  return (
    <div
      role="alert"
      className="flex items-start gap-3 rounded-lg border border-danger/30 bg-danger-soft px-3.5 py-3 text-danger"
    >
      {offline ? (
        <WifiOff className="mt-0.5 size-4 shrink-0" />
      ) : (
        <CircleAlert className="mt-0.5 size-4 shrink-0" />
      )}
      <div className="wrap min-w-0 flex-1">
        <p className="font-medium">{error instanceof Error ? error.message : String(error)}</p>
        {problem && problem.fields.length > 1 && (
          <ul className="mt-1 list-disc pl-4 text-[0.9rem]">
            {problem.fields.map((field) => (
              <li key={field.field}>
                <code>{field.field}</code>: {field.description}
              </li>
            ))}
          </ul>
        )}
        {problem?.retryAfter && <p className="text-[0.9rem]">Try again in {problem.retryAfter} s.</p>}
      </div>
      {retry && (
        <Button small onClick={retry}>
          Try again
        </Button>
      )}
    </div>
  );
}

export function PageHeader({
  title,
  children,
  actions,
}: {
  title: ReactNode;
  children?: ReactNode;
  actions?: ReactNode;
}) {
  return (
    <header className="mb-6 flex flex-wrap items-end justify-between gap-x-6 gap-y-3">
      <div className="min-w-0">
        <h1 className="wrap text-[1.6rem] font-semibold leading-tight tracking-tight">{title}</h1>
        {children && <p className="mt-1 max-w-2xl text-muted">{children}</p>}
      </div>
      {actions && <div className="flex flex-wrap items-center gap-2">{actions}</div>}
    </header>
  );
}

export function Section({
  title,
  hint,
  actions,
  children,
  className,
}: {
  title: ReactNode;
  hint?: ReactNode;
  actions?: ReactNode;
  children: ReactNode;
  className?: string;
}) {
  return (
    <section className={clsx("card", className)}>
      <div className="flex flex-wrap items-center justify-between gap-2 border-b px-4 py-2.5 sm:px-5">
        <div>
          <h2 className="font-semibold">{title}</h2>
          {hint && <p className="hint">{hint}</p>}
        </div>
        {actions}
      </div>
      <div className="p-4 sm:p-5">{children}</div>
    </section>
  );
}

/** A native dialog: focus stays inside, Escape closes, and nothing of it needs an inline style. */
export function Dialog({
  open,
  onClose,
  title,
  children,
  wide,
}: {
  open: boolean;
  onClose: () => void;
  title: string;
  children: ReactNode;
  wide?: boolean;
}) {
  const ref = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const dialog = ref.current;
    if (open && !dialog?.open) dialog?.showModal();
    if (!open && dialog?.open) dialog.close();
  }, [open]);
  if (!open) return null;
  return (
    <dialog
      ref={ref}
      aria-label={title}
      onClose={onClose}
      onMouseDown={(event) => event.target === ref.current && onClose()}
      className={clsx(
        "m-auto max-h-[90dvh] w-[calc(100vw-2rem)] overflow-auto rounded-2xl border bg-surface p-0 text-ink shadow-2xl",
        wide ? "max-w-3xl" : "max-w-lg",
      )}
    >
      <div className="p-5 sm:p-6">
        <h2 className="mb-3 text-lg font-semibold">{title}</h2>
        {children}
      </div>
    </dialog>
  );
}

/** A question before something that cannot be taken back. */
export function Confirm({
  open,
  title,
  children,
  action,
  keep = "Keep it",
  busy,
  error,
  onConfirm,
  onClose,
}: {
  open: boolean;
  title: string;
  children: ReactNode;
  action: string;
  keep?: string;
  busy?: boolean;
  error?: unknown;
  onConfirm: () => void;
  onClose: () => void;
}) {
  return (
    <Dialog open={open} onClose={onClose} title={title}>
      <div className="space-y-4">
        <div className="text-muted">{children}</div>
        <ErrorNote error={error} />
        <div className="flex justify-end gap-2">
          <Button onClick={onClose}>{keep}</Button>
          <Button tone="danger" onClick={onConfirm} busy={busy}>
            {action}
          </Button>
        </div>
      </div>
    </Dialog>
  );
}

export function Select(props: ComponentProps<"select">) {
  return <select {...props} className={clsx("field min-h-9 w-auto py-1.5 pr-8", props.className)} />;
}

export function Switch({
  checked,
  onChange,
  id,
  label,
}: {
  checked: boolean;
  onChange: (checked: boolean) => void;
  id?: string;
  label?: string;
}) {
  return (
    <button
      type="button"
      role="switch"
      id={id}
      aria-checked={checked}
      aria-label={label}
      onClick={() => onChange(!checked)}
      className={clsx(
        "relative h-6 w-10 shrink-0 rounded-full border transition-colors",
        checked ? "border-accent bg-accent" : "border-strong bg-sunken",
      )}
    >
      <span
        className={clsx(
          "absolute top-0.5 size-4.5 rounded-full shadow transition-all",
          checked ? "left-4.5 bg-on-accent" : "left-0.5 bg-strong",
        )}
      />
    </button>
  );
}

export function Code({
  text,
  language,
  className,
  wrap,
}: {
  text: string;
  language?: string;
  className?: string;
  wrap?: boolean;
}) {
  return (
    <div className={clsx("flex items-start rounded-lg border bg-sunken", className)}>
      <Pre
        name={language ? `Code, ${language}` : "Code"}
        className={clsx(
          "min-w-0 flex-1 overflow-x-auto p-3.5 pr-0 font-mono text-[0.83rem] leading-relaxed",
          wrap && "wrap whitespace-pre-wrap",
        )}
      >
        {text}
      </Pre>
      <div className="p-1.5">
        <CopyButton text={text} name="Copy the code" />
      </div>
    </div>
  );
}

/** Plain text in a box that scrolls, by the keyboard as well. */
export function Pre({ name, className, children }: { name: string; className?: string; children: string }) {
  return (
    <pre role="region" tabIndex={0} aria-label={name} className={className}>
      {children}
    </pre>
  );
}

/** A schema's words; what stands between backticks is code. */
export function Described({ text }: { text: string }) {
  return text.split("`").map((part, i) =>
    i % 2 ? (
      <code key={i} className="font-mono text-[0.95em]">
        {part}
      </code>
    ) : (
      part
    ),
  );
}

export function Facts({ rows }: { rows: [string, ReactNode][] }) {
  return (
    <dl className="grid grid-cols-[auto_1fr] gap-x-6 gap-y-2 text-[0.93rem]">
      {rows.map(([name, value]) => (
        <div key={name} className="contents">
          <dt className="text-muted">{name}</dt>
          <dd className="wrap min-w-0">{value}</dd>
        </div>
      ))}
    </dl>
  );
}

export function Progress({ value, label }: { value: number | null; label: string }) {
  return (
    <div
      role="progressbar"
      aria-label={label}
      aria-valuenow={value === null ? undefined : Math.round(value * 100)}
      aria-valuemin={0}
      aria-valuemax={100}
      className="h-1.5 overflow-hidden rounded-full bg-hover"
    >
      {value === null ? (
        <div className="h-full w-1/3 rounded-full bg-accent [animation:slide_1.2s_ease-in-out_infinite]" />
      ) : (
        <div
          className="h-full rounded-full bg-accent transition-[width] duration-300"
          style={{ width: `${value * 100}%` }}
        />
      )}
    </div>
  );
}

/** The time now, by a clock that ticks; only pages that show ages use it. */
export function useNow(every = 1000): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => document.hidden || setNow(Date.now()), every);
    return () => clearInterval(timer);
  }, [every]);
  return now;
}
