/** What registering a source would find: what would run it, how large it is, or why nothing would. */
import { useQuery } from "@tanstack/react-query";
import { CircleCheck, TriangleAlert } from "lucide-react";
import { useEffect, useState } from "react";
import { api, data } from "../api/client";
import { bytes, compact, plural } from "../lib/format";
import { ErrorNote } from "../ui/basics";

const PAUSE_MS = 700;
/** What may be a whole address: before that nobody is asked. */
const WHOLE = /^(hf:[^/\s]+\/[^/\s]+|path:\/\S.*|s3:\/\/[^/\s]+\/\S+)$/;

/** The value once it has not changed for a moment. */
function useSettled<T>(value: T): T {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), PAUSE_MS);
    return () => clearTimeout(timer);
  }, [value]);
  return settled;
}

export function FoundOut({ source, runtime }: { source: string; runtime: string }) {
  const asked = useSettled(source);
  const isWhole = WHOLE.test(asked) && asked === source;
  const report = useQuery({
    queryKey: ["check", asked, runtime],
    queryFn: () =>
      data(api.POST("/v1/models/check", { body: { source: asked, ...(runtime && { runtime }) } as never })),
    enabled: isWhole,
    retry: false,
    staleTime: 60_000,
  });
  if (!isWhole) return null;
  const found = report.data;
  const facts = found && [
    found.task,
    found.files !== null && `${plural(found.files, "file")}, ${bytes(found.bytes)}`,
    found.parameters > 0 && `${compact(found.parameters)} parameters in ${found.dtype}`,
    found.memory_bytes > 0 && `${bytes(found.memory_bytes)} of memory`,
  ];
  return (
    <div className="mt-3 space-y-2" role="status" aria-label="What was found out">
      {report.isFetching && <p className="hint">Looking at its files …</p>}
      <ErrorNote error={report.error} retry={() => report.refetch()} />
      {found && !found.problems.length && (
        <p className="flex items-start gap-2 rounded-lg bg-soft p-3.5 text-on-soft">
          <CircleCheck className="mt-0.5 size-4 shrink-0" aria-hidden />
          <span className="wrap min-w-0">
            <span className="font-medium">{found.runtime} runs it.</span> {facts?.filter(Boolean).join(" · ")}
          </span>
        </p>
      )}
      {found && found.problems.length > 0 && (
        <ul className="space-y-1.5 rounded-lg bg-warn-soft p-3.5 text-warn">
          {found.problems.map((problem) => (
            <li key={`${problem.field}${problem.description}`} className="flex items-start gap-2">
              <TriangleAlert className="mt-0.5 size-4 shrink-0" aria-hidden />
              <span className="wrap min-w-0">
                <code className="font-mono">{problem.field}</code> {problem.description}
              </span>
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}
