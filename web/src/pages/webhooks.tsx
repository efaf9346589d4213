/** The secret that signs one's webhooks, and what was sent lately. */
import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { Eye, EyeOff, RefreshCw, Webhook } from "lucide-react";
import { useState } from "react";
import { call, cursorOf } from "../api/client";
import type { Delivery } from "../api/types";
import { moment } from "../lib/format";
import {
  Button,
  Code,
  Confirm,
  CopyButton,
  Empty,
  ErrorNote,
  Loading,
  PageHeader,
  Section,
} from "../ui/basics";
import { toast, toastError } from "../ui/toasts";
import { DeliveryView } from "./prediction-webhooks";

interface Secret {
  key: string;
  previous_key?: string;
  previous_key_expires_at?: string;
}

type Sent = Delivery & { prediction: string };

interface Page {
  results: Sent[];
  next: string | null;
}

const CHECK = `from standardwebhooks.webhooks import Webhook

prediction = Webhook("whsec_…").verify(body, headers)  # raises when it is not genuine
print(prediction["id"], prediction["status"])`;

export function WebhooksPage() {
  return (
    <>
      <PageHeader title="Webhooks">
        Send <code className="font-mono">"webhook": "https://…"</code> with a prediction, and its events are
        posted there, signed and tried again for about a day.
      </PageHeader>
      <div className="space-y-5">
        <SecretCard />
        <Deliveries />
      </div>
    </>
  );
}

function SecretCard() {
  const client = useQueryClient();
  const [shown, setShown] = useState(false);
  const [asked, setAsked] = useState(false);
  const [leaked, setLeaked] = useState(false);
  const secret = useQuery({
    queryKey: ["webhook-secret"],
    queryFn: () => call<Secret>("GET", "/v1/webhooks/default/secret"),
  });
  const rotate = useMutation({
    mutationFn: () =>
      call<Secret>("POST", "/v1/webhooks/default/secret/rotate", leaked ? { overlap_hours: 0 } : undefined),
    onSuccess: (made) => {
      setAsked(false);
      client.setQueryData(["webhook-secret"], made);
      toast("There is a new signing secret.");
    },
  });
  return (
    <Section title="Signing secret" hint="A receiver checks with it that a webhook came from here">
      <ErrorNote error={secret.error} retry={() => secret.refetch()} />
      {secret.isPending && <Loading rows={1} />}
      {secret.data && (
        <div className="space-y-4">
          <div className="flex flex-wrap items-center gap-2">
            <code className="min-h-10 w-full truncate rounded-lg sm:w-auto sm:min-w-0 sm:flex-1 border bg-sunken px-3 py-2 font-mono text-[0.87rem]">
              {shown ? secret.data.key : `whsec_${"•".repeat(24)}`}
            </code>
            <Button onClick={() => setShown(!shown)}>
              {shown ? <EyeOff className="size-4" aria-hidden /> : <Eye className="size-4" aria-hidden />}
              {shown ? "Hide" : "Show"}
            </Button>
            <CopyButton text={secret.data.key} name="Copy the secret" />
            <Button onClick={() => setAsked(true)}>
              <RefreshCw className="size-4" aria-hidden /> Replace
            </Button>
          </div>
          {secret.data.previous_key && (
            <p className="hint">
              The secret before signs too, until {moment(secret.data.previous_key_expires_at)}.
            </p>
          )}
          <details>
            <summary className="font-medium text-muted">How to check a signature in Python</summary>
            <Code text={CHECK} language="Python" className="mt-2" />
          </details>
        </div>
      )}
      <Confirm
        open={asked}
        title="Replace the signing secret?"
        action="Replace it"
        busy={rotate.isPending}
        error={rotate.error}
        onClose={() => setAsked(false)}
        onConfirm={() => rotate.mutate()}
      >
        <p>
          {leaked
            ? "The secret until now ends at once: receivers that have it refuse what comes, until they have the new one."
            : "For a day webhooks are signed with both, so that you can change your receivers one by one."}
        </p>
        <label className="mt-3 flex items-start gap-2.5 text-ink">
          <input
            type="checkbox"
            className="mt-1 size-4 accent-[var(--accent)]"
            checked={leaked}
            onChange={(event) => setLeaked(event.target.checked)}
          />
          It has leaked: end it at once
        </label>
      </Confirm>
    </Section>
  );
}

function Deliveries() {
  const client = useQueryClient();
  const deliveries = useInfiniteQuery({
    queryKey: ["all-deliveries"],
    initialPageParam: "",
    queryFn: ({ pageParam }) =>
      call<Page>("GET", `/v1/webhooks/deliveries?limit=20${pageParam && `&cursor=${pageParam}`}`),
    getNextPageParam: (page) => cursorOf(page.next),
    refetchInterval: 10_000,
  });
  const send = useMutation({
    mutationFn: (sent: Sent) =>
      call("POST", `/v1/predictions/${sent.prediction}/deliveries/${encodeURIComponent(sent.id)}/redeliver`),
    onSuccess: () => {
      toast("It is sent again.");
      client.invalidateQueries({ queryKey: ["all-deliveries"] });
    },
    onError: toastError,
  });
  const list = deliveries.data?.pages.flatMap((page) => page.results) ?? [];
  return (
    <Section title="Deliveries" hint="The latest first">
      <ErrorNote error={deliveries.error} retry={() => deliveries.refetch()} />
      {deliveries.isPending && <Loading rows={3} />}
      {deliveries.isSuccess && !list.length && (
        <Empty icon={<Webhook className="size-5" />} title="Nothing was sent yet">
          Each try appears here with the receiver's answer, and can be sent again.
        </Empty>
      )}
      <ul className="space-y-3">
        {list.map((sent) => (
          <li key={sent.id}>
            <DeliveryView
              prediction={sent.prediction}
              delivery={sent}
              onSend={() => send.mutate(sent)}
              busy={send.isPending && send.variables?.id === sent.id}
            >
              <Link
                to="/p/$id"
                params={{ id: sent.prediction }}
                className="mt-2 inline-block rounded text-[0.87rem] font-medium text-accent hover:underline"
              >
                Open its prediction
              </Link>
            </DeliveryView>
          </li>
        ))}
      </ul>
      {deliveries.hasNextPage && (
        <div className="mt-4 text-center">
          <Button onClick={() => deliveries.fetchNextPage()} busy={deliveries.isFetchingNextPage}>
            More
          </Button>
        </div>
      )}
    </Section>
  );
}
