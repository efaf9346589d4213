"""`python -m app` is `lovage`."""

from app.cli import main

main()
