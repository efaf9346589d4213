"""`lovage models push`: uploads a folder in parts, through the public API, and registers it. Broken off, the
same command goes on."""

from pathlib import Path

from rich.progress import Progress

from app.cli import screen
from app.cli.connection import EXIT_CANCELED, EXIT_USAGE, Api, ApiError, stop
from app.domain.versions import NAME_RULE, is_name
from app.folder_content import TooManyFilesError
from lovage.uploads import begin, list_files, send_parts

TRIES = 8  # of one part, over half a minute or more: a platform that starts again is there by then


def push_folder(api: Api, folder: Path, owner: str, model: str) -> str:
    """Sends what is missing; the source for a version of it."""
    if not is_name(model):
        stop(f"--name: {model!r} {NAME_RULE}", EXIT_USAGE)
    try:
        with screen.console(stderr=True).status(f"Reading {folder} …"):
            files = list_files(folder)
    except TooManyFilesError as error:
        stop(f"{folder} {error}", EXIT_USAGE)
    except (ValueError, OSError) as error:
        stop(str(error), EXIT_USAGE)
    name = f"{owner}/{model}"
    plan = begin(api, files, folder, name)
    with Progress(console=screen.console(stderr=True)) as progress:
        task = progress.add_task(name, total=plan.total, completed=plan.total - plan.missing)
        try:
            send_parts(Api(tries=TRIES), plan.parts, lambda size: progress.advance(task, size))
        except ApiError as error:
            stop(f"{error} The same command goes on from here.", error.code)
        except KeyboardInterrupt:
            stop("stopped; the same command goes on from here", EXIT_CANCELED)
        except OSError as error:
            stop(f"{error}: the folder changed meanwhile; send it again", EXIT_USAGE)
    return plan.source
