"""Whether the registry answers now: it is asked, and given little time. A question that is not answered yet is not asked again."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from artfs.errors import ArtfsError
from artfs.model.secrets import redact_text
from artfs.registry.fallback import Fallback

if TYPE_CHECKING:
    from artfs.model.entry import JsonValue
    from artfs.registry.port import Registry

log = logging.getLogger(__name__)

DEADLINE = 2.0
"""Seconds that a registry has to answer."""


class Reach:
    """Asks one registry. Runs on the event loop; questions are put by tasks of ``nursery``."""

    def __init__(self, registry: Registry, nursery: trio.Nursery) -> None:
        self._registry = registry
        self._nursery = nursery
        self._limiter = trio.CapacityLimiter(1)
        self._question: _Question | None = None

    async def ask(self) -> dict[str, JsonValue]:
        """Return whether the registry answers, in how many seconds, and in words why not. Takes `DEADLINE` at most."""
        question = self._question
        if question is None:
            question = self._question = _Question()
            self._nursery.start_soon(self._put, question)
        with trio.move_on_at(max(question.began + DEADLINE, trio.current_time())):
            await question.done.wait()
        if question.answer is None:
            return _answer(ok=False, reason=f"it has not answered for {trio.current_time() - question.began:.0f} s")
        return question.answer

    async def _put(self, question: _Question) -> None:
        try:
            await trio.to_thread.run_sync(self._check, abandon_on_cancel=True, limiter=self._limiter)
            question.answer = _answer(ok=True, seconds=trio.current_time() - question.began)
        except ArtfsError as error:
            question.answer = _answer(ok=False, reason=redact_text(str(error)))
        except Exception as error:  # a mistake of the program must not end the mount
            log.exception("the registry cannot be asked whether it answers")
            question.answer = _answer(ok=False, reason=f"unexpected error: {error!r}")
        finally:
            self._question = None
            question.done.set()

    def _check(self) -> None:
        if isinstance(self._registry, Fallback):
            self._registry.check()
        else:
            self._registry.entities()


class _Question:
    """One question to the registry. ``answer`` is None until it has ended."""

    def __init__(self) -> None:
        self.began = trio.current_time()
        self.done = trio.Event()
        self.answer: dict[str, JsonValue] | None = None


def _answer(*, ok: bool, seconds: float | None = None, reason: str = "") -> dict[str, JsonValue]:
    return {"answers": ok, "seconds": None if seconds is None else round(seconds, 4), "reason": reason}
