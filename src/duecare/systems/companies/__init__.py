"""A company-information service: search, company page, watches, digest, correction (case 1)."""
