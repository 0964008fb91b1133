"""What the records of people have in common: they are not changed, and say who wrote."""

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


Role = Literal["owner", "guest"]
"""The owner invites and publishes; a guest was invited."""

State = Literal["waiting", "published", "withdrawn"]
"""A comment waits until the owner publishes it, or it is withdrawn, which is final. Notes wait for nobody."""


class Person(Record):
    """Who wrote. Whoever was invited cannot change the name and affiliation that stand with what they write; a mere
    name, with which notes are signed, is proved by nothing."""

    id: str
    """That of their invitation; empty for a mere name."""
    name: str
    affiliation: str
    role: Role | Literal["name"]

    @classmethod
    def named(cls, name: str) -> "Person":
        """Whoever wrote in this name."""
        return cls(id="", name=name, affiliation="", role="name")
