"""One file for each library: its pinned packages (REQUIRES), the operations that it calls (CALLS), `main`.

Each runs in an environment of its own, which has nothing of Lovage: only the standard library and REQUIRES
may be imported. The platform's address, key and models come in the environment.
"""
