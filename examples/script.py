"""A script like any other, for `trio-gateway run examples/script.py`: it runs on a gateway's kernel, its output appears here."""

from __future__ import annotations

import sys


def primes(limit: int) -> list[int]:
    """Return the prime numbers below `limit`."""
    found: list[int] = []
    for number in range(2, limit):
        if all(number % prime for prime in found):
            found.append(number)
    return found


def main() -> None:
    """Print a little on each stream."""
    print("Primes below 50:", *primes(50))
    print("A line on stderr", file=sys.stderr)
    print("done")


if __name__ == "__main__":
    main()
