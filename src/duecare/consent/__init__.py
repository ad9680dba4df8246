"""What people agreed to: notices, purposes, grants and their ends."""
