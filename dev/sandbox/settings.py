"""What can be set while the gateway runs."""

import re
from dataclasses import asdict, dataclass, fields

DAY = 86_400
SAFE_INTEGER = 2**53
MSISDN_OR_EMAIL = r"[0-9]{6,20}|[^@\s,]+@[^@\s,]+\.[^@\s,]+"


class SettingError(ValueError):
    """A value that cannot be; the text says why."""


@dataclass(slots=True)
class Settings:
    """latency and jitter in milliseconds, the rest of the times in seconds."""

    latency_ms: float = 0
    jitter_ms: float = 0
    token_ttl: float = 6 * 3600
    status: bool = False
    idempotency: bool = False
    settle_seconds: float = 0
    payee_pattern: str = MSISDN_OR_EMAIL

    def update(self, values):
        """Set some of them, all or none.

        :raise SettingError: unknown, or no such value
        """
        checked = {name: self._checked(name, value) for name, value in values.items()}
        for name, value in checked.items():
            setattr(self, name, value)

    def as_dict(self):
        """All by name."""
        return asdict(self)

    @classmethod
    def _checked(cls, name, value):
        kinds = {field.name: field.type for field in fields(cls)}
        if name not in kinds:
            raise SettingError(f"there is no setting {name!r}; there are {', '.join(kinds)}")
        if kinds[name] is bool and not isinstance(value, bool):
            raise SettingError(f"{name} is true or false, not {value!r}")
        if kinds[name] is float:
            return number(name, value)
        if kinds[name] is str:
            return cls._pattern(name, value)
        return value

    @staticmethod
    def _pattern(name, value):
        try:
            re.compile(value)
        except (re.error, TypeError) as ex:
            raise SettingError(f"{name} is a regular expression, not {value!r}") from ex
        return value


def number(name, value):
    """A number from 0 to a year of milliseconds, as it came.

    :raise SettingError: it is not
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 365 * DAY * 1000:
        raise SettingError(f"{name} is a number from 0 up, not {value!r}")
    return value


def shillings(name, value):
    """A whole number from 0 up.

    :raise SettingError: it is not
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= SAFE_INTEGER:
        raise SettingError(f"{name} is a whole number of shillings from 0 up, not {value!r}")
    return value
