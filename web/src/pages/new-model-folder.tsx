/** The wizard's way for a folder of this computer: choosing it, and how far its upload is. */
import { FolderUp } from "lucide-react";
import { useRef } from "react";
import { type FolderFile, filesOf, sizeOf } from "../lib/folder";
import { bytes, plural } from "../lib/format";
import type { Progress as Sent } from "../lib/upload";
import { Button, Progress } from "../ui/basics";

/** What is sent of a folder, and how much. */
export function ChooseFolder({
  files,
  folder,
  onChoose,
}: {
  files: FolderFile[];
  folder: string;
  onChoose: (folder: string, files: FolderFile[]) => void;
}) {
  const input = useRef<HTMLInputElement>(null);
  const size = bytes(sizeOf(files));
  return (
    <div className="mt-4 flex flex-wrap items-center gap-3">
      <input
        ref={input}
        type="file"
        multiple
        tabIndex={-1}
        className="sr-only"
        aria-label="Folder of the model"
        // React has no name for it, and every browser has.
        {...{ webkitdirectory: "" }}
        onChange={(event) => {
          const list = [...(event.target.files ?? [])];
          onChoose(list[0]?.webkitRelativePath.split("/")[0] ?? "", filesOf(list));
        }}
      />
      <Button onClick={() => input.current?.click()}>
        <FolderUp className="size-4" aria-hidden />
        {files.length ? "Choose another folder" : "Choose the folder"}
      </Button>
      <p className="hint num wrap" aria-live="polite">
        {files.length > 0 && `${folder}: ${plural(files.length, "file")}, ${size}`}
        {!files.length && folder && `${folder} holds no file that a model is loaded from.`}
        {!folder && "The one with config.json, *.safetensors and the like."}
      </p>
    </div>
  );
}

export function UploadProgress({ sent, onStop }: { sent: Sent; onStop: () => void }) {
  const reading = sent.phase === "reading";
  return (
    <div className="space-y-2">
      <Progress
        value={sent.total ? sent.done / sent.total : null}
        label={reading ? "Reading the files" : "Sending the files"}
      />
      <div className="flex flex-wrap items-center justify-between gap-3">
        <p className="hint num">
          {reading ? "Reading for checksums" : "Sent"}: {bytes(sent.done)} of {bytes(sent.total)}. Should it
          break off, choose the same folder again, and it goes on.
        </p>
        <Button small onClick={onStop}>
          Stop
        </Button>
      </div>
    </div>
  );
}
