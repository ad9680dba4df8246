"""What may be done, and why: the holdings of the cases as Cedar policies."""
