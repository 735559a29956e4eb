"""The stores, each behind a door of its own; this package imports none of them.

- `backstory.stores.in_memory`: `InMemoryStore`, for tests; gone with the process
- `backstory.stores.sqlite`: `SQLiteStore`, the embedded default; one file
- `backstory.stores.supply`: what a store of your own is built from
"""
