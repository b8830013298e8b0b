import pytest

from fastddsp.training.extras import needs_extra


def test_a_missing_package_is_answered_with_how_to_install_it():
    with (
        pytest.raises(ImportError, match=r'No module named \'no_such_package\': pip install "fastddsp\[train\]"'),
        needs_extra(),
    ):
        import no_such_package  # noqa: F401
