"""What is said of settings that do not fit."""

import pytest

from app.settings import SettingsError, load_settings


def complaint(**values: object) -> str:
    """The one line about settings that do not fit, given these and the environment."""
    with pytest.raises(SettingsError) as error:
        load_settings(**values)
    line = str(error.value)
    assert line
    assert "\n" not in line
    return line
