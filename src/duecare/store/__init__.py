"""Where data rests: snapshots as received, the lake (Delta tables), the database."""
