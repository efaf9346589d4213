# The API, the courier, the clock and Flower: one small image without any model library.
FROM python:3.12-slim-bookworm

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 LOVAGE_DATA_DIR=/data
WORKDIR /srv/lovage

RUN useradd --create-home --uid 10001 lovage && mkdir /data && chown lovage /data

COPY requirements requirements
RUN python -m pip install -r requirements/api.txt

COPY pyproject.toml setup.py README.md LICENSE alembic.ini ./
COPY alembic alembic
COPY scripts/init_db.py scripts/init_db.py
COPY app app
RUN python -m pip install --no-deps -e .

USER 10001
EXPOSE 8000 5555
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/livez', timeout=4)"]
CMD ["lovage", "api", "--host", "0.0.0.0", "--port", "8000"]
