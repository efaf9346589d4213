"""`lovage up`: real Postgres and Valkey from wheels, and every process of the platform supervised in one
terminal.

Knows processes, ports, signals and files under one data directory. Does not know SQL, Celery, models or
settings: it takes plain values and starts the same commands that an operator would type.
"""
