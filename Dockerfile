# The API, the courier, the clock and Flower: one small image without any model library.
FROM python:3.12.12-slim-bookworm AS build

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /srv/lovage

# An environment of its own, copied as a whole: neither pip's leftovers nor what only building needs is in the image.
RUN python -m venv --without-pip /opt/lovage
COPY requirements requirements
RUN python -m pip --python /opt/lovage/bin/python install -r requirements/api.txt -r requirements/mcp.txt

COPY pyproject.toml setup.py README.md LICENSE alembic.ini ./
COPY alembic alembic
COPY scripts/init_db.py scripts/init_db.py
COPY app app
COPY lovage lovage
# Compiled here: a container cannot write on its own disk, and would compile again at each start.
RUN python -m pip --python /opt/lovage/bin/python install --no-deps -e . \
    && python -m compileall -q app lovage alembic scripts

# What is inside, for scanners: CycloneDX, in the image itself.
RUN python -m pip install cyclonedx-bom==7.5.0 \
    && python -m cyclonedx_py environment --pyproject pyproject.toml --output-file /opt/lovage/sbom.cdx.json /opt/lovage/bin/python

FROM python:3.12.12-slim-bookworm

ENV PATH=/opt/lovage/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 LOVAGE_DATA_DIR=/data XDG_CACHE_HOME=/tmp/cache
WORKDIR /srv/lovage
RUN useradd --create-home --uid 10001 lovage && mkdir /data && chown lovage /data
COPY --from=build /opt/lovage /opt/lovage
COPY --from=build /srv/lovage /srv/lovage

USER 10001
VOLUME /data
EXPOSE 8000 5555
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/livez', timeout=4)"]
CMD ["lovage", "api", "--host", "0.0.0.0", "--port", "8000"]
