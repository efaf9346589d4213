/** A prediction's output as it grows: server-sent events over fetch, resumed where they stopped. */
import { EventSourceParserStream } from "eventsource-parser/stream";
import { here } from "../api/client";

export interface StreamHandlers {
  onText(text: string): void;
  /** The worker began again: what came so far is void. */
  onRestart(): void;
  onEnd(): void;
}

const RESUME_MS = 800;

/** Reads until `done`, however often the connection breaks. `signal` ends it. */
export async function readStream(url: string, handlers: StreamHandlers, signal: AbortSignal): Promise<void> {
  let last = "";
  while (!signal.aborted) {
    try {
      const response = await fetch(here(url), {
        signal,
        headers: { Accept: "text/event-stream", ...(last ? { "Last-Event-ID": last } : {}) },
      });
      // Not there, or its data was removed: asking again would change nothing.
      if (response.status === 404 || response.status === 410) return handlers.onEnd();
      if (response.ok && response.body) {
        const events = response.body
          .pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array<ArrayBuffer>>)
          .pipeThrough(new EventSourceParserStream())
          .getReader();
        for (;;) {
          const { done, value } = await events.read();
          if (done) break;
          if (value.id) last = value.id;
          if (value.event === "output") handlers.onText(value.data);
          else if (value.event === "restart") handlers.onRestart();
          else if (value.event === "done") return handlers.onEnd();
        }
      }
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof TypeError)) console.warn("stream", error);
    }
    await new Promise((resolve) => setTimeout(resolve, RESUME_MS));
  }
}

/** Text that grows by pieces, told to whoever shows it at most once a frame. */
export class GrowingText {
  private pieces: string[] = [];
  private listeners = new Set<() => void>();
  private due = 0;
  /** How often it began anew. */
  generation = 0;

  append(piece: string): void {
    this.pieces.push(piece);
    this.changed();
  }

  clear(): void {
    this.pieces = [];
    this.generation += 1;
    this.changed();
  }

  get length(): number {
    return this.pieces.length;
  }

  get list(): readonly string[] {
    return this.pieces;
  }

  from(piece: number): string {
    return this.pieces.slice(piece).join("");
  }

  subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  private changed(): void {
    if (this.due) return;
    this.due = requestAnimationFrame(() => {
      this.due = 0;
      for (const listener of this.listeners) listener();
    });
  }
}
