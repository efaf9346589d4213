/** One WebSocket for the whole app, open while somebody looks: events of one's own predictions and the queue. */
import { useEffect, useRef, useSyncExternalStore } from "react";
import { BASE, BASE_PATH } from "../api/client";

type Topic = "status" | "backend" | "queue";
type Listener = (event: Record<string, unknown>) => void;

const RETRY_MS = 3_000;
const IDLE_MS = 5_000; // from page to page nothing is closed and opened again

class Live {
  private socket: WebSocket | null = null;
  private listeners = new Map<Topic, Set<Listener>>();
  private watchers = new Set<() => void>();
  private timer = 0;
  private idle = 0;
  isOpen = false;

  listen(topic: Topic, listener: Listener): () => void {
    const set = this.listeners.get(topic) ?? new Set();
    this.listeners.set(topic, set.add(listener));
    if (this.isOpen) this.send("subscribe", topic);
    else this.open();
    return () => {
      set.delete(listener);
      if (set.size) return;
      this.listeners.delete(topic);
      if (this.isOpen) this.send("unsubscribe", topic);
      clearTimeout(this.idle);
      this.idle = window.setTimeout(() => this.listeners.size || this.socket?.close(), IDLE_MS);
    };
  }

  watch = (watcher: () => void): (() => void) => {
    this.watchers.add(watcher);
    return () => this.watchers.delete(watcher);
  };

  private send(type: string, ...topics: Topic[]): void {
    if (topics.length && this.socket?.readyState === WebSocket.OPEN)
      this.socket.send(JSON.stringify({ type, topics }));
  }

  private open(): void {
    if (this.socket || document.hidden) return;
    const scheme = BASE.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${BASE.host}${BASE_PATH}/ws/web`);
    this.socket = socket;
    socket.onmessage = ({ data }) => this.onMessage(JSON.parse(data));
    socket.onclose = () => this.onClose();
  }

  private onMessage(message: Record<string, unknown>): void {
    if (message.type === "welcome") {
      this.setOpen(true);
      this.send("subscribe", ...this.listeners.keys());
    } else if (message.type === "ping") {
      this.socket?.send('{"type":"pong"}');
    } else if (message.type === "event") {
      for (const listener of this.listeners.get(message.topic as Topic) ?? []) listener(message);
    }
  }

  private onClose(): void {
    this.socket = null;
    this.setOpen(false);
    clearTimeout(this.timer);
    if (this.listeners.size) this.timer = window.setTimeout(() => this.open(), RETRY_MS);
  }

  private setOpen(open: boolean): void {
    this.isOpen = open;
    for (const watcher of this.watchers) watcher();
  }

  wake(): void {
    if (!document.hidden && this.listeners.size) this.open();
    if (document.hidden) this.socket?.close();
  }
}

const live = new Live();
document.addEventListener("visibilitychange", () => live.wake());

/** Calls the listener at each event of the topic, while the page is shown. Whether the connection is open. */
export function useLive(topic: Topic, listener: Listener, enabled = true): boolean {
  const latest = useRef(listener);
  latest.current = listener;
  useEffect(
    () => (enabled ? live.listen(topic, (event) => latest.current(event)) : undefined),
    [topic, enabled],
  );
  return useSyncExternalStore(live.watch, () => live.isOpen);
}
