"""The end of a program: nothing holds it up, whatever is still under way."""

from __future__ import annotations

import subprocess
import sys
import time
from textwrap import dedent

from mtiprompt.testing import ChatServer

ASK = """
    import atexit, socket, sys, threading, time
    import mtiprompt as mti

    def ask(**options):
        options = {"cache": False, "retries": 0} | options
        model = mti.Model("direct/any", api_base=sys.argv[1], **options)
        try:
            return model.complete(mti.Request((mti.Message("user", "Hello"),))).text
        except mti.ModelError as error:
            return f"{type(error).__name__}: {error}"
"""


def run(program: str, address: str = "http://127.0.0.1:9/v1") -> tuple[list[str], float]:
    """What a program prints, and the seconds from the end of its code until it has ended."""
    code = f"{dedent(program)}\nprint(time.time(), flush=True)"
    done = subprocess.run(
        [sys.executable, "-c", code, address], capture_output=True, text=True, timeout=30
    )
    ended = time.time()
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    stamp = next(line for line in lines if line[0].isdecimal())
    return [line for line in lines if line is not stamp], ended - float(stamp)


def test_a_direct_call_does_not_hold_up_the_end() -> None:
    """The connections are closed while the loop still turns, so nobody waits for it in vain."""
    with ChatServer(lambda _: "yes") as server:
        lines, seconds = run(f"{dedent(ASK)}\nprint(ask())", server.base_url)
    assert lines == ["yes"]
    assert seconds < 0.9


def test_a_slow_name_server_does_not_hold_up_the_end() -> None:
    """A name that is still looked up when the program ends is given up."""
    slow = """
        socket.getaddrinfo = lambda *args, **options: time.sleep(15)
        with mti.using(allow_requests=True):
            print(ask(timeout=0.2)[:12])
    """
    lines, seconds = run(dedent(ASK) + dedent(slow), "http://slow.invalid:8000/v1")
    assert lines == ["ModelTimeout"]
    assert seconds < 5


def test_a_function_for_the_end_can_ask() -> None:
    """One registered after the first call gets its reply; one from before is told at once."""
    early = "import atexit\natexit.register(lambda: print(ask(timeout=20)))\n"
    late = "\nprint(ask())\natexit.register(lambda: print(ask()))"
    with ChatServer(lambda _: "yes") as server:
        (*first, last), seconds = run(early + dedent(ASK) + late, server.base_url)
    assert first == ["yes", "yes"]
    assert last.startswith("ModelUnavailable: the program is ending")
    assert seconds < 10


def test_a_worker_that_imports_does_not_hold_up_the_end() -> None:
    """A call left by its time-out, which still imports, leaves destructors the import lock."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            dedent("""
                import _imp, sys, time
                from mtiprompt.models.deadline import run_within

                class Late:
                    def __del__(self):
                        try:
                            import colorsys
                        except ImportError:
                            pass

                def work():
                    while True:
                        _imp.acquire_lock()
                        time.sleep(0.1)
                        _imp.release_lock()

                sys.modules["late"] = Late()  # so that it goes when the interpreter does
                try:
                    run_within(work, 0.15)
                except TimeoutError:
                    print("late")
            """),
        ],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("late\n", "")
