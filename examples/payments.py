#!/usr/bin/env python3
"""A payment service in Python on outseal's SQL functions: one charge a key, whatever dies when.

    payments.py LEDGER KEY AMOUNT [die-before-call | die-after-call]

The database is the one of libpq's environment (PGHOST, PGDATABASE, ...). LEDGER is a file that
plays the provider: it charges each of its own idempotency keys once, and knows them for 24 hours.

A service in C++ may take part: the records are the same (see outseal/effects.h).
"""
import hashlib
import json
import os
import sys

import psycopg2
import psycopg2.extras

OWNER = f"{os.uname().nodename}/{os.getpid()}"
LEASE = os.environ.get("PAYMENTS_LEASE", "1 minute")

# What the provider promises. `policies` is what to do, in this order, about a charge of which
# nobody knows how it ended.
PROVIDER = {
    "provider": "ledger",
    "policies": ["rerun", "ask", "hand_over"],
    "replays": "any",
    "rerun_window": "24 hours",
    "margin": "5 minutes",
}


class Provider:
    """Stands for an HTTP client. Its calls must end within `call_for`."""

    def __init__(self, path):
        self.path = path

    def _charges(self):
        if not os.path.exists(self.path):
            return {}
        with open(self.path, encoding="utf-8") as lines:
            return {charge["key"]: charge for charge in map(json.loads, lines)}

    def charge(self, key, amount):
        charges = self._charges()
        if key not in charges:
            charges[key] = {"key": key, "id": f"ch_{len(charges) + 1}", "amount": amount}
            with open(self.path, "a", encoding="utf-8") as ledger:
                ledger.write(json.dumps(charges[key]) + "\n")
        return charges[key]

    def find(self, key):
        try:
            done = self._charges().get(key)
        except OSError:
            return None, "cannot_tell"
        return done, "applied" if done else "not_found_yet"


def function(cursor, name, /, **arguments):
    """Calls a function of outseal by the names of its parameters. Returns its row."""
    given = ", ".join(f"{parameter} => %({parameter})s" for parameter in arguments)
    cursor.execute(f"SELECT * FROM outseal.{name}({given})", arguments)
    return cursor.fetchone()


def charge(connection, provider, held, amount, death):
    """Makes sure of the charge. Returns what is recorded, or None if it is not settled yet."""
    tried = []
    while True:
        # The block commits: the intent is durable before anything happens outside.
        with connection, connection.cursor() as cursor:
            todo = function(cursor, "begin_effect", operation=held["operation"],
                            fence=held["fence"], owner=OWNER, name="charge",
                            request_hash=hashlib.sha256(f"amount={amount}".encode()).digest(),
                            amount_minor=amount, currency="EUR", lease=LEASE, tried=tried,
                            lease_margin="0", **PROVIDER)
        step = todo["step"]
        if step == "recorded":
            return todo
        if step in ("wait", "handed_over"):
            return None
        key = todo["provider_key"]
        if death == "die-before-call":
            os._exit(9)
        if step in ("call", "rerun"):
            done, answer = provider.charge(key, amount), "applied"
        else:
            done, answer = provider.find(key)
        if death == "die-after-call":
            os._exit(9)
        with connection, connection.cursor() as cursor:
            known = function(cursor, "answer_effect", operation=held["operation"],
                             fence=held["fence"], name="charge", step=step, answer=answer,
                             reference=done and done["id"], amount_minor=done and done["amount"],
                             currency=done and "EUR", asked_at=todo["decided_at"])
        if known["state"] == "intended" and known["retry_after"]:
            return None
        if answer == "cannot_tell":
            tried.append(step)


def pay(connection, provider, key, amount, death=None):
    """Returns an HTTP status and a body."""
    with connection, connection.cursor() as cursor:
        held = function(cursor, "begin_operation", scope="payments", principal="shop", key=key,
                        fingerprint=hashlib.sha256(f"amount={amount}".encode()).digest(),
                        owner=OWNER, lease=LEASE)
    if held["answer"] not in ("begun", "resumed"):
        if held["answer"] == "replayed":
            return held["status"], bytes(held["body"]).decode()
        return {"mismatch": 422, "expired": 410}.get(held["answer"], 409), held["answer"]

    charged = charge(connection, provider, held, amount, death)
    if charged is None:
        return 409, "in_progress"
    # Business rows, events and the reply: one transaction, by the fence.
    body = json.dumps({"charge": charged["reference"]})
    with connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO payment (key, amount) VALUES (%s, %s)", (key, amount))
        cursor.execute("SELECT outseal.append('payments', %s, 'paid', %s)", (key, body))
        function(cursor, "finish_operation", operation=held["operation"], fence=held["fence"],
                 state="succeeded", status=201, body=body.encode())
    return 201, body


def main():
    ledger, key, amount = sys.argv[1], sys.argv[2], int(sys.argv[3])
    death = sys.argv[4] if len(sys.argv) > 4 else None
    connection = psycopg2.connect("", cursor_factory=psycopg2.extras.RealDictCursor)
    status, body = pay(connection, Provider(ledger), key, amount, death)
    print(status, body)


if __name__ == "__main__":
    main()
