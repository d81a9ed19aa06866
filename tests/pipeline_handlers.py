"""A handler of custodian that jobs import by its name."""

from __future__ import annotations

from pathlib import Path

from custodian.custodian import ErrorHandler


class NotingHandler(ErrorHandler):
    """Notes the folders that custodian asks it about."""

    def __init__(self, noted: str) -> None:
        self.noted = noted

    def check(self, directory: str = "./") -> bool:
        with Path(self.noted).open("a") as stream:
            stream.write(f"{Path(directory).resolve()}\n")
        return False

    def correct(self, directory: str = "./") -> dict:
        raise AssertionError(f"nothing is wrong in {directory}")
