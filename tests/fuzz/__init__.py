"""Inputs that nobody would send, by the million: ``python -m tests.fuzz``."""
