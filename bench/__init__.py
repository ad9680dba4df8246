"""Measurements, each beside its floor in one run. Never part of the tests."""
