/** One's uploaded files: what models may take as input. */
import { useInfiniteQuery, useMutation, useQueryClient } from "@tanstack/react-query";
import { Download, FileBox, Trash2, Upload } from "lucide-react";
import { useRef, useState } from "react";
import { call, cursorOf, here } from "../api/client";
import type { UploadedFile } from "../api/types";
import { ago, bytes } from "../lib/format";
import { mediaOf } from "../lib/output";
import {
  Button,
  buttonClass,
  Confirm,
  CopyButton,
  Empty,
  ErrorNote,
  Loading,
  PageHeader,
} from "../ui/basics";
import { uploadFile } from "../ui/fields";
import { toast } from "../ui/toasts";

interface Page {
  results: UploadedFile[];
  next: string | null;
}

export function FilesPage() {
  const client = useQueryClient();
  const input = useRef<HTMLInputElement>(null);
  const [removing, setRemoving] = useState<UploadedFile>();
  const files = useInfiniteQuery({
    queryKey: ["files"],
    initialPageParam: "",
    queryFn: ({ pageParam }) => call<Page>("GET", `/v1/files?limit=50${pageParam && `&cursor=${pageParam}`}`),
    getNextPageParam: (page) => cursorOf(page.next),
  });
  const refresh = () => client.invalidateQueries({ queryKey: ["files"] });
  const upload = useMutation({
    mutationFn: async (chosen: FileList) => {
      for (const file of chosen) await uploadFile(file);
      return chosen.length;
    },
    onSuccess: (n) => toast(n === 1 ? "The file is uploaded." : `${n} files are uploaded.`),
    onSettled: refresh,
  });
  const remove = useMutation({
    mutationFn: (file: UploadedFile) => call("DELETE", `/v1/files/${file.id}`),
    onSuccess: () => {
      setRemoving(undefined);
      refresh();
    },
  });
  const list = files.data?.pages.flatMap((page) => page.results) ?? [];
  const add = (
    <Button tone="primary" busy={upload.isPending} onClick={() => input.current?.click()}>
      <Upload className="size-4" aria-hidden /> Upload
    </Button>
  );
  return (
    <>
      <PageHeader title="Files" actions={add}>
        Files of yours that models may take as input, by their address.
      </PageHeader>
      <input
        ref={input}
        type="file"
        multiple
        hidden
        data-testid="upload"
        onChange={(event) => event.target.files?.length && upload.mutate(event.target.files)}
      />
      <div className="space-y-3">
        <ErrorNote error={upload.error} />
        <ErrorNote error={files.error} retry={() => files.refetch()} />
        {files.isPending && <Loading />}
        {files.isSuccess && !list.length && (
          <div className="card">
            <Empty icon={<FileBox className="size-5" />} title="No files" action={add}>
              A file chosen in a model's form is uploaded here, too.
            </Empty>
          </div>
        )}
        {list.length > 0 && (
          <ul className="card divide-y">
            {list.map((file) => (
              <li key={file.id} className="flex flex-wrap items-center gap-x-4 gap-y-2 px-5 py-3">
                {mediaOf(`x.${file.name.split(".").at(-1)}`) === "image" && (
                  <img
                    src={here(file.urls.content ?? "")}
                    alt=""
                    className="size-11 rounded-md bg-sunken object-cover"
                    loading="lazy"
                  />
                )}
                <div className="min-w-0 flex-1 basis-48">
                  <p className="wrap font-medium">{file.name}</p>
                  <p className="hint">
                    {bytes(file.size)} · {file.content_type} · {ago(file.created_at)}
                    {file.expires_at && ` · removed\u00a0${ago(file.expires_at).replaceAll(" ", "\u00a0")}`}
                  </p>
                </div>
                <div className="flex gap-1.5">
                  <CopyButton text={file.urls.get ?? ""} label="Copy address" />
                  <a
                    className={buttonClass("plain", true)}
                    href={here(file.urls.content ?? "")}
                    download={file.name}
                    aria-label={`Download ${file.name}`}
                  >
                    <Download className="size-4" />
                  </a>
                  <Button
                    small
                    tone="danger"
                    onClick={() => setRemoving(file)}
                    aria-label={`Delete ${file.name}`}
                  >
                    <Trash2 className="size-4" />
                  </Button>
                </div>
              </li>
            ))}
          </ul>
        )}
        {files.hasNextPage && (
          <div className="text-center">
            <Button onClick={() => files.fetchNextPage()} busy={files.isFetchingNextPage}>
              More files
            </Button>
          </div>
        )}
      </div>
      <Confirm
        open={Boolean(removing)}
        title={`Delete ${removing?.name}?`}
        action="Delete it"
        busy={remove.isPending}
        error={remove.error}
        onClose={() => setRemoving(undefined)}
        onConfirm={() => removing && remove.mutate(removing)}
      >
        Predictions that wait and need it will fail. Those that ran are not touched.
      </Confirm>
    </>
  );
}
