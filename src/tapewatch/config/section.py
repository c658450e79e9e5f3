"""What every section of a configuration is."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A mapping of known keys; anything else is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    #: Keys that hold a secret: each may be given as `<key>_file` instead, and never literally in a file.
    secrets: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def keys(cls) -> list[str]:
        """Every key that may be written in this section."""
        written = [field.alias or name for name, field in cls.model_fields.items()]
        return [*written, *(f"{name}_file" for name in cls.secrets)]
