"""Optional packages, imported when first used, so that the core installs and starts without them."""

from importlib import import_module
from types import ModuleType


def require(name: str, extra: str = "train") -> ModuleType:
    """Import the optional package `name`.

    Args:
      name: dotted module name, such as "soundfile".
      extra: the extra of fastddsp that installs it.

    Returns:
      The module.

    Raises:
      ImportError: it is not installed; the message says how to install it.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(f'{name} cannot be imported ({error}): pip install "fastddsp[{extra}]"') from error
