"""What a folder of whole files lacks for being run: its configuration, weights under the name that is looked
for, a tokenizer, a head. Pure functions of what was read of the files; sentences go on after "source".
"""

from collections.abc import Iterator

from app.services.catalogue.model_files import INDEX, ModelFiles, listed_names
from app.services.catalogue.model_kind import class_of

TOKENIZER_ENDINGS = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    ".model",
    ".spm",
    ".tiktoken",
    "tekken.json",
    "merges.txt",
)
# Tokenizers that are made of bytes or characters and have no file.
WITHOUT_FILE = ("ByT5Tokenizer", "CanineTokenizer", "PerceiverTokenizer")
# Runtimes that load a network by transformers' classes.
NETWORKS = ("text-generation", "embedding", "pair-scoring", "pipeline")
READ_TEXT = ("text-generation", "embedding", "pair-scoring")
TEXT_TASKS = (
    "text-classification",
    "zero-shot-classification",
    "token-classification",
    "fill-mask",
    "feature-extraction",
    "question-answering",
    "summarization",
    "translation",
    "text2text-generation",
    "zero-shot-image-classification",
    "image-to-text",
    "automatic-speech-recognition",
)
# Tasks whose pictures or sound are made ready as a file beside the weights says.
PREPARED_TASKS = (
    "automatic-speech-recognition",
    "audio-classification",
    "image-classification",
    "image-segmentation",
    "object-detection",
    "depth-estimation",
    "zero-shot-image-classification",
    "image-to-text",
)
PROCESSORS = ("preprocessor_config.json", "processor_config.json")
# Classes whose head has weights of its own, and the names that only a model without one begins with.
HEADS = (
    *("ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering"),
    *("ForImageClassification", "ForCTC", "ForAudioClassification"),
)
BODY = {
    *(
        "embeddings",
        "encoder",
        "pooler",
        "transformer",
        "layers",
        "norm",
        "embed_tokens",
        "wte",
        "wpe",
        "h",
        "ln_f",
    ),
    *("decoder", "shared", "final_norm", "rotary_emb", "layernorm"),
    *("feature_extractor", "feature_projection", "masked_spec_embed"),
}
SENTENCE_MODULES = (
    *("Transformer", "StaticEmbedding", "Pooling", "Dense", "LayerNorm", "Normalize", "Dropout"),
)
WEIGHED_MODULES = ("Dense", "LayerNorm", "StaticEmbedding")
COPY = "copy it from the model that this one was made of"


def missing_parts(files: ModelFiles, runtime: str, task: str) -> Iterator[str]:
    """In the order of mending."""
    if runtime in NETWORKS and (folder := _network_folder(files, runtime)) is not None:
        yield from _missing_network(files, folder)
    if runtime == "embedding":
        yield from _missing_of_modules(files)
    if (runtime in READ_TEXT or task in TEXT_TASKS) and not _has_tokenizer(files):
        yield f"has no tokenizer (tokenizer.json, vocab.txt or a SentencePiece file): {COPY}"
    if task in PREPARED_TASKS and not any(name in files.names for name in PROCESSORS):
        kind = "sound is" if "audio" in task or "speech" in task else "pictures are"
        yield f"has no preprocessor_config.json, which says how {kind} made ready for it: {COPY}"
    if _lacks_head(files):
        name = class_of(files)
        yield f"lacks the weights of its head: they are those of a model without one, not of {name}"


def _network_folder(files: ModelFiles, runtime: str) -> str | None:
    """Where the network lies, as a beginning of names ("" or "0_Transformer/"); None where it is not
    transformers' (static embeddings)."""
    modules = _modules(files) if runtime == "embedding" else []
    if not modules:
        return ""
    kind, folder = modules[0]
    return folder if kind == "Transformer" else None


def _missing_network(files: ModelFiles, folder: str) -> Iterator[str]:
    if f"{folder}config.json" not in files.names:
        yield f"has no {folder}config.json, which says what kind of model it is: {COPY}"
    here = [name for name in files.names if name.startswith(folder) and name.endswith(".safetensors")]
    named = (f"{folder}model.safetensors", f"{folder}model{INDEX}")
    if files.has_safetensors and not any(name in files.names for name in named):
        weights = [name for name in here if "/" not in name.removeprefix(folder)]
        yield (
            f"has its weights in {listed_names(weights)}, where nothing looks for them: name the file"
            f" {named[0]}, or fetch the index of its parts ({named[1]}), too"
            if weights
            else f"has no {named[0]}: its weights lie elsewhere in the folder"
        )


def _missing_of_modules(files: ModelFiles) -> Iterator[str]:
    modules = _modules(files)
    unknown = [kind for kind, _ in modules if kind not in SENTENCE_MODULES]
    if unknown:
        yield f"has a {unknown[0]} module, which the runtime 'embedding' does not know"
    for kind, folder in modules:
        if kind in WEIGHED_MODULES and f"{folder}model.safetensors" not in files.names:
            pickled = f"{folder}pytorch_model.bin"
            yield (
                f"has pickled weights in {pickled}, which may run code: convert them (lovage models convert"
                " FOLDER --output NEW) and register the result"
                if pickled in files.names
                else f"lacks {folder}model.safetensors, the weights of its {kind} module: fetch it again"
            )


def _modules(files: ModelFiles) -> list[tuple[str, str]]:
    """(kind, folder as a beginning of names) of a sentence-transformers folder's modules."""
    listed = files.configs.get("modules.json")
    modules = [module for module in listed if isinstance(module, dict)] if isinstance(listed, list) else []
    pairs = [(str(module.get("type", "")), str(module.get("path", ""))) for module in modules]
    return [(kind.rpartition(".")[2], f"{path.strip('/')}/" if path else "") for kind, path in pairs]


def _has_tokenizer(files: ModelFiles) -> bool:
    own = str(files.config("tokenizer_config.json").get("tokenizer_class"))
    return own in WITHOUT_FILE or any(name.endswith(TOKENIZER_ENDINGS) for name in files.names)


def _lacks_head(files: ModelFiles) -> bool:
    """Whether every weight belongs to the body of a class that has a head of its own."""
    names = [name for listed in files.tensors.values() for name in listed]
    return (
        bool(names) and class_of(files).endswith(HEADS) and {name.partition(".")[0] for name in names} <= BODY
    )
