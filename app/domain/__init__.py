"""What Lovage talks about: predictions, versions, work and errors. Standard library only; no clock, no
thread, no I/O."""
