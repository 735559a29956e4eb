"""What is said of an error that somebody else's code has raised.

Their code includes the error's own `__str__`, which may raise as well. What only wants to say why
something failed must not fail by that.
"""


def reason_of(error: BaseException) -> str:
    """Return an error's class and text; of a text that cannot be had, that it cannot."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - whatever it raises: the first error is the one that matters
        text = "<its text cannot be had>"
    return f"{type(error).__name__}: {text}"
