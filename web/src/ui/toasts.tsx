/** Short words about what was done, said to screen readers too. */
import { clsx } from "clsx";
import { CircleAlert, CircleCheck } from "lucide-react";
import { useEffect, useState } from "react";

interface Toast {
  id: number;
  text: string;
  bad: boolean;
}

const SECONDS = 5;
let number = 0;
let show: (toast: Toast) => void = () => {};

export function toast(text: string, bad = false): void {
  number += 1;
  show({ id: number, text, bad });
}

export const toastError = (error: unknown): void =>
  toast(error instanceof Error ? error.message : String(error), true);

export function Toasts() {
  const [toasts, setToasts] = useState<Toast[]>([]);
  useEffect(() => {
    show = (added) => {
      setToasts((now) => [...now.slice(-2), added]);
      setTimeout(() => setToasts((now) => now.filter((each) => each.id !== added.id)), SECONDS * 1000);
    };
  }, []);
  return (
    <div
      aria-live="polite"
      className="pointer-events-none fixed inset-x-4 bottom-4 z-50 flex flex-col items-center gap-2 sm:items-end"
    >
      {toasts.map((each) => (
        <div
          key={each.id}
          className={clsx(
            "card wrap pointer-events-auto flex max-w-md items-start gap-2.5 px-4 py-3 shadow-lg",
            each.bad && "border-danger/40",
          )}
        >
          {each.bad ? (
            <CircleAlert className="mt-0.5 size-4 shrink-0 text-danger" />
          ) : (
            <CircleCheck className="mt-0.5 size-4 shrink-0 text-accent" />
          )}
          <span>{each.text}</span>
        </div>
      ))}
    </div>
  );
}
