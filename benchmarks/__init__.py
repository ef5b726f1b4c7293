"""Benchmarks, each a folder: ``python -m benchmarks.FOLDER.run`` (README.md lists them)."""
