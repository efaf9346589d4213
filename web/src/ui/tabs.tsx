import { clsx } from "clsx";
import { Tabs as Parts } from "radix-ui";
import { type ReactNode, useEffect, useRef } from "react";

export interface Tab<T extends string> {
  value: T;
  label: ReactNode;
  content: ReactNode;
}

/** Tabs whose choice the caller keeps, mostly in the address. */
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
  const list = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const active = list.current?.querySelector<HTMLElement>(`[data-value="${CSS.escape(value)}"]`);
    // The row alone is scrolled, never the page.
    if (active && list.current) list.current.scrollLeft = active.offsetLeft - 48;
  }, [value]);
  return (
    <Parts.Root value={value} onValueChange={(next) => onChange(next as T)} className={className}>
      <Parts.List
        ref={list}
        aria-label={label}
        className="-mx-1 relative flex gap-1 overflow-x-auto overflow-y-hidden border-b px-1"
      >
        {tabs.map((tab) => (
          <Parts.Trigger
            key={tab.value}
            value={tab.value}
            data-value={tab.value}
            className={clsx(
              "whitespace-nowrap border-b-2 border-transparent px-3 py-2.5 font-medium text-muted hover:text-ink",
              "data-[state=active]:border-accent data-[state=active]:text-ink",
            )}
          >
            {tab.label}
          </Parts.Trigger>
        ))}
      </Parts.List>
      {tabs.map((tab) => (
        <Parts.Content key={tab.value} value={tab.value} className="pt-5" tabIndex={-1}>
          {tab.content}
        </Parts.Content>
      ))}
    </Parts.Root>
  );
}
