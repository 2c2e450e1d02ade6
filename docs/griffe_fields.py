"""Show the fields of a pydantic model as the parameters of its constructor.

Both adapters' classes take `**settings` and bring them to their fields, so that their
signatures say little. For the reference, Griffe is told the fields' types and defaults.
"""

from __future__ import annotations

from typing import Any

import griffe


class Fields(griffe.Extension):
    """Puts fields in the place of `**settings`."""

    def on_class(self, *, cls: griffe.Class, **_: Any) -> None:
        """Rewrite a constructor that takes `**settings`."""
        init = cls.members.get("__init__")
        if not isinstance(init, griffe.Function) or "settings" not in init.parameters:
            return
        own = [each for each in init.parameters if each.name != "settings"]
        for name, member in cls.members.items():
            if name in init.parameters or not isinstance(member, griffe.Attribute):
                continue
            if _is_field(name, member):
                own.append(_parameter(name, member))
        init.parameters = griffe.Parameters(*own)


def _is_field(name: str, member: griffe.Attribute) -> bool:
    return (
        not name.startswith("_")
        and name != "model_config"
        and member.annotation is not None
        and "class-attribute" in member.labels
    )


def _parameter(name: str, member: griffe.Attribute) -> griffe.Parameter:
    return griffe.Parameter(
        name,
        annotation=member.annotation,
        kind=griffe.ParameterKind.keyword_only,
        default=_default(member.value),
    )


def _default(value: Any) -> Any:
    """Take the default out of `Field(...)`; None is one that is looked up."""
    if not isinstance(value, griffe.ExprCall):
        return value
    given = {
        argument.name: argument.value
        for argument in value.arguments
        if isinstance(argument, griffe.ExprKeyword)
    }
    if str(given.get("default_factory")) == "dict":
        return "{}"
    return given.get("default", "None")
