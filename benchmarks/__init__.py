"""The same work on Tiffin, on Feast and on the bare libraries, measured in one run.

``python -m benchmarks`` (or ``make bench``) prints the tables and writes ``docs/benchmarks.md``. This package is
imported by two interpreters, the project's and that of Feast's own virtual environment: only the module of a contender
imports that contender.
"""
