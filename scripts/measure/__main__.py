"""`python -m scripts.measure`: prints each measure and its bar; the exit code is 1 when one is missed."""

import sys
from collections.abc import Iterable
from pathlib import Path

from scripts.measure import lookups, sizes, words

ROOT = Path(__file__).parents[2]


def main() -> int:
    """Checks everything; returns the exit code."""
    modules = sizes.read(ROOT)
    missed = 0
    for name, over in sizes.measure(modules).items():
        missed += report(name, largest(name, modules), over)
    others = [module for folder in ("lovage", "scripts") for module in sizes.read(ROOT, folder)]
    value = f"of the client and the scripts: longest {sizes.longest_function(others)} lines"
    missed += report(
        "functions elsewhere", value, (over for each in others for over in sizes.functions(each))
    )
    missed += report("retired words", f"{len(words.EXCEPTIONS)} exceptions", words.violations())
    missed += report("idle exceptions", "", words.idle_exceptions())
    missed += report("first-guess look-ups", f"{len(lookups.PLACES)} concepts", lookups.missing(ROOT))
    return 1 if missed else 0


def report(name: str, value: str, missed: Iterable[object]) -> int:
    """Prints one measure and returns how often it is missed."""
    lines = [str(each) for each in missed]
    print(f"{'MISSED' if lines else 'ok':7}{name:24}{value}".rstrip())
    for line in lines:
        print(f"         {line}")
    return len(lines)


def largest(name: str, modules: list[sizes.Module]) -> str:
    """What the measure is today, in a few words."""
    match name:
        case "functions":
            return f"longest {sizes.longest_function(modules)} lines, at most {sizes.FUNCTION_LINES}"
        case "classes":
            lines, methods = sizes.largest_class(modules)
            return (
                f"longest {lines} lines, at most {sizes.CLASS_LINES};"
                f" {methods} public methods, at most {sizes.PUBLIC_METHODS}"
            )
        case "modules":
            longest = max(len(module.lines) for module in modules)
            return f"{len(modules)}, longest {longest} lines, at most {sizes.MODULE_LINES}"
        case "columns":
            return f"{max(len(line) for module in modules for line in module.lines)}, at most {sizes.COLUMNS}"
        case "excepts":
            count = sum(1 for module in modules for _ in sizes.broad_excepts(module))
            return f"{count} broad, each with its reason"
        case "format skips":
            return f"{sizes.count_format_skips(modules)}, at most {sizes.FORMAT_SKIPS}"
    return ""


if __name__ == "__main__":
    sys.exit(main())
