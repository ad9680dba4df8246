"""A world to run on: a seeded register with an official site, and thirty days of life in it."""
