"""The text of a .env: every setting with its meaning and its default, which stays one until it is changed."""

from collections.abc import Mapping

from app.settings import Settings, shown_default

HEAD = """# The settings of Lovage. Copy this to .env, or let `lovage env init` write one with fresh secrets.
# Every `lovage` command reads .env in its working folder; docker-compose.yml gives it to every container.
# What goes before it: the command line, the environment, and NAME_FILE, the name of a file with a secret
# (SECRET_KEY_FILE). A line with # is a default: take the # away to change it. Empty means the default.

# What docker-compose.yml needs.
"""
NEEDED = ("POSTGRES_PASSWORD", "REDIS_PASSWORD", "SECRET_KEY", "FLOWER_BASIC_AUTH")


def env_text(values: Mapping[str, str] | None = None) -> str:
    """The whole file, with `values` by the variables' names set."""
    fresh = dict(values or {})
    lines = [HEAD, *(f"{name}={fresh.pop(name, '')}\n" for name in NEEDED)]
    for field_name, setting in Settings.model_fields.items():
        name = field_name.upper()
        lines.append(f"\n# {setting.description}\n")
        if name in NEEDED:
            lines.append("# It is set above.\n")
        elif name in fresh:
            lines.append(f"{name}={fresh[name]}\n")
        else:
            lines.append(f"#{name}={shown_default(setting.default)}\n")
    return "".join(lines)
