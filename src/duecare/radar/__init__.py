"""Telling watchers, with care: change → screen → verify → alert → deliver → (correct)."""
