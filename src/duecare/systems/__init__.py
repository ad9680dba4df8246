"""The systems of the cases, thin, one folder each."""
