"""A third-party sender: sends entries with PyPI's fluent-logger, which asks for no acks.

    python3 client.py port entries

The entry of number n has the time 1700000000 + n and is {"n": n, "text": "..."}. Every second one
has nanoseconds.
"""

import sys

from fluent.sender import FluentSender

port, entries = int(sys.argv[1]), int(sys.argv[2])
whole = FluentSender("pypi", host="127.0.0.1", port=port)
exact = FluentSender("pypi", host="127.0.0.1", port=port, nanosecond_precision=True)
for n in range(entries):
    sender, time = (exact, 1700000000.5 + n) if n % 2 else (whole, 1700000000 + n)
    if not sender.emit_with_time("app", time, {"n": n, "text": "naïve 😀"}):
        sys.exit(f"entry {n}: {sender.last_error}")
whole.close()
exact.close()
