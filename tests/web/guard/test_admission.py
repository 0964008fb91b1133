"""Admission: who asks for little is served beside who asks for much, however that is spread."""

import asyncio
from collections import Counter

import pytest

from physalis.web.guard import admission
from physalis.web.guard.admission import Admission, held, leave_early


class Clock:
    """Time that passes only when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def settle() -> None:
    """Let everything happen that can."""
    for _ in range(20):
        await asyncio.sleep(0)


class Server:
    """Requests on a clock of their own: each takes a place for some seconds of work, shared by all that are inside."""

    def __init__(self, **options) -> None:
        self.clock = Clock()
        self.places = Admission(clock=self.clock, **options)
        self.inside: list[tuple[str, float, asyncio.Event]] = []
        self.done: list[tuple[str, float]] = []
        self.refused: Counter[str] = Counter()
        self.tasks: list[asyncio.Task] = []

    def ask(self, name: str, seconds: float) -> asyncio.Task:
        async def request() -> None:
            asked = self.clock.now
            leave = await self.places.enter(name)
            if leave is None:
                self.refused[name] += 1
                return
            over = asyncio.Event()
            self.inside.append((name, seconds, over))
            try:
                await over.wait()
            finally:
                leave()
            self.done.append((name, self.clock.now - asked))

        self.tasks.append(asyncio.get_running_loop().create_task(request()))
        return self.tasks[-1]

    async def run(self, seconds: float, step: float = 0.001) -> None:
        """Pass time."""
        for _ in range(round(seconds / step)):
            await settle()
            self.clock.now += step
            share = step / max(len(self.inside), 1)
            left = [(name, need - share, over) for name, need, over in self.inside]
            for _, need, over in left:
                if need <= 1e-9:
                    over.set()
            self.inside = [each for each in left if each[1] > 1e-9]
        await settle()

    def waits(self, name: str) -> list[float]:
        return [wait for who, wait in self.done if who == name]

    def count(self, name: str) -> int:
        return sum(who == name for who, _, _ in self.inside)

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


def test_so_many_at_once_and_so_many_wait():
    async def run() -> None:
        server = Server(at_once=3, waiting=5)
        for _ in range(12):
            server.ask("a", 1.0)
        await settle()
        assert (server.count("a"), server.refused["a"]) == (3, 4)
        server.ask("b", 0.5)
        await settle()
        assert server.count("b") == 0  # all places were taken before it came
        await server.run(3.1)
        assert server.count("b") == 1  # and it was the next
        await server.run(9)
        assert len(server.waits("a")) == 8 and not server.inside
        await server.close()

    asyncio.run(run())


def test_who_asks_for_little_does_not_wait_behind_who_asks_for_much():
    """A flood of quick requests: the other visitor's are next whenever a place is free."""

    async def run() -> None:
        server = Server()
        for _ in range(250):
            server.ask("flood", 0.01)
        for _ in range(20):
            server.ask("reader", 0.003)
            await server.run(0.05)
        assert len(server.waits("reader")) == 20
        assert max(server.waits("reader")) <= 0.06
        assert len(server.waits("flood")) >= 90  # what the reader left was all used
        await server.close()

    asyncio.run(run())


def test_long_requests_share_one_place_while_quick_ones_come():
    async def run() -> None:
        server = Server()
        for _ in range(50):
            server.ask("long", 0.2)
        await server.run(2)
        assert server.count("long") == admission.AT_ONCE  # nobody else is there
        waited = []
        for _ in range(300):
            server.ask("quick", 0.002)
            await server.run(0.005)
            waited.append(server.count("long"))
        assert max(waited[-100:]) == 1
        assert max(server.waits("quick")[-100:]) <= 0.03
        await server.close()

    asyncio.run(run())


def test_what_somebody_had_is_forgotten():
    async def run() -> None:
        server = Server(at_once=1)
        for _ in range(50):
            server.ask("early", 0.02)
        await server.run(1.2)
        await server.run(60, step=1.0)
        server.ask("other", 0.02)
        await server.run(0.1)
        server.ask("held", 0.02)
        await settle()
        server.ask("other", 0.02), server.ask("early", 0.02)
        await server.run(0.03)
        assert [name for name, _, _ in server.inside] == ["early"]  # a minute later it is the other who had more
        await server.close()

    asyncio.run(run())


def test_who_is_gone_takes_no_place():
    async def run() -> None:
        server = Server(at_once=1)
        first, second, third = (server.ask(name, 0.1) for name in "abc")
        await settle()
        second.cancel()
        await server.run(0.15)
        assert server.count("c") == 1
        third.cancel()
        await settle()
        assert first.done()
        server.inside.clear()
        server.ask("d", 0.1)
        await settle()
        assert server.count("d") == 1
        await server.close()

    asyncio.run(run())


def test_one_who_is_cancelled_with_a_place_just_given_hands_it_on():
    async def run() -> None:
        those = Admission(at_once=1)
        leave = await those.enter("a")
        assert leave is not None
        waiting = asyncio.ensure_future(those.enter("b"))
        await settle()
        leave()  # now it is b's
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await asyncio.wait_for(those.enter("c"), 1) is not None

    asyncio.run(run())


def test_a_place_is_left_once_however_often_and_early():
    async def run() -> None:
        those = Admission(at_once=1)
        leave = await those.enter("a")
        assert leave is not None
        leave_early(held({"type": "http"}, leave))
        second = await those.enter("b")
        leave()
        waiting = asyncio.ensure_future(those.enter("c"))
        await settle()
        assert not waiting.done()
        assert second is not None
        second()
        assert await waiting is not None

    asyncio.run(run())
    leave_early({"type": "http"})  # without a guard there are no places


def test_visitors_do_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(admission, "FORGETTING", 50)

    async def run() -> None:
        clock = Clock()
        those = Admission(clock=clock)
        for i in range(1000):
            leave = await those.enter(f"visitor {i}")
            assert leave is not None
            leave()
            clock.now += 1.0
        assert len(those) <= 60

    asyncio.run(run())
