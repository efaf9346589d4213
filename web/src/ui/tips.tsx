/** What a button does, beside it: one bubble for the whole page, so that hundreds of buttons cost nothing until one is
 * pointed at. In the browser's top layer, so that it is seen over dialogs, too. */
import { useEffect, useRef } from "react";

const DELAY_MS = 300;
const LINGER_MS = 120; // in which the pointer may move into the bubble
const GAP = 6;
const EDGE = 8;

export function Tips() {
  const bubble = useRef<HTMLDivElement>(null);
  useEffect(() => (bubble.current ? watchTips(bubble.current) : undefined), []);
  return (
    <div
      ref={bubble}
      id="tip"
      role="tooltip"
      popover="manual"
      className="fixed m-0 max-w-xs rounded-md border-0 bg-ink px-2 py-1 text-[0.8rem] text-bg shadow-lg"
    />
  );
}

function watchTips(bubble: HTMLDivElement): () => void {
  let shown: HTMLElement | null = null;
  let pressed: HTMLElement | null = null; // says no more until the pointer has been elsewhere
  let timer = 0;
  const hide = () => {
    clearTimeout(timer);
    shown?.removeAttribute("aria-describedby");
    shown = null;
    if (bubble.matches(":popover-open")) bubble.hidePopover();
  };
  const show = (of: HTMLElement) => {
    hide();
    if (!of.isConnected || !of.dataset.tip) return;
    shown = of;
    bubble.textContent = of.dataset.tip;
    // Its name is said anyway.
    if (of.ariaLabel !== of.dataset.tip) of.setAttribute("aria-describedby", bubble.id);
    bubble.showPopover();
    place(bubble, of.getBoundingClientRect());
  };
  const onOver = (event: PointerEvent) => {
    if (event.pointerType === "touch") return;
    const of = tipped(event.target);
    clearTimeout(timer);
    if (of === shown || of === pressed || event.target === bubble) return;
    pressed = null;
    if (of) timer = window.setTimeout(() => show(of), shown ? 0 : DELAY_MS);
    else if (shown) timer = window.setTimeout(hide, LINGER_MS);
  };
  const onFocus = (event: FocusEvent) => {
    const of = tipped(event.target);
    if (of?.matches(":focus-visible")) show(of);
    else hide();
  };
  const onKey = (event: KeyboardEvent) => event.key === "Escape" && hide();
  const control = new AbortController();
  const options = { capture: true, passive: true, signal: control.signal };
  document.addEventListener("pointerover", onOver, options);
  document.addEventListener("focusin", onFocus, options);
  document.addEventListener("keydown", onKey, options);
  const onDown = (event: PointerEvent) => {
    hide();
    pressed = tipped(event.target);
  };
  document.addEventListener("pointerdown", onDown, options);
  for (const name of ["scroll", "focusout"]) document.addEventListener(name, hide, options);
  return () => {
    hide();
    control.abort();
  };
}

const tipped = (target: EventTarget | null): HTMLElement | null =>
  target instanceof Element ? target.closest<HTMLElement>("[data-tip]") : null;

/** Above, where there is room, and whole on the screen. */
function place(bubble: HTMLDivElement, at: DOMRect): void {
  const { offsetWidth: width, offsetHeight: height } = bubble;
  const left = at.left + (at.width - width) / 2;
  const above = at.top - height - GAP;
  bubble.style.left = `${Math.max(EDGE, Math.min(left, innerWidth - width - EDGE))}px`;
  bubble.style.top = `${above < EDGE ? at.bottom + GAP : above}px`;
}
