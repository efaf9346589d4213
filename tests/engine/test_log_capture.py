"""What a model prints, as text of its prediction."""

import os

from replicate.prediction import Prediction
from tqdm import tqdm

from app.engine.log_capture import LogCapture, new_pipe


def test_a_progress_bar_is_lines_of_which_replicates_client_reads_the_last() -> None:
    read, write = new_pipe()
    texts: list[str] = []
    capture = LogCapture(read, texts.append)
    seen = []
    with os.fdopen(write, "w") as file:
        for _ in tqdm(range(4), file=file, mininterval=0):
            capture.drain()
            seen.append(Prediction.Progress.parse("".join(texts)))
    capture.drain()
    assert [(each.current, each.total) for each in seen if each] == [(0, 4), (1, 4), (2, 4), (3, 4)]
    last = Prediction.Progress.parse("".join(texts))
    assert last == Prediction.Progress(percentage=1.0, current=4, total=4)
    assert "\r" not in "".join(texts)
    os.close(read)
