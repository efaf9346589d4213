/** What of a model's folder is sent, and in which parts. Pure. */
import type { Schemas } from "../api/client";

type Upload = Schemas["ModelUploadOut"];

export interface FolderFile {
  name: string;
  file: File;
}

const TORCH = /\.(safetensors|bin|pt|pth|pkl|ckpt|pickle)$/i;
// As in app/domain/model_downloads.py: what a worker would not fetch is not sent.
const UNWANTED = [
  String.raw`(^|/)\.`,
  String.raw`|\.(bin|pt|pth|pkl|ckpt|pickle|h5|msgpack|onnx|ot|gguf|tflite|mp4|gif)$`,
  "|^(onnx|openvino|coreml)/",
].join("");
const UNWANTED_OF_ONNX = String.raw`(^|/)\.|\.(h5|msgpack|ot|gguf|tflite|mp4|gif)$|^(openvino|coreml)/`;

/** What of a folder's files is sent: what a worker loads a model from. */
export function wantedNames(names: string[]): string[] {
  const unwanted = new RegExp(names.some((name) => TORCH.test(name)) ? UNWANTED : UNWANTED_OF_ONNX, "i");
  return names.filter((name) => !unwanted.test(name) && !name.split("/").includes("__pycache__"));
}

/** Of a chosen folder, without the folder's own name. */
export function filesOf(list: Iterable<File>): FolderFile[] {
  const files = new Map(
    [...list].map((file) => [file.webkitRelativePath.split("/").slice(1).join("/") || file.name, file]),
  );
  return wantedNames([...files.keys()].toSorted()).flatMap((name) => {
    const file = files.get(name);
    return file ? [{ name, file }] : [];
  });
}

export const sizeOf = (files: FolderFile[]): number => files.reduce((sum, { file }) => sum + file.size, 0);

export interface Part {
  path: string;
  content: Blob;
}

/** Those that the server does not have yet. */
export function missingParts(upload: Upload, files: FolderFile[]): Part[] {
  const { part_bytes: size } = upload;
  return upload.files.flatMap((declared, i) => {
    const file = files.find(({ name }) => name === declared.name)?.file;
    if (!file) return [];
    return declared.missing.map((part) => ({
      path: `/v1/models/${upload.model}/upload/${upload.id}/${i}/${part}`,
      content: file.slice(part * size, (part + 1) * size),
    }));
  });
}
