"""Every day's trouble, in real time: a lost answer in a hundred, and a server that dies once a minute.

Run by ``dev/chaos --calm``. No clock is moved: leases, the scheduled job and its intervals are as they are.
"""

import statistics
import time

try:
    from .harness import Lab, wait_until
except ImportError:
    from harness import Lab, wait_until

# Seconds from death to death, while there is something to send, and until the server is started again.
BETWEEN_DEATHS = 60
DOWN = 2
# Of the gateway, in milliseconds: such that sending takes minutes, and afterwards.
LATENCY, LATENCY_LATER = 500, 20
BATCH = 100
# How long doubts may take: the last grace time, then another query, and a job that comes every five minutes.
PATIENCE = 3600
LOST_ANSWERS = 0.01

# From the first order to the end, of those that were ever in doubt or were left by a sender that died.
TIMES = """
    SELECT extract(epoch FROM max(moved) FILTER (WHERE new IN ('paid', 'refused')) - min(moved))::float
        AS seconds
      FROM lab_moves GROUP BY payment_id HAVING bool_or(new = 'doubt')
"""
BY_HAND = "SELECT count(DISTINCT payment_id) AS n FROM g2p_payment_mpesa_attempt WHERE kind = 'decision'"


def walk_calmly(payments, seed, tell):
    """Pay so many people; gives a list of what is wrong with the books at the end."""
    with Lab("--settle", "1") as lab:
        server = lab.server(options=("--max-cron-threads", "1"), jobs=2)
        cycle = set_out(lab, server, payments, seed)
        tell(f"{payments} payments are ready; the server dies every {BETWEEN_DEATHS} s while they are sent")
        begin = time.monotonic()
        server.send(cycle)
        deaths = die_while_sending(lab, server, cycle)
        lab.gateway.settings(latency_ms=LATENCY_LATER)
        tell(f"sent after {minutes(time.monotonic() - begin)}, {deaths} deaths: {counts(lab, cycle)}")
        wait_until(lambda: is_at_rest(lab, cycle), "all payments end", PATIENCE)
        tell(f"at rest after {minutes(time.monotonic() - begin)}: {counts(lab, cycle)}")
        tell(outcome(lab, cycle))
        return lab.problems(cycle, again=True)


def set_out(lab, server, payments, seed):
    lab.set_profile(full=True)
    lab.set_manager(api_timeout=10)
    lab.execute("UPDATE g2p_payment_batch_tag SET max_batch_size = %s", [BATCH])
    lab.gateway.settings(latency_ms=LATENCY, seed=seed)
    for kind in ("drop-taken", "drop-not-taken"):
        lab.gateway.fault("*", kind, probability=LOST_ANSWERS / 2)
    lab.more_people(server, payments)
    cycle = lab.cycle(server, payments)
    server.prepare(cycle)
    wait_until(lambda: lab.states(cycle).get("ready") == payments, "all are prepared", PATIENCE)
    lab.gateway.reset()
    return cycle


def die_while_sending(lab, server, cycle):
    """Kill the server once a minute until nothing is left to be sent; gives how often."""
    deaths, next_death = 0, time.monotonic() + BETWEEN_DEATHS
    while lab.states(cycle).get("ready"):
        time.sleep(1)
        if time.monotonic() >= next_death:
            server.kill()
            deaths += 1
            time.sleep(DOWN)
            server.restart()
            next_death += BETWEEN_DEATHS
    return deaths


def is_at_rest(lab, cycle):
    time.sleep(2)
    return not {"ready", "sending", "accepted", "doubt"} & set(lab.states(cycle))


def outcome(lab, cycle):
    """The share that ended without a person, and how long doubts took."""
    states = lab.states(cycle)
    ended = states.get("paid", 0) + states.get("refused", 0) - lab.execute(BY_HAND)[0]["n"]
    times = [row["seconds"] for row in lab.execute(TIMES)]
    known = [seconds for seconds in times if seconds is not None]
    lines = [f"{100 * ended / sum(states.values()):.3f} % ended without a person"]
    if known:
        lines.append(
            f"{len(times)} were in doubt and {len(known)} of them ended; from order to end, half of them took"
            f" up to {minutes(statistics.median(known))}, the longest {minutes(max(known))}"
        )
    return "\n".join(lines)


def counts(lab, cycle):
    return ", ".join(f"{state} {count}" for state, count in lab.states(cycle).items())


def minutes(seconds):
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d} min"
