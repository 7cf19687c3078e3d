"""Profiles: what is kept of a user, as JSON that the user can read, take along and have deleted."""

from __future__ import annotations

import dataclasses
import json
import os
import urllib.parse
from typing import Any

from tfalign.data import PreferenceRecord
from tfalign.files import as_path, write_json_atomically

_LONGEST = 230  # characters of a file's name, to which others are added
_CHOICE = ("prompt", "chosen", "rejected")


@dataclasses.dataclass(frozen=True)
class Profile:
    """All that is kept of a user.

    Attributes:
        user: str.
        about: sentences the user said of themselves or agreed to, for the policy's prompt.
        choices: PreferenceRecords, from which the vector is fitted; it is never kept by itself.

    >>> profile = Profile("mia", ("Likes short answers.",)).choose("Hi.", "Hi!", "Good morning to you!")
    >>> Profile.of_json(profile.to_json()) == profile
    True
    """

    user: str
    about: tuple[str, ...] = ()
    choices: tuple[PreferenceRecord, ...] = ()

    def choose(self, prompt: str, chosen: str, rejected: str) -> Profile:
        """The profile with one more choice."""
        choice = PreferenceRecord(prompt, chosen, rejected, user=self.user)
        return dataclasses.replace(self, choices=(*self.choices, choice))

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON."""
        choices = [{name: getattr(choice, name) for name in _CHOICE} for choice in self.choices]
        return {"user": self.user, "about": list(self.about), "choices": choices}

    @classmethod
    def of_json(cls, value: dict[str, Any]) -> Profile:
        """What ``to_json`` gave.

        Raises:
            ValueError: if it is no profile.
        """
        try:
            user, about = value["user"], tuple(value["about"])
            choices = [
                PreferenceRecord(*(choice[name] for name in _CHOICE), user=user)
                for choice in value["choices"]
            ]
        except (TypeError, KeyError) as error:
            raise ValueError(
                f"A profile has user, about and choices of {', '.join(_CHOICE)}. Received: {value!r:.80}"
            ) from error
        return cls(user, about, tuple(choices))


class ProfileStore:
    """Profiles in a directory, a file each.

    Args:
        directory: made where absent.

    >>> import tempfile
    >>> store = ProfileStore(tempfile.mkdtemp())
    >>> store.put(Profile("mia", ("Likes short answers.",)))
    >>> "mia" in store, "ben" in store
    (True, False)
    >>> store.users(), "short" in store.export("mia")
    (['mia'], True)
    >>> store.delete("mia"), store.users(), store.get("mia").about
    (True, [], ())
    """

    def __init__(self, directory: str | os.PathLike) -> None:
        self._directory = as_path(directory)
        self._directory.mkdir(parents=True, exist_ok=True)

    def __contains__(self, user: str) -> bool:
        """Whether anything is kept of a user."""
        return self._file(user).exists()

    def users(self) -> list[str]:
        """Names of the users there are."""
        names = (file.name.removesuffix(".json") for file in self._directory.glob("*.json"))
        return sorted(map(urllib.parse.unquote, names))

    def get(self, user: str) -> Profile:
        """A user's profile, an empty one of a user who has none.

        Raises:
            ValueError: if the file is no profile of the user's, naming it.
        """
        file = self._file(user)
        if not file.exists():
            return Profile(user)
        try:
            profile = Profile.of_json(json.loads(file.read_text(encoding="utf-8")))
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error
        if profile.user != user:
            raise ValueError(f"{file} is of another user. Received: user={profile.user!r}")
        return profile

    def put(self, profile: Profile) -> None:
        """Writes a profile, atomically."""
        write_json_atomically(self._file(profile.user), profile.to_json())

    def export(self, user: str) -> str:
        """All that is kept of a user, as JSON text to read."""
        return json.dumps(self.get(user).to_json(), ensure_ascii=False, indent=2)

    def delete(self, user: str) -> bool:
        """Deletes all that is kept of a user; whether there was anything."""
        file = self._file(user)
        was_there = file.exists()
        file.unlink(missing_ok=True)
        return was_there

    def _file(self, user):
        name = urllib.parse.quote(user, safe="")
        if not user or len(user) > 80 or len(name) > _LONGEST:
            raise ValueError(
                f"A user's name has 1 to 80 characters, at most {_LONGEST} as a URL spells them. "
                f"Received: user={user!r:.90}"
            )
        return self._directory / f"{name}.json"
