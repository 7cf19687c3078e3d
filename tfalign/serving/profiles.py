"""Profiles over HTTP: a request's ``user`` brings what is known of them into the prompt; they are exported and deleted."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tfalign.serving.requests import Asked, RefusedError

PATH = "/v1/profiles/{user:path}"
_MOST = 80  # characters of a user's name


class Profile(Protocol):
    """What is known of a user."""

    about: Sequence[str]


class Profiles(Protocol):
    """Where profiles are kept, such as ``applications.personalisation.ProfileStore``."""

    def __contains__(self, user: str) -> bool:
        """Whether anything is kept of a user."""

    def get(self, user: str) -> Profile:
        """A user's profile, an empty one of a user who has none."""

    def export(self, user: str) -> str:
        """All that is kept of a user, as JSON."""

    def delete(self, user: str) -> bool:
        """Deletes it; whether there was anything."""


class ProfileDesk:
    """The routes of profiles, and what they do to a prompt.

    Args:
        server: ``app.Server``.
        profiles: Profiles; None for none: a request's user then changes nothing.
    """

    def __init__(self, server: Any, profiles: Profiles | None) -> None:
        self._server = server
        self._profiles = profiles
        self.routes = [
            Route(PATH, self.export, methods=["GET"]),
            Route(PATH, self.delete, methods=["DELETE"]),
        ]

    async def __call__(self, asked: Asked) -> Asked:
        """What is asked, with the profile of who asks.

        Raises:
            RefusedError: 400 if the profile cannot be put into the prompt, 500 if it cannot be read.
        """
        if self._profiles is None or not asked.user:
            return asked
        profile = await self._kept(self._profiles.get, asked.user)
        return with_about(asked, "\n".join(profile.about)) if profile.about else asked

    async def export(self, request: Request) -> Response:
        """All that is kept of a user."""
        user = await self._there(request)
        content = await self._kept(self._profiles.export, user)
        self._server.count(request.scope, 200)
        return Response(content, media_type="application/json")

    async def delete(self, request: Request) -> Response:
        """Deletes all that the profile holds of a user."""
        user = await self._there(request)
        was_there = await self._kept(self._profiles.delete, user)
        self._server.count(request.scope, 200)
        return JSONResponse({"object": "profile.deleted", "user": user, "deleted": was_there})

    async def _there(self, request):
        """The user that a path names, who has a profile."""
        if self._profiles is None:
            raise RefusedError(
                501, "This server has no profiles: it was started without --profiles."
            )
        user = request.path_params["user"]
        if not await self._kept(self._profiles.__contains__, user):
            raise RefusedError(404, "There is no profile of this user.")
        return user

    async def _kept(self, function, user):
        if not 1 <= len(user) <= _MOST:
            raise RefusedError(
                400, f"A user's name has 1 to {_MOST} characters. Received: {len(user)}"
            )
        try:
            return await asyncio.to_thread(function, user)
        except (OSError, ValueError):  # its sentence names a file of the server's
            message = "The profile of this user cannot be read."
            raise RefusedError(500, message, "server_error") from None


def with_about(asked: Asked, about: str) -> Asked:
    """Prompts with what is known of the user: in a conversation at the end of the system message, which is made where there
    is none; in a text in front of it.

    Raises:
        RefusedError: 400 if a prompt is ids.
    """
    told = _conversation_about if asked.is_chat else _text_about
    return dataclasses.replace(asked, prompts=tuple(told(one, about) for one in asked.prompts))


def _text_about(prompt, about):
    if isinstance(prompt, str):
        return f"{about}\n{prompt}"
    message = "prompt must be a text where its user has a profile. Received: a list of token ids"
    raise RefusedError(400, message)


def _conversation_about(messages, about):
    first, *others = messages
    if first["role"] == "system":
        return {"role": "system", "content": f"{first['content']}\n{about}"}, *others
    return {"role": "system", "content": about}, *messages
