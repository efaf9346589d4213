"""The families of the table: for each, transformers' configuration and class, and what lies in its folder
beside the weights."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers as t
from tokenizers import Tokenizer, models, pre_tokenizers, processors

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
OF_WAV: dict[str, Any] = {
    "vocab_size": 8,
    "hidden_size": WIDTH,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
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
    Family("T5", "T5Config", "T5ForConditionalGeneration", OF_T5),
    Family("BART", "BartConfig", "BartForConditionalGeneration", OF_SEQ2SEQ, "summarization"),
    Family("M2M100 (NLLB)", "M2M100Config", "M2M100ForConditionalGeneration", OF_SEQ2SEQ),
    Family("Marian", "MarianConfig", "MarianMTModel", OF_SEQ2SEQ),
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
        parts=of_pictures("CLIPImageProcessor"),
    ),
    Family(
        "SegFormer",
        "SegformerConfig",
        "SegformerForSemanticSegmentation",
        {"hidden_sizes": [16, 16, 16, 16], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 1, 1, 1]}
        | {"decoder_hidden_size": 16, "num_labels": 3},
        parts=of_pictures("SegformerImageProcessor"),
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
        # Without noise: two runs of it would differ.
        {
            "vocab_size": len(VOCABULARY),
            "hidden_size": WIDTH,
            "noise_scale": 0.0,
            "noise_scale_duration": 0.0,
        },
    ),
)


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
