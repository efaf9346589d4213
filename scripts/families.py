"""`python -m scripts.families` makes small random models of many families from configurations, runs each as a
worker does, compares the answer with the library's own, and writes docs/reference/model-families.md.

Nothing is downloaded. What is refused stands there with its sentence.
"""

import json
import math
import shutil
import sys
import tempfile
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy
import torch
import transformers as t
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from app.domain.work import FILE_KEY, Failed, Finished, ModelSpec
from app.runtimes import registry
from app.runtimes.base import Job
from app.runtimes.sound import read_sound
from app.services.catalogue.model_checks import list_problems
from app.services.catalogue.model_kind import kind_of
from app.services.catalogue.sources import SourceReader

TARGET = Path(__file__).parents[1] / "docs" / "reference" / "model-families.md"
WORDS = [
    "the",
    "whale",
    "is",
    "white",
    "ada",
    "lives",
    "in",
    "rome",
    "good",
    "bad",
    "word",
    "lovage",
    "plant",
    "hello",
    "sea",
    "ship",
    "a",
]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "<s>", "</s>"]
VOCABULARY = {piece: number for number, piece in enumerate([*SPECIAL, *WORDS])}
WIDTH = 32
RATE = 16_000
SMALL: dict[str, Any] = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 5,
    "eos_token_id": 6,
}
GROUPED = {**SMALL, "num_key_value_heads": 1, "head_dim": 16}
TEXTS = ("the whale is white", "ada lives in rome hello sea")
TOLERANCE, EXACT = 1e-4, 1e-9
SEQ2SEQ_TASKS = ("summarization", "translation", "text2text-generation")


@dataclass(frozen=True)
class Family:
    """`config` and `net` are transformers' classes; `task` where the files do not tell it."""

    name: str
    config: str
    net: str
    values: dict[str, Any] = field(default_factory=dict)
    task: str = ""
    parts: Callable[[Path], None] | None = None


def tokenizer(folder: Path, *, decoder: bool = False) -> None:
    """Words as tokens."""
    inner = Tokenizer(models.WordLevel(VOCABULARY, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    if not decoder:
        inner.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B [SEP]",
            special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
        )
    t.PreTrainedTokenizerFast(
        tokenizer_object=inner,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        bos_token="<s>",
        eos_token="</s>",
        model_max_length=60,
    ).save_pretrained(folder)


OF_WHISPER = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|translate|>", "<|transcribe|>"]
OF_WHISPER += ["<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]


def of_decoder(folder: Path) -> None:
    tokenizer(folder, decoder=True)


def of_pictures(kind: str) -> Callable[[Path], None]:
    """The image processor of this class, for pictures of 32 by 32."""

    def save(folder: Path) -> None:
        size = {"height": 32, "width": 32}
        getattr(t, kind)(size=size, crop_size=size, do_resize=True).save_pretrained(folder)

    return save


def of_whisper(folder: Path) -> None:
    """Letters as pieces, and Whisper's own tokens."""
    alphabet = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *OF_WHISPER]
    vocabulary = {piece: number for number, piece in enumerate(alphabet)}
    words = t.WhisperTokenizer(vocab=vocabulary, merges=[], language="en", task="transcribe")
    words.add_special_tokens({"additional_special_tokens": OF_WHISPER})
    words.save_pretrained(folder)
    t.WhisperFeatureExtractor(feature_size=16).save_pretrained(folder)


def of_sound(folder: Path) -> None:
    vocabulary = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4, "a": 5, "b": 6, "c": 7}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    t.Wav2Vec2CTCTokenizer(str(folder / "vocab.json")).save_pretrained(folder)
    t.Wav2Vec2FeatureExtractor(feature_size=1, sampling_rate=16_000).save_pretrained(folder)


SEQ2SEQ = {"d_model": WIDTH, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2}
SEQ2SEQ |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48}
OF_SEQ2SEQ = {
    **SEQ2SEQ,
    **{name: SMALL[name] for name in ("vocab_size", "pad_token_id", "max_position_embeddings")},
}
OF_SEQ2SEQ |= {"bos_token_id": 5, "eos_token_id": 6, "decoder_start_token_id": 5, "forced_eos_token_id": None}
OF_T5 = {
    "vocab_size": len(VOCABULARY),
    "d_model": WIDTH,
    "d_kv": 16,
    "d_ff": 48,
    "num_layers": 1,
    "num_heads": 2,
}
OF_T5 |= {"pad_token_id": 0, "eos_token_id": 6, "decoder_start_token_id": 0}
OF_VISION = {"hidden_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}
OF_VISION |= {"image_size": 32, "patch_size": 16}
OF_CLIP = {
    "text_config": {**{k: v for k, v in SMALL.items() if k != "pad_token_id"}, "projection_dim": 16},
    "vision_config": {**OF_VISION, "projection_dim": 16},
    "projection_dim": 16,
}
OF_WAV = {"vocab_size": 8, "hidden_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 2}
OF_WAV |= {"intermediate_size": 48, "conv_dim": [16, 16], "conv_stride": [5, 2], "conv_kernel": [10, 3]}
OF_WAV |= {"num_feat_extract_layers": 2, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}

FAMILIES = (
    Family("BERT", "BertConfig", "BertModel", SMALL),
    Family("RoBERTa", "RobertaConfig", "RobertaModel", {**SMALL, "max_position_embeddings": 66}),
    Family(
        "XLM-RoBERTa (E5, BGE-M3)",
        "XLMRobertaConfig",
        "XLMRobertaModel",
        {**SMALL, "max_position_embeddings": 66},
    ),
    Family("MPNet", "MPNetConfig", "MPNetModel", {**SMALL, "pad_token_id": 1, "max_position_embeddings": 66}),
    Family(
        "DistilBERT",
        "DistilBertConfig",
        "DistilBertModel",
        {"vocab_size": len(VOCABULARY), "dim": WIDTH, "n_layers": 2, "n_heads": 2, "hidden_dim": 48},
    ),
    Family("ALBERT", "AlbertConfig", "AlbertModel", {**SMALL, "embedding_size": 16}),
    Family("ELECTRA", "ElectraConfig", "ElectraModel", {**SMALL, "embedding_size": 16}),
    Family("DeBERTa v2", "DebertaV2Config", "DebertaV2Model", SMALL),
    Family(
        "ModernBERT (GTE)",
        "ModernBertConfig",
        "ModernBertModel",
        {**SMALL, "cls_token_id": 2, "sep_token_id": 3},
    ),
    Family("NomicBERT", "NomicBertConfig", "NomicBertModel", SMALL),
    Family("T5 encoder", "T5Config", "T5EncoderModel", OF_T5),
    Family("BERT, masked words", "BertConfig", "BertForMaskedLM", SMALL),
    Family(
        "BERT, classes of texts", "BertConfig", "BertForSequenceClassification", {**SMALL, "num_labels": 3}
    ),
    Family("BERT, classes of words", "BertConfig", "BertForTokenClassification", {**SMALL, "num_labels": 3}),
    Family("BERT, pairs", "BertConfig", "BertForSequenceClassification", {**SMALL, "num_labels": 1}),
    Family(
        "GPT-2",
        "GPT2Config",
        "GPT2LMHeadModel",
        {**SMALL, "n_embd": WIDTH, "n_layer": 2, "n_head": 2, "n_positions": 64},
    ),
    Family("GPT-NeoX (Pythia)", "GPTNeoXConfig", "GPTNeoXForCausalLM", SMALL),
    Family("Llama", "LlamaConfig", "LlamaForCausalLM", GROUPED),
    Family(
        "Mistral, sliding window", "MistralConfig", "MistralForCausalLM", {**GROUPED, "sliding_window": 8}
    ),
    Family("Qwen2", "Qwen2Config", "Qwen2ForCausalLM", GROUPED),
    Family("Qwen3", "Qwen3Config", "Qwen3ForCausalLM", GROUPED),
    Family("Gemma", "GemmaConfig", "GemmaForCausalLM", GROUPED),
    Family("Gemma 2", "Gemma2Config", "Gemma2ForCausalLM", {**GROUPED, "sliding_window": 8}),
    Family("Phi", "PhiConfig", "PhiForCausalLM", SMALL),
    Family("Phi-3", "Phi3Config", "Phi3ForCausalLM", {**GROUPED, "original_max_position_embeddings": 64}),
    Family(
        "OPT",
        "OPTConfig",
        "OPTForCausalLM",
        {**SMALL, "ffn_dim": 48, "word_embed_proj_dim": WIDTH},
    ),
    Family("Bloom", "BloomConfig", "BloomForCausalLM", {**SMALL, "n_layer": 2, "n_head": 2}),
    Family("Falcon", "FalconConfig", "FalconForCausalLM", SMALL),
    Family("Mamba", "MambaConfig", "MambaForCausalLM", {**SMALL, "state_size": 8}),
    Family("T5", "T5Config", "T5ForConditionalGeneration", OF_T5, "text2text-generation"),
    Family("BART", "BartConfig", "BartForConditionalGeneration", OF_SEQ2SEQ, "summarization"),
    Family("M2M100 (NLLB)", "M2M100Config", "M2M100ForConditionalGeneration", OF_SEQ2SEQ, "translation"),
    Family("Marian", "MarianConfig", "MarianMTModel", OF_SEQ2SEQ, "translation"),
    Family(
        "Whisper",
        "WhisperConfig",
        "WhisperForConditionalGeneration",
        {**OF_SEQ2SEQ, "num_mel_bins": 16, "max_target_positions": 448, "suppress_tokens": None}
        | {"begin_suppress_tokens": None, "vocab_size": 265, "pad_token_id": 256, "bos_token_id": 256}
        | {"eos_token_id": 256, "decoder_start_token_id": 257},
        parts=of_whisper,
    ),
    Family("wav2vec 2.0", "Wav2Vec2Config", "Wav2Vec2ForCTC", OF_WAV, parts=of_sound),
    Family(
        "ViT",
        "ViTConfig",
        "ViTForImageClassification",
        {**OF_VISION, "num_labels": 3},
        parts=of_pictures("ViTImageProcessor"),
    ),
    Family(
        "CLIP",
        "CLIPConfig",
        "CLIPModel",
        OF_CLIP,
        "zero-shot-image-classification",
        of_pictures("CLIPImageProcessor"),
    ),
    Family(
        "SegFormer",
        "SegformerConfig",
        "SegformerForSemanticSegmentation",
        {"hidden_sizes": [16, 16, 16, 16], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 1, 1, 1]}
        | {"decoder_hidden_size": 16, "num_labels": 3},
        "image-segmentation",
        of_pictures("SegformerImageProcessor"),
    ),
    Family(
        "YOLOS (DETR's kind)",
        "YolosConfig",
        "YolosForObjectDetection",
        {**OF_VISION, "image_size": [32, 32], "num_detection_tokens": 4, "num_labels": 3},
        parts=of_pictures("YolosImageProcessor"),
    ),
    Family(
        "PatchTST",
        "PatchTSTConfig",
        "PatchTSTForPrediction",
        {"context_length": 16, "patch_length": 4, "patch_stride": 4, "prediction_length": 4, "d_model": 16}
        | {"num_attention_heads": 2, "num_hidden_layers": 1, "ffn_dim": 16},
        parts=lambda _folder: None,
    ),
    Family(
        "VITS",
        "VitsConfig",
        "VitsModel",
        {"vocab_size": len(VOCABULARY), "hidden_size": WIDTH},
        "text-to-audio",
    ),
)


class Alone:
    """The feed of a run that nobody joins."""

    def join(self, _capacity: int) -> list[Job]:
        return []

    more = join

    def flush(self) -> None:
        """Nothing is held back."""

    def canceled(self, _job_id: str) -> bool:
        return False


def build(family: Family, folder: Path) -> None:
    """The folder, as `save_pretrained` writes it."""
    torch.manual_seed(1)
    config = getattr(t, family.config)(**family.values)
    net = getattr(t, family.net)(config)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.3)
    net.save_pretrained(folder)
    decoder = family.net.endswith(("CausalLM", "LMHeadModel"))
    (family.parts or (of_decoder if decoder else tokenizer))(folder)
    if family.net == "CLIPModel":
        tokenizer(folder)


def input_for(runtime: str, task: str, folder: Path) -> dict[str, Any]:
    """What is asked of a model of this task."""
    if runtime == "text-generation":
        return {"prompt": TEXTS[0], "max_new_tokens": 12, "temperature": 0}
    if runtime == "pair-scoring":
        return {"query": TEXTS[0], "texts": list(TEXTS)}
    if task == "fill-mask":
        return {"text": "the whale is [MASK]"}
    if task == "automatic-speech-recognition":
        return {"audio": sound(folder)}
    if "image" in task or task == "object-detection":
        labels = {"labels": ["whale", "ship"]} if task.startswith("zero-shot") else {}
        threshold = {"threshold": 0.0} if task == "object-detection" else {}
        return {"image": picture(folder), **labels, **threshold}
    tokens = {"max_new_tokens": 12} if task in SEQ2SEQ_TASKS else {}
    return {"text": list(TEXTS) if runtime == "embedding" else TEXTS[0], **tokens}


def sound(folder: Path) -> str:
    """Two seconds of a tone."""
    samples = (numpy.sin(numpy.arange(32_000) * 0.05) * 8_000).astype("<i2")
    with wave.open(str(folder.parent / "tone.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(samples.tobytes())
    return str(folder.parent / "tone.wav")


def picture(folder: Path) -> str:
    from PIL import Image

    pixels = numpy.random.default_rng(1).integers(0, 255, (32, 32, 3), dtype="uint8")
    Image.fromarray(pixels).save(folder.parent / "dots.png")
    return str(folder.parent / "dots.png")


def answer_of(folder: Path, runtime: str, task: str, values: dict[str, Any]) -> Any:
    """What a worker's model process would answer. Raises ValueError with its sentence."""
    spec = ModelSpec("v", "family/model", runtime, task, str(folder), {"dtype": "float32"})
    model = registry.find(runtime).load(spec)
    job = Job("one", values, files=str(folder.parent / "files"))
    model.prepare(job)
    ending = [event for _, event in model.run([job], Alone()) if isinstance(event, Finished | Failed)][-1]
    if isinstance(ending, Failed):
        raise ValueError(ending.error)
    if isinstance(ending.output, dict) and FILE_KEY in ending.output:
        return read_sound(str(Path(job.folder) / ending.output[FILE_KEY]), RATE).tolist()
    return ending.output


def librarys_answer(folder: Path, runtime: str, task: str, values: dict[str, Any]) -> Any:
    """The same question to transformers."""
    if runtime == "embedding":
        return vectors(folder, values["text"])
    if runtime == "text-generation":
        return continuation(folder, values["prompt"])
    if runtime == "pair-scoring":
        return scores(folder, values)
    if task in SEQ2SEQ_TASKS:
        net, words = t.AutoModelForSeq2SeqLM.from_pretrained(folder), t.AutoTokenizer.from_pretrained(folder)
        encoded = words(values["text"], return_tensors="pt", return_token_type_ids=False)
        ids = net.generate(**encoded, max_new_tokens=12, do_sample=False)
        return words.decode(ids[0], skip_special_tokens=True)
    pipe = t.pipeline(task, model=str(folder), device="cpu", dtype=torch.float32)
    if task.startswith("zero-shot"):
        return pipe(values["image"], candidate_labels=values["labels"])
    options = {"top_k": 5} if task in ("text-classification", "fill-mask", "image-classification") else {}
    options |= {"threshold": values["threshold"]} if "threshold" in values else {}
    options |= {"aggregation_strategy": "simple"} if task == "token-classification" else {}
    if task == "automatic-speech-recognition":
        return pipe({"raw": read_sound(values["audio"], RATE), "sampling_rate": RATE}, **options)
    answer = pipe(values.get("text") or values["image"], **options)
    return answer["audio"].reshape(-1) if task == "text-to-audio" else answer


def vectors(folder: Path, texts: list[str]) -> Any:
    """Means of the last states."""
    from app.runtimes.encoders.embedding import encoder_class

    net = encoder_class(t.AutoConfig.from_pretrained(folder)).from_pretrained(folder).eval()
    words = t.AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        each = [words(text, return_tensors="pt") for text in texts]
        names = ("input_ids", "attention_mask")
        return [
            net(**{name: one[name] for name in names}).last_hidden_state.mean(1)[0].tolist() for one in each
        ]


def continuation(folder: Path, prompt: str) -> str:
    net, words = (
        t.AutoModelForCausalLM.from_pretrained(folder).eval(),
        t.AutoTokenizer.from_pretrained(folder),
    )
    encoded = words(prompt, return_tensors="pt")
    ids = net.generate(
        input_ids=encoded["input_ids"],
        attention_mask=encoded["attention_mask"],
        max_new_tokens=12,
        do_sample=False,
    )
    return words.decode(ids[0, encoded["input_ids"].shape[1] :], skip_special_tokens=True)


def scores(folder: Path, values: dict[str, Any]) -> list[float]:
    net = t.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    words = t.AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        logits = [net(**words(values["query"], text, return_tensors="pt")).logits for text in values["texts"]]
    return [float(torch.sigmoid(each)[0, 0]) for each in logits]


def furthest(ours: Any, theirs: Any) -> float:
    """The largest difference of two numbers; infinite where something else differs."""
    if isinstance(ours, dict) and isinstance(theirs, str) and len(ours) == 1:
        [ours] = ours.values()
    if isinstance(ours, list) and all(isinstance(part, str) for part in ours) and isinstance(theirs, str):
        ours = "".join(ours)
    if hasattr(ours, "tolist"):
        ours = ours.tolist()
    if isinstance(theirs, list) and len(theirs) == 1 and not isinstance(ours, list):
        theirs = theirs[0]
    if isinstance(ours, bool | str) or ours is None:
        same = ours == theirs or (
            isinstance(ours, str) and isinstance(theirs, str) and ours.strip() == theirs.strip()
        )
        return 0.0 if same else math.inf
    if isinstance(ours, int | float):
        return abs(ours - float(theirs))
    if isinstance(ours, dict):
        return max((furthest(ours[name], theirs.get(name)) for name in ours if name != "mask"), default=0.0)
    if isinstance(ours, list | tuple) and len(ours) == len(theirs):
        return max((furthest(*pair) for pair in zip(ours, theirs, strict=True)), default=0.0)
    return math.inf


def row_of(family: Family, root: Path) -> tuple[str, str, str]:
    """(class, how it is run, what comes out)."""
    if not hasattr(t, family.config):
        return family.net, "", f"refused: transformers {t.__version__} has no such class"
    folder = root / "model"
    build(family, folder)
    files = SourceReader([root]).inspect(f"path:{folder}").files
    assert files is not None
    kind = kind_of(files)
    if family.task:
        kind = ("pipeline", family.task)
    if kind is None or (problems := list_problems(files, *kind)):
        why = problems[0] if kind else "runtime: cannot be inferred from the files; give one of …"
        return family.net, "", f"refused: {why}"
    how = f"`{kind[0]}`" + (f", {kind[1]}" if kind[1] else "")
    values = input_for(*kind, folder)
    try:
        ours = answer_of(folder, *kind, values)
    except (ValueError, RuntimeError) as error:
        return family.net, how, f"refused: {str(error).splitlines()[0][:200]}"
    away = furthest(ours, librarys_answer(folder, *kind, values))
    return family.net, how, result(kind[0], ours, away)


def result(runtime: str, ours: Any, away: float) -> str:
    if away > TOLERANCE:
        return f"DIFFERS by {away:.1g}: {str(ours)[:80]}"
    is_text = runtime == "text-generation" or isinstance(ours, str)
    if is_text:
        return "the same text"
    return f"equal, to {away:.0e}" if away > EXACT else "equal"


def rows() -> Iterator[str]:
    for family in FAMILIES:
        with tempfile.TemporaryDirectory(prefix="lovage-families-") as root:
            try:
                net, how, outcome = row_of(family, Path(root))
            except Exception as error:  # noqa: BLE001 - the table goes on: a row says what is to be mended
                net, how, outcome = family.net, "", f"BROKEN: {type(error).__name__}: {str(error)[:150]}"
        line = f"| {family.name} | `{net}` | {how} | {outcome} |"
        print(line, flush=True)
        yield line


HEAD = """# Families of models

Small random models, made from configurations of transformers {version} by `python -m scripts.families`,
registered and run as a worker does, and compared with the library's own answer: greedy text with `generate`,
vectors and scores to 1e-4. `task` must be named where the class of a model does not tell it.

| Family | Class | Run by | Answer |
|---|---|---|---|
"""


def main() -> int:
    t.logging.set_verbosity_error()
    t.logging.disable_progress_bar()
    torch.set_num_threads(1)
    lines = list(rows())
    TARGET.write_text(HEAD.format(version=t.__version__) + "\n".join(lines) + "\n", "utf-8")
    shutil.rmtree(Path(tempfile.gettempdir()) / "lovage-families", ignore_errors=True)
    return int(any("DIFFERS" in line or "BROKEN" in line for line in lines))


if __name__ == "__main__":
    sys.exit(main())
