"""Benchmarks: ``python -m tests.bench NAME``. Every one checks the answer; a wrong answer has no speed."""
