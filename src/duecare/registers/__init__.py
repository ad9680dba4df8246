"""What the official sources say, and since when."""
