"""Tests of the pytest plugin, on inner runs of pytest."""
