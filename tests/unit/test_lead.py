"""One thread waits for requests, and never none."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from waiting import wait_until

from app.infra import lead as module
from app.infra.lead import Lead


@pytest.fixture
def lead(monkeypatch: pytest.MonkeyPatch) -> Lead:
    monkeypatch.setattr(module, "_LONGEST_S", 30.0)
    return Lead()


@contextmanager
def running(*tasks: Callable[[], None]) -> Iterator[list[threading.Thread]]:
    threads = [threading.Thread(target=task, daemon=True) for task in tasks]
    for thread in threads:
        thread.start()
    yield threads
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def test_who_leads_waits_for_nobody(lead: Lead) -> None:
    for _ in range(3):
        lead.follow()


def test_others_follow_until_the_leader_hands_over(lead: Lead, monkeypatch: pytest.MonkeyPatch) -> None:
    lead.follow()
    with running(lead.follow, lead.follow) as threads:
        wait_until(lambda: len(lead._followers) == 2)
        lead.hand_over()
        wait_until(lambda: sum(thread.is_alive() for thread in threads) == 1)
        # Only who leads hands over; and that one has ended without a word.
        lead.hand_over()
        time.sleep(0.1)
        assert sum(thread.is_alive() for thread in threads) == 1
        monkeypatch.setattr(module, "_LONGEST_S", 0.0)
        lead.follow()
        lead.hand_over()


def test_whom_it_was_handed_to_leads(lead: Lead) -> None:
    led = []

    def follow() -> None:
        lead.follow()
        led.append(threading.get_ident() == lead._leader)

    lead.follow()
    with running(follow):
        wait_until(lambda: len(lead._followers) == 1)
        lead.hand_over()
    assert led == [True]


def test_who_leads_leads_on_while_what_it_waits_for_comes_soon(lead: Lead) -> None:
    lead.follow()
    asked: list[int] = []

    def wait(*, comes: bool) -> bool:
        lead.wait(lambda ms: asked.append(ms) or comes)  # type: ignore[func-returns-value]
        led = threading.get_ident() == lead._leader
        lead.follow()
        return led

    assert [wait(comes=True) for _ in range(3)] == [True] * 3
    assert asked == [module._SOON_MS] * 3
    # What was late once is not waited for again, for a while.
    assert not wait(comes=False)
    assert not any(wait(comes=True) for _ in range(module._AWAY))
    assert len(asked) == 4
    assert wait(comes=True)


def test_who_does_not_lead_waits_as_long_as_it_takes(lead: Lead) -> None:
    lead.wait(lambda _: pytest.fail("it leads nobody"))


def test_where_nobody_follows_the_first_who_is_done_leads(lead: Lead) -> None:
    lead.follow()
    lead.hand_over()
    with running(lead.follow):
        pass


def test_a_leader_who_is_not_seen_any_more_is_followed_by_nobody(lead: Lead, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(lead.follow):
        pass
    monkeypatch.setattr(module, "_LONGEST_S", 0.2)
    time.sleep(0.3)
    lead.follow()
    assert lead._leader == threading.get_ident()


def test_nobody_follows_for_ever(lead: Lead, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LONGEST_S", 0.2)
    lead.follow()
    with running(lead.follow):
        pass
    assert lead._followers == []


def test_of_many_who_come_and_go_one_leads_and_none_is_forgotten(lead: Lead) -> None:
    """Each of 16 threads answers 200 requests, of which one in three takes long."""

    def work(number: int) -> Callable[[], None]:
        def answer() -> None:
            for request in range(200):
                if (request + number) % 3 == 0:
                    lead.hand_over()
                    time.sleep(0)
                lead.follow()
            # As a thread that ends for good would not: here nobody else comes.
            lead.hand_over()

        return answer

    with running(*[work(number) for number in range(16)]):
        pass
    assert lead._followers == []
