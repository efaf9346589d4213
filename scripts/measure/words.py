"""Retired words: what Lovage's code said before it spoke the field's language (docs/glossary.md).

Looks at the names of modules, classes, functions, parameters, variables and attributes of `app/`, split at
underscores and capitals; at its docstrings, comments and other texts; at the names of tests; and at the prose
of the papers. Knows no grammar: a word that has an innocent use as well is banned as a name only, or listed
in EXCEPTIONS with a reason.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAPERS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs")


@dataclass(frozen=True, slots=True)
class Retired:
    """`say` is the field's word. `words`: banned as a part of any name; `names`: banned as a whole name, of
    whatever kind; `classes`, `functions`, `modules`: as a whole name of that kind; `prose`: a pattern banned
    in every text. `within`: only in paths that begin so."""

    say: str
    words: str = ""
    names: str = ""
    classes: str = ""
    functions: str = ""
    modules: str = ""
    prose: str = ""
    within: str = ""


def compiled(prose: str) -> re.Pattern[str]:
    """Whole words, which may stand on two lines, in capitals or not."""
    return re.compile(r"\b(" + prose.replace(" ", r"\s+") + r")\b", re.IGNORECASE)


TABLE = (
    Retired(
        "message, notification; notify, publish, notified_at",
        words="bell bells doorbell doorbells doorstep ring rings ringing rung rang unrung",
        classes="Door",
        prose=r"(door)?bells?|rings?|rang|rung|ringing|doorstep",
    ),
    Retired("claim, claim_oldest", words="steal stolen", prose=r"steals?|stealing|stole|stolen"),
    Retired("claim, pop, read: a verb with an object", functions="take"),
    Retired("work item", names="works", prose=r"(the|which|waiting|of|other|its|these|several|all) works"),
    Retired("capacity", words="room rooms", within="app/worker"),
    Retired("capacity", words="room rooms", within="app/db"),
    Retired("capacity", words="room rooms", within="app/services"),
    Retired("capacity", words="room rooms", within="app/domain"),
    Retired("capacity", prose="rooms?", within="app/worker"),
    Retired("capacity", prose="rooms?", within="app/db"),
    Retired("capacity", prose="rooms?", within="app/services"),
    Retired("capacity", prose="rooms?", within="app/domain"),
    Retired("capacity", prose="room", within="docs"),
    Retired("queue position, backlog", words="waiting_line", classes="Place", prose="waiting line"),
    Retired("position, index", words="places", names="place"),
    Retired(
        "circuit breaker, fail_fast",
        words="patience patient impatient",
        modules="patience",
        prose="patience|patient|impatient(ly)?",
    ),
    Retired("deferred", words="put_off", prose="put(s|ting)? off"),
    Retired(
        "preload, model command",
        words="stock obey obeys",
        modules="stock orders",
        prose="obeys?|obeyed|stock",
    ),
    Retired("command, message", words="order orders", within="app/engine"),
    Retired("command, message", words="order orders", within="app/events"),
    Retired("command, message", words="order orders", within="app/worker"),
    Retired("cost model, estimate", words="curve curves guess guesses", prose="curves?|guess(es|ed)?"),
    Retired(
        "deadlines, check, unresponsive",
        words="verdict verdicts judge judges judged deaf",
        classes="Times",
        prose="verdicts?|judges?|judged|deaf",
    ),
    Retired("supervise, check deadlines", words="watch", within="app/engine"),
    Retired(
        "isolate, isolation group, blame, known crashers",
        words="convict convicts killer killers trial trials apart",
        modules="tickets",
        prose="convicts?|convicted|killers?|trials?",
    ),
    Retired("model supervisor; machine", words="host hosts", within="app/engine"),
    Retired("callbacks", words="terms", within="app/engine"),
    Retired(
        "hand back",
        words="give_back give_away given_back gives_back gave_back",
        classes="Return",
        prose=r"(give|gives|gave|given|giving) (it |them |that |what |these )?(back|away)",
    ),
    Retired("progress, save_progress", words="growth grow grows grown growing", prose="growth"),
    Retired(
        "ended, succeeded, failed, canceled",
        words="settle settles settled last_words is_over",
        prose="settles?|settled|settling|last words",
    ),
    Retired(
        "subscriber, subscription, event; subscribe, publish, receive",
        words="mailbox ear ears hear hears heard hearing tell tells told telling news",
        classes="Watcher",
        prose="mailbox(es)?|ears|hears?|heard|hearing|news|told(?! apart)|tells? (of|about)|telling",
    ),
    Retired("autocommit, prepared statement", names="single kept soon", within="app/db"),
    Retired(
        "rebalance, queue slice",
        words="stranded mover movers",
        classes="Stretch",
        prose="stranded|movers?",
    ),
    Retired("disconnects; cancel_abandoned", words="abandonment", prose="abandonment"),
    Retired(
        "notifier; publish, notify",
        words="announcer announcers announcement announcements announce announces",
        prose="announc(e|es|ed|er|ers|ing|ement|ements)",
    ),
    Retired("redis pipe, batch", words="redis_line redis_sender", classes="Turn"),
    Retired("services, base URL", classes="Lovage Base", within="app/api"),
    Retired(
        "metrics.py of the room, db/queue_counts.py",
        modules="counts counting gauges census",
    ),
    Retired(
        "what it is: topics -> subscriptions, host -> model_supervisor, lanes -> parallel_passes",
        modules="topics host watch curve single lanes step_loop static_text token_ids waiting_line",
    ),
    Retired(
        "the noun: prediction, row, rows, deliveries, values",
        names="one found told asked given said wanted made",
    ),
    Retired("a verb with an object, or from_…, by_…, as_…, list_…", functions="of told known"),
)

# (path or folder, retired word) -> why it stays. A word of several parts is written with underscores.
EXCEPTIONS: dict[tuple[str, str], str] = {
    ("app/api/rest/serving.py", "asked"): "a field of the answer, which callers read",
    ("app/observe/metrics.py", "doorbells"): "the old name of a metric, shown until 0.3",
    ("docs/reference/metrics.md", "doorbells"): "the old name of a metric, shown until 0.3",
    ("docs/reference/metrics.md", "bell"): "the old value of a label, for those whose dashboards have it",
    ("docs/architecture/overview.md", "room"): "a room is a layer of imports there",
    ("app/cli/bench.py", "verdict"): "a key of `lovage bench compare --json`, which callers read",
}

PATTERNS = [(compiled(retired.prose), retired) for retired in TABLE if retired.prose]
ANY_WORD = re.compile(f"_({'|'.join(word for retired in TABLE for word in retired.words.split())})_")
WHOLE = {
    name
    for retired in TABLE
    for each in (retired.names, retired.classes, retired.functions, retired.modules)
    for name in each.split()
}
ANY = compiled("|".join(retired.prose for retired in TABLE if retired.prose))  # most texts hold none


@dataclass(frozen=True, slots=True)
class Violation:
    path: str
    line: int
    word: str
    say: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.word!r} in {self.text!r}; say: {self.say}"


def parts(name: str) -> list[str]:
    """The words of a name: `_takeUnrungRows2` is take, unrung, rows."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]


def plain(text: str) -> str:
    """Names inside a text as words, so that `rung_at` and `PutOff` are found; of the same number of lines."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text.replace("_", " "))


def in_names(path: str, source: str) -> Iterator[Violation]:
    """Retired words among the names that this file defines."""
    for kind, name, line in names(path, source):
        words = "_" + "_".join(parts(name)) + "_"
        if not ANY_WORD.search(words) and name.strip("_") not in WHOLE and not name.startswith("of_"):
            continue
        for retired in TABLE:
            if not path.startswith(retired.within):
                continue
            for word in retired.words.split():
                if f"_{word}_" in words:
                    yield Violation(path, line, word, retired.say, name)
            whole = (*retired.names.split(), *getattr(retired, kind, "").split())
            if (bare := name.strip("_")) in whole:
                yield Violation(path, line, bare, retired.say, name)
            if kind == "functions" and "of" in retired.functions.split() and bare.startswith("of_"):
                yield Violation(path, line, "of", retired.say, name)


TEST_NAME = re.compile(r"^[ ]*(?:async )?def (test_\w+)", re.MULTILINE)


def in_test_names(path: str, source: str) -> Iterator[Violation]:
    """Retired words in the sentences that tests are named by."""
    if (module := Path(path).stem).startswith("test_"):
        yield from in_text(path, 1, module)
    for match in TEST_NAME.finditer(source):
        yield from in_text(path, source.count("\n", 0, match.start(1)) + 1, match.group(1))


@lru_cache(maxsize=1)  # names and texts of a file are looked for one after the other
def nodes(source: str) -> list[ast.AST]:
    """Everything in a file."""
    return list(ast.walk(ast.parse(source)))


def names(path: str, source: str) -> Iterator[tuple[str, str, int]]:
    """Kind, name and line of every name defined in a file: the module's own, classes, functions, others."""
    yield "modules", Path(path).parent.name if path.endswith("__init__.py") else Path(path).stem, 1
    for node in nodes(source):
        match node:
            case ast.ClassDef():
                yield "classes", node.name, node.lineno
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield "functions", node.name, node.lineno
            case ast.arg():
                yield "others", node.arg, node.lineno
            case ast.Name(ctx=ast.Store()):
                yield "others", node.id, node.lineno
            case ast.Attribute(ctx=ast.Store()):
                yield "others", node.attr, node.lineno
            case ast.alias() if node.asname:
                yield "others", node.asname, node.lineno
            case ast.ExceptHandler() if node.name:
                yield "others", node.name, node.lineno


def in_text(path: str, first_line: int, text: str) -> Iterator[Violation]:
    """Retired words in one text that begins at this line."""
    searched = plain(text)
    if not ANY.search(searched):
        return
    for pattern, retired in PATTERNS:
        if not path.startswith(retired.within):
            continue
        for match in pattern.finditer(searched):
            line = first_line + searched.count("\n", 0, match.start())
            word = re.sub(r"\s+", "_", match.group().lower())
            around = searched[max(0, match.start() - 30) : match.end() + 30]
            yield Violation(path, line, word, retired.say, " ".join(around.split()))


def texts(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of every comment and every string of a file, docstrings among them."""
    for node in nodes(source):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
    comment: list[str] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            comment.append(token.string.lstrip("# "))
        elif token.type not in (tokenize.NL, tokenize.NEWLINE) and comment:
            yield token.start[0] - len(comment), "\n".join(comment)
            comment = []


@cache
def everywhere(root: Path = ROOT) -> list[Violation]:
    """All violations in `app/`, the names of tests and the papers, excused ones included."""
    all_of_them: list[Violation] = []
    for file in sorted((root / "app").rglob("*.py")):
        path, source = str(file.relative_to(root)), file.read_text()
        all_of_them += in_names(path, source)
        for line, text in texts(source):
            all_of_them += in_text(path, line, text)
    for file in sorted((root / "tests").rglob("*.py")):
        all_of_them += in_test_names(str(file.relative_to(root)), file.read_text())
    for paper in PAPERS:
        top = root / paper
        for file in sorted(top.rglob("*.md")) if top.is_dir() else [top]:
            all_of_them += in_text(str(file.relative_to(root)), 1, file.read_text())
    return all_of_them


def excuse(violation: Violation) -> tuple[str, str] | None:
    """The entry of EXCEPTIONS that allows it."""
    allowing = (key for key in EXCEPTIONS if key[1] == violation.word and violation.path.startswith(key[0]))
    return next(allowing, None)


def violations(root: Path = ROOT) -> list[Violation]:
    """What is not excused."""
    return [violation for violation in everywhere(root) if excuse(violation) is None]


def idle_exceptions(root: Path = ROOT) -> list[tuple[str, str]]:
    """Entries of EXCEPTIONS that excuse nothing any more."""
    used = {excuse(violation) for violation in everywhere(root)}
    return [key for key in EXCEPTIONS if key not in used]
