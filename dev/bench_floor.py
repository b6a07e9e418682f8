"""The floor: the same requests by `requests` with the same settings, without Odoo and without a database."""

import json
import sys
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import requests
from requests.adapters import HTTPAdapter

TIMEOUT = 10


def send(login, deposit, first, number, connections, at):
    """Order ``number`` payments over so many kept connections; gives the begin and the end.

    :param at: the moment of the monotonic clock to begin at.
    """
    session = requests.Session()
    session.trust_env = False
    session.headers["Accept-Encoding"] = "identity"
    session.mount("http://", HTTPAdapter(pool_connections=1, pool_maxsize=connections, max_retries=0))
    form = {"email": "agent@example.org", "password": "sandbox-secret"}
    token = session.post(login, data=form, timeout=TIMEOUT).json()["token"]
    payees = deque(f"2547{first + number:08d}" for number in range(number))
    time.sleep(max(0, at - time.monotonic()))
    begin, cpu = time.monotonic(), time.process_time()
    with ThreadPoolExecutor(connections) as pool:
        for thread in [pool.submit(_order_all, session, deposit, token, payees) for _ in range(connections)]:
            thread.result()
    return {"payments": number, "begin": begin, "end": time.monotonic(), "cpu": time.process_time() - cpu}


def _order_all(session, deposit, token, payees):
    while True:
        try:
            payee = payees.popleft()
        except IndexError:
            return
        reference = str(uuid4())
        reply = session.post(
            deposit,
            data={"amount": "100", "accountNo": payee, "customerType": "subscriber", "reference": reference},
            headers={"Authorization": f"Bearer {token}", "Idempotency-Key": reference},
            timeout=(TIMEOUT, TIMEOUT),
            allow_redirects=False,
        )
        if reply.json()["status"] != "success":
            raise SystemExit(f"The gateway says: {reply.text}")


def main():
    """Take orders as lines of JSON until standard input ends."""
    sys.stdout.write('{"ready": true}\n')
    sys.stdout.flush()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(send(**json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
