"""A module that ends its process while it is loaded (contract/test_preparing.py)."""

print("exits now", flush=True)
raise SystemExit(7)
