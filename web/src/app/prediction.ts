/** Making a prediction and following it to its end, wherever it was begun: a reload goes on. */
import { type QueryClient, queryOptions, useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useMemo, useState } from "react";
import { api, call, data } from "../api/client";
import { type Input, isEnded, type Prediction } from "../api/types";
import { GrowingText, readStream } from "../lib/stream";

const LOOK_MS = 700;
const LOOK_STREAMING_MS = 3_000;

/** Whose output comes by stream need not be fetched whole again and again. */
function lookAgain(prediction: Prediction | undefined): number | false {
  if (!prediction) return LOOK_MS;
  if (isEnded(prediction.status)) return false;
  return prediction.status === "processing" && prediction.urls.stream ? LOOK_STREAMING_MS : LOOK_MS;
}

export const predictionQuery = (id: string) =>
  queryOptions({
    queryKey: ["prediction", id],
    queryFn: () =>
      data(
        api.GET("/v1/predictions/{prediction_id}", { params: { path: { prediction_id: id } } }),
      ) as Promise<Prediction>,
    refetchInterval: (query) => lookAgain(query.state.data),
    staleTime: (query) => (query.state.data && isEnded(query.state.data.status) ? 600_000 : 0),
  });

export async function createPrediction(
  client: QueryClient,
  version: string,
  input: Input,
): Promise<Prediction> {
  const made = await call<Prediction>("POST", "/v1/predictions", { version, input });
  client.setQueryData(["prediction", made.id], made);
  client.invalidateQueries({ queryKey: ["predictions"] });
  return made;
}

export function useCancel(id: string) {
  const client = useQueryClient();
  const [busy, setBusy] = useState(false);
  const cancel = async () => {
    setBusy(true);
    try {
      const now = await call<Prediction>("POST", `/v1/predictions/${id}/cancel`);
      client.setQueryData(["prediction", id], now);
    } finally {
      setBusy(false);
    }
  };
  return { cancel, busy };
}

export interface Followed {
  prediction: Prediction | undefined;
  error: unknown;
  /** The output of a model that streams, as it comes. */
  text: GrowingText;
  streaming: boolean;
}

export function useFollowed(id: string): Followed {
  const client = useQueryClient();
  const { data: prediction, error } = useQuery(predictionQuery(id));
  // biome-ignore lint/correctness/useExhaustiveDependencies: another prediction has another text
  const text = useMemo(() => new GrowingText(), [id]);
  const [streaming, setStreaming] = useState(false);
  const stream = prediction?.urls.stream;
  const wanted = Boolean(stream && prediction && !isEnded(prediction.status)) || streaming;
  useEffect(() => {
    if (!wanted || !stream) return;
    const control = new AbortController();
    setStreaming(true);
    text.clear();
    readStream(
      stream,
      {
        onText: (piece) => text.append(piece),
        onRestart: () => text.clear(),
        onEnd: () => {
          client.invalidateQueries({ queryKey: ["prediction", id] }).then(() => setStreaming(false));
        },
      },
      control.signal,
    );
    return () => control.abort();
    // Once begun it is read to its end, whatever the row says meanwhile.
  }, [wanted, stream, id, client, text]);
  return { prediction, error, text, streaming };
}
