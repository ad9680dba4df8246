"""The way in for people at a terminal and for scripts."""
