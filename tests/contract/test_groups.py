"""The groups of the contract can be taken together: no test of one hides a test of another."""

from backstory.testing.store_contract import StoreContract


def test_every_test_name_is_in_one_group_only() -> None:
    names = [
        name
        for group in StoreContract.__bases__
        for name in vars(group)
        if name.startswith("test_")
    ]

    assert sorted(names) == sorted(set(names))
