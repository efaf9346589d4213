/** A prediction's webhooks: each with its tries, what it says, and sending it again. */
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { clsx } from "clsx";
import { Send, Webhook } from "lucide-react";
import { type ReactNode, useState } from "react";
import { api, call, data } from "../api/client";
import type { Delivery, Json, Prediction } from "../api/types";
import { ago, moment, seconds } from "../lib/format";
import { Badge, Button, Empty, ErrorNote, Loading } from "../ui/basics";
import { JsonTree } from "../ui/json-tree";
import { toast, toastError } from "../ui/toasts";

export function WebhooksTab({ prediction }: { prediction: Prediction }) {
  const client = useQueryClient();
  const { id } = prediction;
  const deliveries = useQuery({
    queryKey: ["deliveries", id],
    queryFn: () =>
      data(
        api.GET("/v1/predictions/{prediction_id}/deliveries", { params: { path: { prediction_id: id } } }),
      ),
    enabled: Boolean(prediction.webhook),
    refetchInterval: 3_000,
  });
  const send = useMutation({
    mutationFn: (delivery: string) =>
      call("POST", `/v1/predictions/${id}/deliveries/${encodeURIComponent(delivery)}/redeliver`),
    onSuccess: () => {
      toast("It is sent again.");
      client.invalidateQueries({ queryKey: ["deliveries", id] });
    },
    onError: toastError,
  });
  if (!prediction.webhook)
    return (
      <Empty icon={<Webhook className="size-5" />} title="It has no webhook">
        Send <code className="font-mono">"webhook": "https://…"</code> with a prediction, and each try appears
        here.
      </Empty>
    );
  if (deliveries.error) return <ErrorNote error={deliveries.error} retry={() => deliveries.refetch()} />;
  if (!deliveries.data) return <Loading />;
  if (!deliveries.data.results.length)
    return <p className="text-muted">Nothing was sent yet to {prediction.webhook}.</p>;
  return (
    <ul className="space-y-3">
      {deliveries.data.results.map((delivery) => (
        <li key={delivery.id}>
          <DeliveryView
            prediction={id}
            delivery={delivery}
            onSend={() => send.mutate(delivery.id)}
            busy={send.isPending && send.variables === delivery.id}
          />
        </li>
      ))}
    </ul>
  );
}

export function DeliveryView({
  prediction,
  delivery,
  onSend,
  busy,
  children,
}: {
  prediction: string;
  delivery: Delivery;
  onSend: () => void;
  busy: boolean;
  children?: ReactNode;
}) {
  const tone = delivery.status === "delivered" ? "green" : delivery.status === "pending" ? "amber" : "red";
  return (
    <div className="rounded-lg border p-3.5">
      <div className="flex flex-wrap items-center justify-between gap-2">
        <p className="flex flex-wrap items-center gap-2">
          <Badge tone={tone}>{delivery.status.replace("_", " ")}</Badge>
          <span className="font-medium">{delivery.event}</span>
          <span className="hint">{moment(delivery.created_at)}</span>
        </p>
        <Button small onClick={onSend} busy={busy}>
          <Send className="size-3.5" aria-hidden /> Redeliver
        </Button>
      </div>
      <p className="hint wrap mt-1 font-mono">{delivery.url}</p>
      {delivery.next_at && delivery.status === "pending" && (
        <p className="hint">The next try is {ago(delivery.next_at)}.</p>
      )}
      {delivery.attempts.length > 0 && (
        <table className="num mt-2 w-full text-left text-[0.87rem]">
          <thead className="text-muted">
            <tr>
              <th className="w-36 pr-3 font-medium">try</th>
              <th className="pr-3 font-medium">answer</th>
              <th className="text-right font-medium">took</th>
            </tr>
          </thead>
          <tbody>
            {delivery.attempts.map((attempt) => (
              <tr key={attempt.at} className="border-t">
                <td className="whitespace-nowrap py-1 pr-3">{moment(attempt.at)}</td>
                <td
                  className={clsx(
                    "wrap pr-3",
                    attempt.status_code && attempt.status_code < 300 ? "text-accent" : "text-danger",
                  )}
                >
                  {attempt.status_code ?? attempt.error}
                </td>
                <td className="whitespace-nowrap text-right">{seconds(attempt.seconds)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      <Body prediction={prediction} delivery={delivery.id} />
      {children}
    </div>
  );
}

/** What is posted at each try; asked for when somebody wants to see it. */
function Body({ prediction, delivery }: { prediction: string; delivery: string }) {
  const [open, setOpen] = useState(false);
  const body = useQuery({
    queryKey: ["delivery-body", delivery],
    queryFn: () =>
      call<Json>("GET", `/v1/predictions/${prediction}/deliveries/${encodeURIComponent(delivery)}/body`),
    enabled: open,
    staleTime: Number.POSITIVE_INFINITY,
  });
  return (
    <details className="mt-2" onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary className="text-[0.87rem] font-medium text-muted">What it says</summary>
      <div className="mt-2">
        <ErrorNote error={body.error} retry={() => body.refetch()} />
        {body.isPending && open && <Loading rows={2} />}
        {body.data !== undefined && <JsonTree value={body.data} />}
      </div>
    </details>
  );
}
