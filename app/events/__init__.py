"""What processes publish about predictions as they run, over Redis. Everything here may be lost: readers can
always re-read Postgres.

Channels: `lovage:done` (ids that ended, and how, where that is short, for `Prefer: wait`), `lovage:changes`
(every change of state), `lovage:cancel` (ids to stop) and `lovage:commands` (versions to load or unload) for
workers, `lovage:p:{id}` (live chunks of one prediction). Stream `lovage:s:{id}`: the same chunks, kept for a
while, numbered, so that a reader can come late or resume on any API process.
"""
