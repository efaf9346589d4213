import { clsx } from "clsx";
import { type KeyboardEvent, type ReactNode, useEffect, useId, useRef } from "react";

export interface Tab<T extends string> {
  value: T;
  label: ReactNode;
  content: ReactNode;
}

const STEPS: Record<string, number> = { ArrowRight: 1, ArrowLeft: -1 };

/** Tabs whose choice the caller keeps, mostly in the address. Arrow keys, Home and End go from tab to tab. */
export function Tabs<T extends string>({
  value,
  onChange,
  tabs,
  label,
  className,
}: {
  value: T;
  onChange: (value: T) => void;
  tabs: Tab<T>[];
  label: string;
  className?: string;
}) {
  const id = useId();
  const list = useRef<HTMLDivElement>(null);
  const shown = tabs.find((tab) => tab.value === value) ?? (tabs[0] as Tab<T>);
  useEffect(() => {
    const active = list.current?.querySelector<HTMLElement>(`[data-value="${CSS.escape(value)}"]`);
    // The row alone is scrolled, never the page.
    if (active && list.current) list.current.scrollLeft = active.offsetLeft - 48;
  }, [value]);
  const onKey = (event: KeyboardEvent) => {
    const at = tabs.indexOf(shown);
    const to =
      event.key === "Home"
        ? 0
        : event.key === "End"
          ? tabs.length - 1
          : event.key in STEPS
            ? (at + (STEPS[event.key] ?? 0) + tabs.length) % tabs.length
            : -1;
    if (to < 0) return;
    event.preventDefault();
    list.current?.querySelectorAll<HTMLElement>("[role=tab]")[to]?.focus();
    onChange((tabs[to] as Tab<T>).value);
  };
  return (
    <div className={className}>
      <div
        ref={list}
        role="tablist"
        aria-label={label}
        onKeyDown={onKey}
        className="-mx-1 relative flex gap-1 overflow-x-auto overflow-y-hidden border-b px-1"
      >
        {tabs.map((tab) => (
          <button
            key={tab.value}
            type="button"
            role="tab"
            id={`${id}-${tab.value}`}
            aria-selected={tab === shown}
            aria-controls={tab === shown ? `${id}-shown` : undefined}
            tabIndex={tab === shown ? 0 : -1}
            data-value={tab.value}
            onClick={() => onChange(tab.value)}
            className={clsx(
              "whitespace-nowrap border-b-2 px-3 py-2.5 font-medium",
              tab === shown ? "border-accent text-ink" : "border-transparent text-muted hover:text-ink",
            )}
          >
            {tab.label}
          </button>
        ))}
      </div>
      <div
        key={shown.value}
        role="tabpanel"
        id={`${id}-shown`}
        aria-labelledby={`${id}-${shown.value}`}
        tabIndex={-1}
        className="pt-5 outline-none"
      >
        {shown.content}
      </div>
    </div>
  );
}
