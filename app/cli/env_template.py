"""The text of a .env: every setting with its meaning and its default, which stays one until it is changed."""

from collections.abc import Iterator, Mapping

from app.settings import Settings, shown_default

HEAD = """# The settings of Lovage. Copy this to .env, or let `lovage env init` write one with fresh secrets.
# Every `lovage` command reads .env in its working folder; docker-compose.yml gives it to every container.
# What goes before it: the command line, the environment, and NAME_FILE, the name of a file with a secret
# (SECRET_KEY_FILE). A line with # is a default: take the # away to change it. Empty means the default.

# What docker-compose.yml needs.
"""
NEEDED = ("POSTGRES_PASSWORD", "REDIS_PASSWORD", "SECRET_KEY", "FLOWER_BASIC_AUTH")
PROFILES = ("cpu", "gpu", "s3", "monitoring")
# What only the compose file reads: (name, its default there, what it does).
OF_COMPOSE = (
    ("CADDY_SITE", "localhost", "The name that the proxy serves HTTPS under."),
    (
        "CADDY_TLS",
        "internal",
        "Its certificate: `internal`, an email address (Let's Encrypt, with CADDY_HTTPS_PORT=443), or two"
        " files (/certificates/cert.pem /certificates/key.pem).",
    ),
    ("CADDY_HTTPS_PORT", "8443", "HTTPS on this host."),
    ("CADDY_HTTP_ADDRESS", "127.0.0.1", "Where plain HTTP is published, on API_PORT."),
    ("CADDY_S3_PORT", "9000", "HTTPS to the bundled S3-compatible store; the port of S3_PUBLIC_URL."),
    ("CONTAINER_CERTIFICATES", "./certificates", "Folder of this host with certificates: /certificates."),
    ("CONTAINER_MODELS", "./models", "Folder of this host with models, read only: path:/models/…"),
    ("CONTAINER_WORKER_MEMORY", "", "Most memory of a worker's container, e.g. 16g."),
    ("CONTAINER_WORKER_CPUS", "", "Most processors of a worker's container."),
    ("CONTAINER_POSTGRES_MEMORY", "4g", "The same for Postgres."),
    ("CONTAINER_POSTGRES_CPUS", "", "The same for Postgres."),
    ("CONTAINER_GRAFANA_PORT", "3000", "Grafana on this host (profile monitoring)."),
    ("CONTAINER_GRAFANA_PASSWORD", "", "Grafana's `admin`; empty: what FLOWER_BASIC_AUTH is."),
    ("CONTAINER_PROMETHEUS_PORT", "9090", "Prometheus on this host (profile monitoring)."),
    ("TORCH_INDEX", "", "Package index for torch in the workers' image; empty: pip's own."),
    ("TORCH_CUDA_INDEX", "", "The same for the image of profile gpu."),
)


def env_text(values: Mapping[str, str] | None = None) -> str:
    """The whole file, with `values` by the variables' names set."""
    fresh = dict(values or {})
    lines = [HEAD, *(f"{name}={fresh.pop(name, '')}\n" for name in NEEDED), *_of_compose(fresh)]
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


def _of_compose(fresh: dict[str, str]) -> Iterator[str]:
    """The lines that only the compose file reads."""
    yield f"# What runs beside the platform itself, with commas between: {', '.join(PROFILES)}.\n"
    yield f"COMPOSE_PROFILES={fresh.pop('COMPOSE_PROFILES', 'cpu')}\n\n# What it takes as well.\n"
    for name, default, meaning in OF_COMPOSE:
        line = f"{name}={fresh[name]}" if name in fresh else f"#{name}={default}"
        yield f"# {meaning}\n{line}\n"
