/** Whether a version could run now. */
import { Badge, type BadgeTone } from "./basics";

const SERVING: Record<string, [BadgeTone, string]> = {
  loaded: ["green", "loaded"],
  unloaded: ["gray", "loads on demand"],
  failed: ["red", "load failed"],
  unhealthy: ["red", "unhealthy"],
  unserved: ["amber", "no worker for it"],
};

export function ServingBadge({ status }: { status: string }) {
  const [tone, words] = SERVING[status] ?? ["gray", status];
  return <Badge tone={tone}>{words}</Badge>;
}
