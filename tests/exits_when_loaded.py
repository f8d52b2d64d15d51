"""A module that ends its process while it is loaded (contract/test_preparing.py)."""

raise SystemExit(7)
