"""The scheduler that runs the last job: no thread, no clock, every order of events spelled out."""

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipdiy_lab.views.live.scheduler import Job, LatestWins, StoppedError


class Hands:
    """An executor and a clock that do nothing until they are told to."""

    def __init__(self) -> None:
        self.started, self.timers, self.now = [], [], 0.0
        self.log: list = []
        self.scheduler = LatestWins(start=self.started.append, later=self.later)

    def later(self, seconds, run):
        entry = [self.now + seconds, run]
        self.timers.append(entry)
        return lambda: entry.__setitem__(1, None)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        due = [one for one in self.timers if one[0] <= self.now]
        self.timers = [one for one in self.timers if one[0] > self.now]
        for _, run in due:
            if run is not None:
                run()

    def run_worker(self) -> None:
        while self.started:
            self.started.pop(0)()

    def job(self, name, during=(), parts=1, asks=False) -> Job:
        def work(ticket) -> Iterator:
            for step in during:
                step()
            if asks and ticket.overtaken:
                raise StoppedError
            for part in range(parts):
                yield name, part

        return Job(work, self.log.append, lambda error: self.log.append(repr(error)),
                   lambda: self.log.append(f"{name} stopped"))  # fmt: skip


def test_of_two_hundred_submissions_while_one_runs_only_the_last_runs():
    hands = Hands()
    submit = hands.scheduler.submit
    storm = [lambda i=i: submit(hands.job(i)) for i in range(200)]
    submit(hands.job("first", during=storm))
    hands.run_worker()
    assert hands.log == [("first", 0), (199, 0)]
    assert not hands.scheduler.busy


def test_what_takes_long_can_stop_when_it_is_overtaken_and_later_parts_are_left_out():
    hands = Hands()
    submit = hands.scheduler.submit
    submit(hands.job("long", during=[lambda: submit(hands.job("new", parts=3))], asks=True))
    hands.run_worker()
    assert hands.log == ["long stopped", ("new", 0), ("new", 1), ("new", 2)]
    hands.log.clear()
    submit(hands.job("old", during=[lambda: submit(hands.job("newer"))], parts=3))
    hands.run_worker()
    assert hands.log == [("old", 0), ("newer", 0)]


def test_a_paused_job_starts_once_nothing_else_came():
    hands = Hands()
    for name in "abc":
        hands.scheduler.submit(hands.job(name), after=1.0)
        hands.pass_time(0.9)
    assert hands.started == []
    assert hands.scheduler.busy
    hands.pass_time(0.2)
    hands.run_worker()
    assert hands.log == [("c", 0)]


def test_a_paused_job_can_be_started_now_and_only_once():
    hands = Hands()
    hands.scheduler.submit(hands.job("a"), after=1.0)
    hands.scheduler.now()
    hands.pass_time(2)
    hands.run_worker()
    hands.scheduler.now()
    hands.run_worker()
    assert hands.log == [("a", 0)]


def test_cancel_forgets_what_waits_and_tells_what_runs():
    hands = Hands()
    hands.scheduler.submit(hands.job("paused"), after=1.0)
    hands.scheduler.cancel()
    hands.pass_time(2)
    assert not hands.scheduler.busy
    hands.scheduler.submit(hands.job("long", during=[hands.scheduler.cancel], asks=True))
    hands.run_worker()
    assert hands.log == ["long stopped"]
    assert not hands.scheduler.busy


def test_a_failure_is_told_and_the_next_job_runs():
    hands = Hands()
    hands.scheduler.submit(hands.job("bad", during=[lambda: 1 / 0]))
    hands.run_worker()
    hands.scheduler.submit(hands.job("good"))
    hands.run_worker()
    assert hands.log == ["ZeroDivisionError('division by zero')", ("good", 0)]


@given(st.lists(st.sampled_from(["submit", "pause", "run", "tick", "now", "cancel"]), max_size=30))
def test_results_never_go_back_and_the_last_submission_wins(steps):
    """Against a restatement: whatever was submitted last, and not cancelled since, is the last result."""
    hands = Hands()
    number, last, most_started = 0, None, 0
    for step in steps:
        if step in ("submit", "pause"):
            number += 1
            last = number
            hands.scheduler.submit(hands.job(number), after=1.0 if step == "pause" else 0.0)
        elif step == "run":
            hands.run_worker()
        elif step == "tick":
            hands.pass_time(1.0)
        elif step == "now":
            hands.scheduler.now()
        else:
            last = None
            hands.scheduler.cancel()
        most_started = max(most_started, len(hands.started))
    hands.pass_time(1.0)
    hands.run_worker()
    shown = [name for name, _ in hands.log]
    assert shown == sorted(shown)
    assert most_started <= 1
    assert not hands.scheduler.busy
    if last is not None:
        assert shown[-1] == last


def test_in_real_threads_the_last_of_many_threads_wins_and_one_runs_at_a_time():
    scheduler, running, most, shown = LatestWins(), [], [], []

    def work(name):
        def steps(_):
            running.append(name)
            most.append(len(running))
            running.remove(name)
            yield name

        return Job(steps, shown.append, shown.append, lambda: None)

    threads = [threading.Thread(target=lambda i=i: scheduler.submit(work(i))) for i in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    scheduler.submit(work("last"))
    assert scheduler.wait(20)
    assert shown[-1] == "last"
    assert max(most) == 1


@pytest.mark.parametrize("end", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), MemoryError()])
def test_whatever_ends_a_job_is_told_and_the_next_job_runs(end):
    def give_up():
        raise end

    hands = Hands()
    hands.scheduler.submit(hands.job("bad", during=[give_up]))
    hands.run_worker()
    hands.scheduler.submit(hands.job("good"))
    hands.run_worker()
    assert hands.log == [repr(end), ("good", 0)]


@pytest.mark.parametrize("end", [RuntimeError("no screen"), SystemExit(3), KeyboardInterrupt()])
def test_whoever_fails_while_told_stops_nothing(end, caplog):
    def fail(*_):
        raise end

    hands = Hands()
    bad = Job(lambda _: iter(["drawn"]), fail, fail, fail)  # drawing fails, and telling of that fails too
    hands.scheduler.submit(bad)
    hands.run_worker()
    assert not hands.scheduler.busy
    stopped = Job(hands.job("long", during=[hands.scheduler.cancel], asks=True).work, fail, fail, fail)
    hands.scheduler.submit(stopped)
    hands.run_worker()
    hands.scheduler.submit(hands.job("good"))
    hands.run_worker()
    assert hands.log == [("good", 0)]
    assert len(caplog.records) == 2  # both are in the log, with their place
    assert all(record.exc_info for record in caplog.records)


def test_a_thread_that_cannot_be_had_is_told_and_tried_again():
    refusing = [True]

    def start(run):
        if refusing[0]:
            raise RuntimeError("can't start new thread")
        run()

    hands = Hands()
    hands.scheduler.start = start
    hands.scheduler.submit(hands.job("lost"))
    assert hands.log == ['RuntimeError("can\'t start new thread")']
    assert not hands.scheduler.busy
    refusing[0] = False
    hands.scheduler.submit(hands.job("good"))
    assert hands.log[1:] == [("good", 0)]


def test_a_real_thread_survives_an_encoder_that_exits():
    scheduler, told = LatestWins(), []

    def leave(_):
        raise SystemExit(1)
        yield

    scheduler.submit(Job(leave, told.append, told.append, lambda: None))
    assert scheduler.wait(20)
    scheduler.submit(Job(lambda _: iter(["drawn"]), told.append, told.append, lambda: None))
    assert scheduler.wait(20)
    assert [repr(one) for one in told] == ["SystemExit(1)", "'drawn'"]
