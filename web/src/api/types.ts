/** Names for the shapes of the API that pages speak of. */
import type { Schemas } from "./client";

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };
export type Input = Record<string, Json>;
export type Status = "starting" | "processing" | "succeeded" | "failed" | "canceled";

export type Prediction = Schemas["PredictionOut"] & {
  error_code?: string;
  progress?: { done: number; total: number };
  routing?: { queue?: string; strategy?: string; reasons?: string[] };
  webhook?: string;
  webhook_events_filter?: string[];
  timeout?: number;
};
export type Model = Schemas["ModelOut"];
export type Version = Schemas["VersionOut"];
export type StatusOut = Schemas["StatusOut"];
export type Worker = Schemas["WorkerOut"];
export type Delivery = Schemas["DeliveryOut"];
export type Runtime = Schemas["RuntimeOut"];
export type UploadedFile = Schemas["FileOut"];
export type Key = Schemas["KeyOut"];

export interface LoadedModel {
  version: string;
  model: string;
  state: string;
  bytes: number;
  in_use: number;
  batch_size: number;
  pace: number;
  /** Of the batch that ended last: its items, and the share of it that was padding. */
  last_batch?: number;
  padding?: number;
  limit: number;
  pinned: boolean;
  reason?: string;
  retry_in?: number;
}

/** A JSON Schema as versions have them. */
export interface Schema {
  type?: string;
  title?: string;
  description?: string;
  format?: string;
  default?: Json;
  enum?: Json[];
  minimum?: number;
  maximum?: number;
  maxLength?: number;
  maxItems?: number;
  nullable?: boolean;
  items?: Schema;
  properties?: Record<string, Schema>;
  required?: string[];
  oneOf?: { required?: string[] }[];
  anyOf?: Schema[];
  allOf?: Schema[];
  $ref?: string;
  contentMediaType?: string;
  "x-order"?: number;
  "x-cog-array-display"?: string;
}

export const ENDED: readonly string[] = ["succeeded", "failed", "canceled"];
export const isEnded = (status: string): boolean => ENDED.includes(status);
