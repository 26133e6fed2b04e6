"""Traits that refuse a wrong value with a `ValueError`, as everything else here does."""

from __future__ import annotations

from typing import Any, NoReturn

import traitlets


class TraitValueError(traitlets.TraitError, ValueError):
    """A trait can't have this value; a plain `traitlets.TraitError` is no `ValueError`."""


class _Refusing(traitlets.TraitType):  # type: ignore[type-arg]
    """Mixed into a trait, it turns the trait's own refusal into a `TraitValueError`."""

    def error(self, *arguments: Any, **options: Any) -> NoReturn:
        try:
            super().error(*arguments, **options)
        except traitlets.TraitError as error:
            raise TraitValueError(str(error)) from None


class Int(_Refusing, traitlets.Int):  # type: ignore[type-arg]
    """A whole number."""


class Float(_Refusing, traitlets.Float):  # type: ignore[type-arg]
    """A number."""


class Enum(_Refusing, traitlets.Enum):  # type: ignore[type-arg]
    """One of several values."""
