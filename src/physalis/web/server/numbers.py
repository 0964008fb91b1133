"""numbers: the numbers of features in an address: ``/features/{id:number}``. Importing it makes them known there."""

from starlette.convertors import Convertor, register_url_convertor

DIGITS = 10
"""More than any feature's number has. A longer one is the address of nothing, and is not worked out."""
NUMBER = "number"


class Number(Convertor[int]):
    """A number of up to DIGITS digits."""

    regex = f"[0-9]{{1,{DIGITS}}}"

    def convert(self, value: str) -> int:
        return int(value)

    def to_string(self, value: int) -> str:
        return str(value)


register_url_convertor(NUMBER, Number())
