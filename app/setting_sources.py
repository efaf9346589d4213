"""Where the values of settings come from, before anybody looks at what they mean.

One precedence: the environment, `NAME_FILE` (a file that holds a secret), the file `.env` of the working
folder, the deployment's file, defaults; what a command line says goes before all of them. An empty value is
none. Names that people know from other programs stand for ours; two that say different things in one place
contradict each other and are refused. Pure but for reading those files: it knows names and texts, no types.
"""

import difflib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

from dotenv import dotenv_values

ENVIRONMENT, DOTENV = "environment", ".env"
DEFAULT = "default"
ENV_FILE = "LOVAGE_ENV_FILE"  # another file than .env; `off`: none
DEPLOYMENT_FILE = "LOVAGE_CONFIG"  # a YAML file with settings and models
OFF = "off"
FILE_SUFFIX = "_FILE"
LARGEST_SECRET = 64_000  # bytes of such a file
NEAR = 0.75  # how much alike two names are for one to be a misspelling of the other
NEAR_FOREIGN = 0.9  # the same for names that may as well be another program's
OURS = "LOVAGE_"  # every variable that begins so is meant for us
TRUE, FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")
# In .env stand other programs' variables, too: those of compose, of clouds, of Python's libraries.
FOREIGN_PREFIXES = """
    AWS_ AZURE_ CADDY_ COMPOSE_ CONTAINER_ CUDA_ DOCKER_ GOOGLE_ HF_ HSA_ HTTP_ HTTPS_ HUGGING LANG LC_ LD_
    MINIO_ MKL_ NCCL_ NO_PROXY NVIDIA_ OMP_ OPENBLAS_ OTEL_ PATH PG POSTGRES_ PYTHON PYTORCH_ REDIS_ REQUESTS_
    ROCR_ SSL_ TMP TORCH TRANSFORMERS_ TZ UV_ VALKEY_ XDG_ http_ https_ no_proxy
"""
FOREIGN = tuple(FOREIGN_PREFIXES.split())


class WrongSource(ValueError):
    """A contradiction, or a file that cannot be read: a sentence that names the variables."""


@dataclass(frozen=True, slots=True)
class Sourced:
    """A value as text, and where it stands: in the environment, in .env, in the file of this name.
    `variable`: the name that it has there."""

    text: str = field(repr=False)
    origin: str
    variable: str


Level = Mapping[str, Sourced]


@dataclass(frozen=True, slots=True)
class Found:
    """What is set: the settings by their names; the variables of .env that are none of ours; sentences about
    names that look like mistakes."""

    settings: dict[str, Sourced]
    foreign: dict[str, str] = field(repr=False)
    warnings: tuple[str, ...] = ()


def find(
    environ: Mapping[str, str],
    known: Collection[str],
    secrets: Collection[str],
    folder: Path,
    deployment: Mapping[str, str] | None = None,
) -> Found:
    """What is set for the settings `known`, of which `secrets` may stand in files; `folder` is where .env
    lies, `deployment` what the file says that LOVAGE_CONFIG names. Raises WrongSource."""
    inside = read_dotenv(environ, folder)
    secrets = {*secrets, *SECRET_PARTS}
    levels: list[Level] = [
        _level(environ, ENVIRONMENT),
        {**_from_files(inside, secrets), **_from_files(environ, secrets)},
        _level(inside, DOTENV),
        _level(deployment or {}, Path(environ.get(DEPLOYMENT_FILE, "")).name),
    ]
    everywhere: dict[str, Sourced] = {}
    for level in reversed(levels):
        everywhere |= level
    settings: dict[str, Sourced] = {}
    for level in levels:
        for name, value in _with_aliases(level, everywhere, known).items():
            settings.setdefault(name, value)
    ours = {*known, *ALIASES, *PARTS, *(name + FILE_SUFFIX for name in secrets)} - {"HF_HOME"}
    foreign = {name: text for name, text in inside.items() if text and name not in ours}
    return Found(settings, foreign, tuple(_warnings(environ, inside, known, secrets)))


def read_dotenv(environ: Mapping[str, str], folder: Path) -> dict[str, str]:
    """The variables of .env, or of the file that LOVAGE_ENV_FILE names; {} where there is none."""
    name = environ.get(ENV_FILE, "").strip()
    if name.lower() == OFF:
        return {}
    path = folder / (name or DOTENV)
    if not path.is_file():
        if name:
            raise WrongSource(f"{ENV_FILE}: there is no file {path}")
        return {}
    try:
        return {key: value or "" for key, value in dotenv_values(path).items()}
    except (OSError, UnicodeDecodeError) as error:
        raise WrongSource(f"{path} cannot be read: {error}") from None


def _level(variables: Mapping[str, str], origin: str) -> dict[str, Sourced]:
    return {name: Sourced(text, origin, name) for name, text in variables.items() if text.strip()}


def _from_files(variables: Mapping[str, str], secrets: Collection[str]) -> dict[str, Sourced]:
    """The secrets that files hold, without the end of their last line."""
    contents = {}
    for name in secrets:
        variable = name + FILE_SUFFIX
        if path := variables.get(variable, "").strip():
            contents[name] = Sourced(_read_secret(variable, Path(path)), path, variable)
    return contents


def _read_secret(variable: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_SECRET + 1)
        text = content.decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise WrongSource(f"{variable}: {path} cannot be read: {reason}") from None
    if not text or len(content) > LARGEST_SECRET:
        raise WrongSource(f"{variable}: {path} must hold a secret of at most {LARGEST_SECRET} bytes")
    return text


# Names that people know


@dataclass(frozen=True, slots=True)
class Alias:
    """Another name of a setting. `translate` makes the setting's text of the alias' one and of all that is
    set (raises WrongSource); `agrees`: the setting's own text does not contradict the translated one."""

    setting: str
    translate: Callable[[str, Level], str]
    agrees: Callable[[str, str], bool]


def _is_same(own: str, translated: str) -> bool:
    return own.lower() == translated.lower()


def _device_for(text: str, _: Level) -> str:
    if text.lower() not in TRUE + FALSE:
        raise WrongSource("ENABLE_GPU: must be true or false")
    return "gpu" if text.lower() in TRUE else "cpu"


def _is_such_device(own: str, translated: str) -> bool:
    return own == "auto" or (own.startswith("cpu") == (translated == "cpu"))


def _redis_url(host: str, everywhere: Level) -> str:
    def part(name: str, default: str) -> str:
        return everywhere[name].text if name in everywhere else default

    password = part("REDIS_PASSWORD", "")
    login = f":{quote(password, safe='')}@" if password else ""
    return f"redis://{login}{host}:{part('REDIS_PORT', '6379')}/{part('REDIS_DB', '0')}"


def _is_same_host(own: str, translated: str) -> bool:
    return urlsplit(own).hostname == urlsplit(translated).hostname


ALIASES = {
    "STORAGE_TYPE": Alias("STORAGE", lambda text, _: text.lower(), _is_same),
    "HF_SERVER_PORT": Alias("API_PORT", lambda text, _: text, _is_same),
    "HF_SERVER_LOG_LEVEL": Alias("LOG_LEVEL", lambda text, _: text.lower(), _is_same),
    "ENABLE_GPU": Alias("DEVICE", _device_for, _is_such_device),
    "REDIS_HOST": Alias("REDIS_URL", _redis_url, _is_same_host),
    # The library's own cache of downloads; the models that we fetch lie beside it, unless they have a folder.
    "HF_HOME": Alias("MODEL_CACHE_DIR", lambda text, _: f"{text}/lovage", lambda own, translated: True),
}
PARTS = ("REDIS_PORT", "REDIS_PASSWORD", "REDIS_DB")  # of what stands for REDIS_URL
SECRET_PARTS = ("REDIS_PASSWORD",)


def _with_aliases(level: Level, everywhere: Level, known: Collection[str]) -> dict[str, Sourced]:
    """The settings of one place, those under other names as well."""
    own = {name: value for name, value in level.items() if name in known}
    for name, alias in ALIASES.items():
        if name not in level or alias.setting not in known:
            continue
        value = level[name]
        text = alias.translate(value.text, everywhere)
        if alias.setting not in own:
            own[alias.setting] = Sourced(text, value.origin, name)
        elif not alias.agrees(own[alias.setting].text, text):
            raise WrongSource(
                f"{name} and {alias.setting} contradict each other ({value.origin}): leave one of them out"
            )
    return own


# Names that look like mistakes


def _warnings(
    environ: Mapping[str, str], inside: Mapping[str, str], known: Collection[str], secrets: Collection[str]
) -> Iterator[str]:
    files = {name + FILE_SUFFIX for name in secrets}
    names = {*known, *ALIASES, *PARTS, *files, ENV_FILE, DEPLOYMENT_FILE}
    for name in environ:
        if name.startswith(OURS) and name not in names:
            yield _unknown(name, ENVIRONMENT, names)
    for name in inside:
        is_foreign = name.startswith(FOREIGN) and not _nearest(name, names, NEAR_FOREIGN)
        if name not in names and not is_foreign:
            yield _unknown(name, DOTENV, names)


def _nearest(name: str, names: Collection[str], near: float = NEAR) -> str:
    """The known name that it looks like, or ""."""
    return next(iter(difflib.get_close_matches(name.upper(), names, 1, near)), "")


def _unknown(name: str, origin: str, names: Collection[str]) -> str:
    nearest = _nearest(name, names)
    question = f": did you mean {nearest}?" if nearest else ""
    return f"{name} ({origin}) is not a setting of Lovage and changes nothing{question}"
