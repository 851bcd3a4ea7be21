"""What the server adds to a warm answer, and what many clients at once get: `make bench-server`. Prints one table.

`--double` takes a double of the engine instead of the model that ships: a try of the program, no figure.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "Unit"))
from ctreasoner.events import Options
from ctreasoner.reasoner import Reasoner
from ctreasoner.remote import Client
from fake_engine import phantom_volume
from server_doubles import Patient
from serving import Served, resident_mb, served

QUESTION = "segment the heart"


def seconds(reasoner: Reasoner, volume, conversation: str) -> float:
    began = time.perf_counter()
    reasoner.ask(volume, QUESTION, conversation=conversation, options=Options())
    return time.perf_counter() - began


def added(local: Reasoner, server: Served, volume, times: int) -> None:
    """Local and remote in turn, so that a busy moment meets both; each answer in a conversation of its own."""
    client, pairs = Client(server.url), []
    for n in range(times + 1):
        pairs.append((seconds(local, volume, f"l{n}"), seconds(client, volume, f"r{n}")))
    here, there = (statistics.median(p[side] for p in pairs[1:]) for side in (0, 1))
    print(f"warm answer, median of {times}: local {here * 1000:.0f} ms, over the server {there * 1000:.0f} ms, "
          f"added {(there - here) * 1000:.0f} ms ({(there / here - 1) * 100:.1f} %)")


def crowd(server: Served, volumes: list, clients: int, questions: int) -> None:
    """Every answer must be about the asker's own CT; memory after a quarter of the questions and at the end."""
    for volume in volumes:
        Client(server.url).register(volume)
    alone = seconds(Client(server.url), volumes[0], "alone")
    took, wrong, memory, lock = [], [], [], threading.Lock()
    left = iter(range(questions))

    def work(number: int) -> None:
        client = Client(server.url)
        while (n := next_of(left, lock)) is not None:
            volume = volumes[n % len(volumes)]
            began = time.perf_counter()
            try:
                answer = client.ask(volume, QUESTION, conversation=f"c{number}-{n}")
                if answer.state != "done" or answer.volume["identity"] != volume.identity:
                    wrong.append(answer.volume)
            except Exception as error:
                wrong.append(str(error))
            with lock:
                took.append(time.perf_counter() - began)
                if len(took) in (questions // 4, questions):
                    memory.append(resident_mb(server.process.pid))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    p95 = sorted(took)[int(len(took) * 0.95)]
    print(f"{clients} clients, {questions} questions: {len(wrong)} wrong or failed {wrong[:3]}, p95 {p95:.2f} s = "
          f"{p95 / alone:.1f} times the single answer, server's memory {memory[0]:.0f} MB after a quarter, "
          f"{memory[-1]:.0f} MB at the end")


def next_of(numbers, lock) -> int | None:
    with lock:
        return next(numbers, None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--double", action="store_true")
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--questions", type=int, default=200)
    options = parser.parse_args()
    limits = {"user_open": options.clients + 1, "open": options.clients + 1}
    if options.double:
        local, worker, volumes = Reasoner(Patient()), {}, [phantom_volume(), phantom_volume((34, 30, 20))]
    else:
        from tiny_model import scan

        local, worker = Reasoner.from_pretrained("compact"), {"worker": ["--model", "compact"]}
        volumes = [scan((128, 128, 96), 2.5, seed) for seed in range(4)]
    with tempfile.TemporaryDirectory() as data, served(Path(data), limits=limits, **worker) as server:
        added(local, server, volumes[0], options.times)
        crowd(server, volumes, options.clients, options.questions)


if __name__ == "__main__":
    main()
