"""The groups of the store contract; `backstory.testing.store_contract` joins them."""
