"""`python -m scripts.bench.texts`: single texts through the whole durable path, as a share of the best in-process figure.

2,000 texts of log-normal length (median 24 tokens, 5 to 250), one prediction each, `Prefer: wait`. The in-process figure is the
same model on the same number of threads, all texts sorted by length, fp32, at the best batch size; it is measured before and
after each run of the path, in this process, while the platform is idle.
"""

import argparse
import asyncio
import math
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import orjson

from app.local.detached import down
from app.local.platform_state import read_platform
from app.runtimes.demo import demo_minilm_folder
from scripts.bench.http_load import Target, flood
from scripts.chaos.__main__ import start

NUMBER = 2_000
MEDIAN, LEAST, MOST, SPREAD = 24, 5, 250, 0.8
BATCHES = (8, 16, 32, 64)
WORDS = ("time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world", "school", "state", "family")


def texts() -> list[str]:
    """The same ones every time. A word of this list is one token."""
    chance = random.Random(1)
    lengths = [min(MOST, max(LEAST, round(chance.lognormvariate(math.log(MEDIAN), SPREAD)))) - 2 for _ in range(NUMBER)]
    return [" ".join(chance.choice(WORDS) for _ in range(length)) for length in lengths]


class InProcess:
    """The model alone: tokenised before the clock starts, sorted by length."""

    def __init__(self, threads: int) -> None:
        import torch
        from transformers import AutoModel, AutoTokenizer

        folder = demo_minilm_folder()
        torch.set_num_threads(threads)
        self._torch, self._net = torch, AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
        tokenizer = AutoTokenizer.from_pretrained(folder)
        self._rows = sorted(tokenizer(texts(), truncation=True, max_length=256)["input_ids"], key=len)

    def rate(self, batch: int) -> float:
        """Texts a second."""
        torch, began = self._torch, time.perf_counter()
        with torch.inference_mode():
            for at in range(0, len(self._rows), batch):
                part = self._rows[at : at + batch]
                width = max(map(len, part))
                ids = torch.tensor([row + [0] * (width - len(row)) for row in part])
                mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in part])
                hidden = self._net(input_ids=ids, attention_mask=mask).last_hidden_state
                pooled = (hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
                torch.nn.functional.normalize(pooled, dim=1).tolist()
        return len(self._rows) / (time.perf_counter() - began)


class Served:
    """The platform, with versions of the encoder in fp32 and as `dtype: auto` chooses."""

    def __init__(self, folder: Path) -> None:
        platform = read_platform(folder)
        if platform is None:
            raise SystemExit("the platform does not run")
        key = Path(platform.key_file).read_text().strip()
        self.target = Target(int(platform.api_url.rpartition(":")[2]), {"Authorization": f"Bearer {key}"})
        self.client = httpx.Client(base_url=platform.api_url, headers=self.target.headers, timeout=300, trust_env=False)
        self.versions = {dtype: self._version(dtype) for dtype in ("float32", "auto")}
        for version in self.versions.values():
            self.client.post(
                "/v1/predictions", json={"version": version, "input": {"text": "x"}}, headers={"Prefer": "wait=60"}
            ).raise_for_status()

    def _version(self, dtype: str) -> str:
        wanted = {"source": f"path:{demo_minilm_folder()}", "runtime": "embedding", "config": {"dtype": dtype}}
        made = self.client.post("/v1/models", json={"name": f"minilm-{dtype}", "version": wanted})
        made.raise_for_status()
        return str(made.json()["latest_version"]["id"])

    def rate(self, dtype: str, connections: int) -> tuple[float, list[dict[str, Any]]]:
        """Texts a second, and the predictions."""
        version = self.versions[dtype]
        requests = [
            self.target.request("POST", "/v1/predictions", {"version": version, "input": {"text": text}}, Prefer="wait=60")
            for text in texts()
        ]
        seconds, _, bodies = asyncio.run(flood(self.target, requests, connections, 201))
        predictions = [orjson.loads(body) for body in bodies]
        if any(one["status"] != "succeeded" for one in predictions):
            raise RuntimeError(str(next(one for one in predictions if one["status"] != "succeeded"))[:500])
        return len(requests) / seconds, predictions


def padding(predictions: list[dict[str, Any]]) -> float:
    """Mean padding share of the batches, and their mean size."""
    return statistics.mean(one["metrics"]["padding"] for one in predictions)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.bench.texts", description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--dtype", choices=("float32", "auto"), help="only this one")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="lovage-bench-"))
    start(folder, devices=("cpu",))
    try:
        path, alone = Served(folder), InProcess(os.cpu_count() or 1)
        best = max(BATCHES, key=alone.rate)
        print(f"in process, fp32, sorted: best batch {best}", flush=True)
        for dtype, connections, bar in (("float32", 128, 0.66), ("float32", 512, 0.75), ("auto", 128, 1.2)):
            if arguments.dtype not in (None, dtype):
                continue
            shares, rates = [], []
            for _ in range(arguments.runs):
                before = alone.rate(best)
                rate, predictions = path.rate(dtype, connections)
                limit = statistics.mean((before, alone.rate(best)))
                shares.append(rate / limit)
                rates.append(rate)
            size = statistics.mean(one["metrics"]["batch_size"] for one in predictions)
            print(
                f"{dtype} at {connections}: {statistics.median(rates):.0f}/s, share {statistics.median(shares):.2f} "
                f"(wanted {bar}), padding {padding(predictions):.0%}, batch {size:.0f}", flush=True,
            )  # fmt: skip
    finally:
        down(folder, lambda text: None)
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
