"""The service as a notebook opens it."""

from __future__ import annotations

from pathlib import Path

import duecare


def test_notebook_session(tmp_path: Path) -> None:
    """Opening a home, reading a file, finding a company and seeing its past takes five calls."""
    listed = tmp_path / "2025-01-01.csv"
    listed.write_text("CIK,Ticker,Name,Exchange\n0000320193,AAPL,Apple Inc.,Nasdaq\n")
    renamed = tmp_path / "2025-02-01.csv"
    renamed.write_text("CIK,Ticker,Name,Exchange\n0000320193,AAPL,Apfel Inc.,Nasdaq\n")
    with duecare.open(tmp_path / "home") as companies:
        for path in (listed, renamed):
            companies.ingest("us-sec-issuers-history", path)
        assert [hit.entity for hit in companies.search("apfel")] == ["0000320193"]
        assert [hit.former for hit in companies.search("Apple")] == [True]
        assert companies.company("0000320193")["name"] == "Apfel Inc."
        assert [change["kind"] for change in companies.changes(kind="event")] == ["event"]
        assert companies.walk().raised.alerts == 1
        assert any(state.state == "stale" for state in companies.sources())
