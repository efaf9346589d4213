"""The models that the suites call: those of the demo, one whose template has tools, and small random ones."""

import shutil
from pathlib import Path
from typing import Any

import httpx

from app.local.platform_state import Platform
from app.runtimes.demo import SHIPPED, demo_minilm_folder

SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
VERSIONS: dict[str, dict[str, Any]] = {
    "caller": {"runtime": "text-generation"},
    "graph": {"runtime": "onnx"},
    "reader": {"runtime": "text-generation"},
    "seer": {"task": "image-text-to-text"},
    "moderator": {"runtime": "pipeline", "task": "text-classification"},
    "ranker": {"runtime": "pair-scoring"},
    "mouth": {"runtime": "pipeline", "task": "text-to-audio"},
    "ear": {"runtime": "pipeline", "task": "automatic-speech-recognition"},
}


def make_all(root: Path) -> None:
    """Their folders."""
    make_caller(root / "caller")
    (root / "graph").mkdir()
    shutil.copy(Path(__file__).with_name("adder.onnx"), root / "graph")  # x + y and x - y, rows of three
    make_reader(root / "reader")
    make_seer(root / "seer")
    make_moderator(root / "moderator")
    make_ranker(root / "ranker")
    make_ear(root / "ear")
    make_mouth(root / "mouth")


def make_caller(folder: Path) -> None:
    """The demo's writer with a chat template that has tools."""
    shutil.copytree(SHIPPED / "words", folder)
    shutil.copy(Path(__file__).with_name("caller.jinja"), folder / "chat_template.jinja")


def make_reader(folder: Path) -> None:
    """A writer that takes long texts, by chance."""
    from transformers import AutoConfig, AutoModelForCausalLM

    shutil.copytree(SHIPPED / "words", folder)
    config = AutoConfig.from_pretrained(folder, n_positions=16384, n_embd=32, n_layer=1, n_head=2)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)


def make_seer(folder: Path) -> None:
    """A writer that sees pictures (LLaVA), by chance."""
    import torch
    from transformers import (
        AutoTokenizer,
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    tokenizer = AutoTokenizer.from_pretrained(SHIPPED / "words")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    ends = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id}
    text = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=512, **SMALL, **ends)
    eye = CLIPVisionConfig(**{**SMALL, "num_hidden_layers": 2}, image_size=32, patch_size=8)
    image = {"image_token_index": tokenizer.convert_tokens_to_ids("<image>"), "image_seq_length": 16}
    torch.manual_seed(1)
    net = LlavaForConditionalGeneration(LlavaConfig(text_config=text, vision_config=eye, **image))
    net.save_pretrained(folder)
    sizes = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    template = Path(__file__).with_name("seer.jinja").read_text("utf-8")
    LlavaProcessor(
        CLIPImageProcessorPil(**sizes),
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template,
    ).save_pretrained(folder)


def make_moderator(folder: Path) -> None:
    """A classifier of two labels, by chance."""
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    tokenizer = AutoTokenizer.from_pretrained(demo_minilm_folder())
    labels = {"id2label": {0: "toxic", 1: "neutral"}, "label2id": {"toxic": 0, "neutral": 1}}
    config = BertConfig(vocab_size=len(tokenizer), num_labels=2, **SMALL, **labels)
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def make_ranker(folder: Path) -> None:
    """A cross-encoder that scores pairs, by chance."""
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    tokenizer = AutoTokenizer.from_pretrained(demo_minilm_folder())
    config = BertConfig(vocab_size=len(tokenizer), num_labels=1, **SMALL)
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def make_ear(folder: Path) -> None:
    """A recogniser of speech that writes letters, by chance."""
    import json

    from transformers import (
        Wav2Vec2Config,
        Wav2Vec2CTCTokenizer,
        Wav2Vec2FeatureExtractor,
        Wav2Vec2ForCTC,
        Wav2Vec2Processor,
    )

    folder.mkdir()
    letters = ["<pad>", "<s>", "</s>", "<unk>", "|", *"abcdefghijklmnopqrstuvwxyz"]
    (folder / "vocab.json").write_text(json.dumps({letter: id_ for id_, letter in enumerate(letters)}))
    conv = {"conv_dim": (32, 32), "conv_stride": (10, 32), "conv_kernel": (10, 32)}
    positions = {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
    Wav2Vec2ForCTC(
        Wav2Vec2Config(vocab_size=len(letters), num_feat_extract_layers=2, **SMALL, **conv, **positions)
    ).save_pretrained(folder)
    tokenizer = Wav2Vec2CTCTokenizer(str(folder / "vocab.json"))
    Wav2Vec2Processor(Wav2Vec2FeatureExtractor(), tokenizer).save_pretrained(folder)


def make_mouth(folder: Path) -> None:
    """A speaker of letters (VITS), by chance."""
    import json

    from transformers import VitsConfig, VitsModel, VitsTokenizer

    folder.mkdir()
    letters = ["<pad>", "<unk>", " ", *"abcdefghijklmnopqrstuvwxyz"]
    vocabulary = {letter: id_ for id_, letter in enumerate(letters)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), "utf-8")
    tokenizer = VitsTokenizer(str(folder / "vocab.json"), phonemize=False, is_uroman=False)
    sizes = {"ffn_dim": 16, "flow_size": 16, "duration_predictor_filter_channels": 16}
    layers = {
        "posterior_encoder_num_wavenet_layers": 1,
        "prior_encoder_num_flows": 1,
        "prior_encoder_num_wavenet_layers": 1,
        "duration_predictor_num_flows": 1,
        "depth_separable_num_layers": 1,
    }
    upsampling = {
        "upsample_initial_channel": 16,
        "upsample_rates": (8, 8),
        "upsample_kernel_sizes": (16, 16),
        "resblock_kernel_sizes": (3,),
        "resblock_dilation_sizes": ((1,),),
    }
    config = VitsConfig(
        vocab_size=len(letters),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        use_stochastic_duration_prediction=False,
        **sizes,
        **layers,
        **upsampling,
    )
    VitsModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def register(platform: Platform, root: Path) -> dict[str, str]:
    """The models' names, as the suites read them from the environment."""
    key = Path(platform.key_file).read_text("utf-8").strip()
    names = {"TEXT": "demo/words", "EMBED": "demo/minilm", "DRAW": "demo/digits", "ECHO": "demo/echo"}
    names["TEXT_FOLDER"] = str(root / "caller")
    with httpx.Client(base_url=platform.api_url, headers={"Authorization": f"Bearer {key}"}) as client:
        for name, version in VERSIONS.items():
            body = {"name": name, "version": {"source": f"path:{root / name}", **version}}
            answer = client.post("/v1/models", json=body, timeout=60)
            if answer.is_error:
                raise RuntimeError(answer.text)
            names[name.upper()] = answer.json()["id"]
    return names
