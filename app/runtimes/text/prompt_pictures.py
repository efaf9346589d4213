"""Pictures in a conversation: through the model's own processor into the tensors that it sees, and the
prompt's ids with their places in it. Knows no batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.work import ModelSpec
from app.runtimes import weights
from app.runtimes.pictures import read_picture

TASK = "image-text-to-text"
SAMPLE_SIDE = 64  # pixels


@dataclass(frozen=True, slots=True)
class PromptPictures:
    """What a model takes beside a prompt of `prompt` ids, by the names that it takes it by."""

    features: dict[str, Any]
    prompt: int

    def placed(self, size: int, device: str, dtype: Any) -> dict[str, Any]:
        """On the model's device. What is said of each of the prompt's ids is said of `size` ids: behind the
        prompt there are no pictures."""
        return {name: self._placed(value, size, device, dtype) for name, value in self.features.items()}

    def _placed(self, value: Any, size: int, device: str, dtype: Any) -> Any:
        import torch

        if tuple(value.shape) == (1, self.prompt):
            value = torch.nn.functional.pad(value, (0, size - self.prompt))
        return value.to(device, dtype if value.is_floating_point() else value.dtype)


class PictureReader:
    """One for each loaded model that sees."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor

    def read(self, text: str, paths: Sequence[str]) -> tuple[list[int], PromptPictures]:
        """(The prompt's ids, the pictures.) Raises ValueError with a sentence that names the input."""
        return self._process(text, [_read(number, path) for number, path in enumerate(paths)])

    def read_sample(self, text: str) -> tuple[list[int], PromptPictures]:
        """The same of a picture that is made here, from black to white."""
        from PIL import Image

        return self._process(
            text, [Image.linear_gradient("L").resize((SAMPLE_SIDE, SAMPLE_SIDE)).convert("RGB")]
        )

    def _process(self, text: str, pictures: Sequence[Any]) -> tuple[list[int], PromptPictures]:
        options = {"add_special_tokens": False, "return_tensors": "pt"}
        try:
            features = dict(self._processor(text=text, images=list(pictures), **options))
        except Exception as error:  # noqa: BLE001 - each family's processor refuses by errors of its own
            raise ValueError(f"images: the model's processor refuses them: {error}") from None
        ids = features.pop("input_ids")[0].tolist()
        features.pop("attention_mask", None)
        return ids, PromptPictures(features, len(ids))


def _read(number: int, path: str) -> Any:
    try:
        return read_picture(path)
    except ValueError as error:
        raise ValueError(f"images.{number}: {error}") from None


def load_processor(model: ModelSpec) -> Any:
    """The folder's processor. Raises ValueError with a sentence."""
    from transformers import AutoProcessor

    folder = weights.model_folder(model)
    weights.silence_libraries()
    try:
        return AutoProcessor.from_pretrained(folder, **weights.loading_options(model))
    except Exception as error:  # without a package of its own each family fails in another way
        raise ValueError(
            f"the model's processor cannot be loaded ({type(error).__name__}: {error}); some need torchvision"
            " or num2words in the worker's environment"
        ) from error
