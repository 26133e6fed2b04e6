"""Measures of how good the pictures are, too slow for the tests: ``python -m benchmarks.quality.<name>``."""

from __future__ import annotations
