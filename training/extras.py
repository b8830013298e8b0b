"""Optional packages, imported where they are used, so that the core installs and starts without them."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def needs_extra(extra: str = "train") -> Iterator[None]:
    """Around imports of optional packages: a missing one is answered with how to install it.

    Args:
      extra: the extra of fastddsp that installs what is imported.

    Returns:
      A context manager that adds the advice to an ImportError.
    """
    try:
        yield
    except ImportError as error:
        raise ImportError(f'{error}: pip install "fastddsp[{extra}]"') from error
