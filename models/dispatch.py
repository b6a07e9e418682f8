"""From ready payments to recorded outcomes: claim, send, write.

A claim is committed before the first byte of its payments leaves, no transaction is open while the gateway
is asked, and outcomes are committed as they come. Whatever is killed, in whatever moment, a payment that may
have gone out is never ready again.

Threads make the requests and nothing else; the database is only touched by the thread that dispatches.
"""

import logging
import math
import queue
import threading
import time
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial

import psycopg2

from ..gateway import clock, errors
from ..gateway.masking import RedactingFilter, mask_payee
from . import const
from .claims import Claims, Outcome
from .lease import Lease, lease_seconds
from .own_cursor import durably
from .pace import Pace
from .share import LOOK_EVERY, Share

_logger = logging.getLogger(__name__)
_logger.addFilter(RedactingFilter())

# Seconds for which a claim gives each connection something to do, and payments of it at the most.
CLAIM_SECONDS = 0.1
MOST_PER_CONNECTION = 4
# Seconds that an answer waits for others, to be recorded with them.
RECORD_SECONDS = 0.05
# So many unclear answers or refused connections in a row, and the rest waits.
PATIENCE = 3
# Why a dispatch stopped that another one may take up without a person.
PASSES = {"unreachable", "circuit"}
# Seconds of rest that a sender waits out; for more it stops. And between looks whether it is to stop.
LONGEST_PAUSE = 30
LOOK_UP = 0.2
# How often those are looked for again that were busy or locked, and seconds between.
ROUNDS = 3
PAUSE = 0.3


@dataclass
class Result:
    """What one dispatch did.

    :param Counter counts: how many payments came to each state, ``ready`` being those that were given back.
    :param str stopped: why the rest was not tried, a code of ``const.REASONS``, or "".
    :param str words: the gateway's own words for it.
    :param bool unfinished: the time was over before the payments were.
    :param float hold_seconds: for how long the gateway asks to be left alone.
    :param bool busy: others have all connections of the account, so nothing was tried.
    """

    counts: Counter = field(default_factory=Counter)
    stopped: str = ""
    words: str = ""
    unfinished: bool = False
    hold_seconds: float = 0
    busy: bool = False


class Dispatch:
    """Sends the ready payments of batches, several at a time, never two to the same payee.

    It has its share of the account's connections: others who send from it have theirs.

    :param manager: the M-Pesa payment manager, with the caller's environment.
    :param batches: whose payments; other managers' payments in them are left alone.
    :param float seconds: begin no further payment after this long; None for no limit.
    :param int most: begin no more payments than this; None for no limit.
    :param payments: only these of them; None for all.
    :param bool by_job: nobody waits, so it waits itself while the gateway is left in peace.
    :param share: the :class:`~.share.Share` that the caller has got; None to get one.
    """

    def __init__(self, manager, batches, seconds=None, most=None, by_job=False, payments=None, share=None):
        self.env = manager.env
        self.manager = manager
        self.batch_ids = batches.ids
        self.result = Result()
        # Read now: the caller's cursor may be lost while money is on its way.
        self._manager_id = manager.id
        self._confirms_later = bool(manager.status_endpoint_url)
        self._lease = Lease(manager.env, lease_seconds(manager.env))
        self._claims = Claims(manager, batches.ids, payments and payments.ids, self._lease.seconds)
        self._has_share = share is not None
        self._share = share or Share(manager, self._claims.own_cursor, self._lease.seconds)
        # Whether this round is over, so that nothing is begun any more.
        self._round_is_over = False
        self._by_job = by_job
        self._ends = clock.now() + seconds if seconds else float("inf")
        self._left = float("inf") if most is None else most
        # Of requests that are made, or wait for a thread: from future to what was claimed.
        self._in_hand = {}
        self._unwritten = []
        self._by_reference = {}
        # Rows of the journal that are not written yet.
        self._rows = deque()
        # Batches of which something was sent.
        self._touched = set()
        self._lock = threading.Lock()
        self._in_a_row = 0
        # Futures of requests that are answered, and what of them the dispatching thread has seen.
        self._answered = queue.SimpleQueue()
        self._done = []
        # How long a request takes by now; before the first, a slow gateway is supposed.
        self._seconds = 1.0
        self._is_first = True
        self._pace = Pace(manager)
        # When each payment may go out, by its id; and when any, by what the gateway asks for.
        self._turns = {}
        self._not_before = 0.0
        # What other senders are to be told of it.
        self._put_off = 0.0

    def run(self):
        """Send until nothing is ready, or something says stop.

        :return: a :class:`Result`.
        :raise psycopg2.Error: the database is gone; what was claimed and not recorded becomes doubt.
        """
        if self._by_job and self._is_left_in_peace():
            return self.result
        with self._at_work() as client:
            if self._claims.anything_ready() and self._gets_share() and self._log_in(client):
                self._send_rounds(client)
        if self.result.busy:
            return self.result
        try:
            durably(self.env, self._finish)
        except psycopg2.Error:
            # Money has moved and is recorded; whoever called must not be made to call again.
            _logger.exception("What stopped the sending could not be noted")
        return self.result

    def send_again(self, payment_ids, ends=float("inf")):
        """Send doubts again, with the reference, payee and amount that they went out with.

        Only for a gateway that honours the reference, and says that it has never seen it.

        :param float ends: the moment of the clock after which nothing more is sent.
        """
        self._ends = ends
        with self._at_work() as client:
            for payment_id in payment_ids:
                self._share.look()
                if not self._gets_share() or not self._may_go_on():
                    break
                self._send_one_again(client, payment_id)
                self._lease.keep(())
        return self.result

    def _send_one_again(self, client, payment_id):
        # Its turn comes first: from the claim on, nobody else can settle it.
        [turn] = self._claims.turns(self._pace, 1)
        self._turns[payment_id] = turn
        if turn > clock.now() + LONGEST_PAUSE:
            self._stop("circuit", "")
            return
        item = self._claims.claim_doubt(payment_id, self._lease.hold)
        if self._claims.has_moved:
            self._stop(const.MOVED, "")
        if item:
            self._by_reference[item.order.reference] = item
            self._write([self._again(self._order_alone(client, item))])

    def _order_alone(self, client, item):
        """Order one payment, and look after the share meanwhile."""
        with ThreadPoolExecutor(1, "mpesa-send-again") as pool:
            ordering = pool.submit(self._order, client, item)
            while wait([ordering], LOOK_EVERY).not_done:
                self._share.look()
            return ordering.result()

    @contextmanager
    def _at_work(self):
        """A client for the gateway, and all that is given back at the end."""
        with (
            self.manager._mpesa_client(self._note) as client,
            self._lease,
            closing(self._claims),
            # Not what is the caller's.
            nullcontext() if self._has_share else closing(self._share),
        ):
            yield client

    def _gets_share(self):
        """Whether there is a connection for us; the rest comes later otherwise."""
        self.result.busy = not self._share.acquire(in_line=not self._by_job)
        self.result.unfinished = self.result.busy
        return not self.result.busy

    def _is_left_in_peace(self):
        """After several failures in a row nobody asks the gateway for a while, but a person who clicks."""

        def look(own):
            manager = self.manager.with_env(own)
            if manager._mpesa_is_held():
                self._stop(manager.mpesa_hold_reason, "")

        durably(self.env, look)
        return bool(self.result.stopped)

    def _log_in(self, client):
        try:
            client.log_in()
        except errors.NotTaken as error:
            self._stop(error.reason, error.message)
        self._write([])
        return not self.result.stopped

    # Rounds over the batches

    def _send_rounds(self, client):
        """Pass over the batches until nothing is left that could go out, or nothing moves any more."""
        idle = 0
        while idle < ROUNDS:
            before = self.result.counts.total()
            self._send_round(client)
            if not self._may_go_on() or not self._claims.anything_ready(untried=True):
                return
            # Somebody edits the payment, or another payment to this payee is on its way.
            idle = 0 if self.result.counts.total() > before else idle + 1
            time.sleep(PAUSE)

    def _send_round(self, client):
        pool = ThreadPoolExecutor(self._share.most, "mpesa-send")
        self._round_is_over = False
        try:
            self._pass_over(pool, client)
        finally:
            self._round_is_over = True
            # Whatever happened: what waits for a thread does not go out any more, and is given back.
            waiting = [item for future, item in self._in_hand.items() if future.cancel()]
            pool.shutdown()
            try:
                self._give_back(waiting)
            finally:
                self._collect()

    def _pass_over(self, pool, client):
        """Claim and send; the next are claimed while the last are on their way."""
        self._claims.rewind()
        while self._may_begin() and (self._may_claim() or self._in_hand):
            self._share.look()
            if not self._share.size and not self._in_hand:
                # It is the turn of others.
                time.sleep(LOOK_UP)
                continue
            each = self._claim_per_connection()
            few = self._share.size * max(1, each // 2) if self._may_claim() else 0
            if not self._may_claim() or len(self._in_hand) > few:
                self._await_answers(few)
            most = 0
            if self._may_begin() and len(self._in_hand) - len(self._done) <= few:
                most = min(each * self._share.size, self._left, self._pace.most_at_once)
            self._collect(int(most), partial(self._begin, pool, client))

    def _begin(self, pool, client, claimed):
        self._left -= len(claimed)
        turns = self._claims.turns(self._pace, len(claimed))
        self._turns.update(zip((item.payment_id for item in claimed), turns, strict=True))
        if turns and turns[0] > clock.now() + LONGEST_PAUSE:
            # Another sender has been asked to leave the gateway alone.
            self._stop("circuit", "")
        for item in claimed:
            self._by_reference[item.order.reference] = item
            future = pool.submit(self._order, client, item)
            self._in_hand[future] = item
            future.add_done_callback(self._answered.put)

    def _claim_per_connection(self):
        """As many as a connection sends while the next ones are claimed: few where the gateway is slow.

        What is claimed when the process dies becomes doubt, sent or not.
        """
        return min(max(1, math.ceil(CLAIM_SECONDS / self._seconds)), MOST_PER_CONNECTION)

    def _await_answers(self, few):
        """Wait for answers, and for a moment for more of them, to be recorded together.

        :param int few: it is over once so few are left that the next are to be claimed.
        """
        ends = None
        while len(self._in_hand) - len(self._done) > few or not self._done:
            try:
                self._done.append(
                    self._answered.get(timeout=max(0, ends - clock.now()) if ends else LOOK_EVERY)
                )
            except queue.Empty:
                if ends:
                    return
                self._share.look()
                continue
            ends = ends or clock.now() + RECORD_SECONDS

    def _collect(self, most=0, begin=None):
        """Record what has been answered by now, and claim the next.

        :param int most: claim so many at the most, if there are any.
        :param begin: called with the claimed.
        """
        with suppress(queue.Empty):
            while True:
                self._done.append(self._answered.get_nowait())
        done = [future for future in self._done if future in self._in_hand and not future.cancelled()]
        self._done.clear()
        items = [self._in_hand.pop(future) for future in done]
        # What went wrong in a thread in another way than a gateway can is raised here, after the rest is
        # written; its payment becomes a doubt once the lease has run out.
        failed = [future for future in done if future.exception()]
        outcomes = [future.result() for future in done if future not in failed]
        # Kept until they are written: should the database be away for long, there is another try.
        self._unwritten += [outcome for outcome in outcomes if outcome.state]
        claimed = self._write(self._unwritten, most)
        self._unwritten = []
        if claimed:
            begin(claimed)
        self._give_back([outcome.item for outcome in outcomes if not outcome.state])
        for item in items:
            self._by_reference.pop(item.order.reference, None)
        self._keep_leases()
        for future in failed:
            future.result()

    def _give_back(self, items):
        self._claims.release(items)
        for future in [future for future, item in self._in_hand.items() if item in items]:
            del self._in_hand[future]
        self._left += len(items)
        self._keep_leases()

    def _keep_leases(self):
        self._lease.keep({item.token for item in self._in_hand.values()})

    def _may_claim(self):
        return self._left > 0 and not self._claims.at_end

    def _may_begin(self):
        if clock.now() >= self._ends:
            self.result.unfinished = True
        return not self.result.stopped and not self.result.unfinished

    def _may_go_on(self):
        return self._may_begin() and self._left > 0

    # In the threads

    def _order(self, client, item):
        """Order one payment. Gives its outcome, without a state if it was not begun."""
        self._wait_for_turn(item)
        with self._share.connection(partial(self._is_too_late, item)) as is_there:
            return self._ask(client, item) if is_there else Outcome(item, "")

    def _is_too_late(self, item):
        return (
            self.result.stopped
            or self._round_is_over
            # It is the turn of others: what waits goes back, and is not taken for sent.
            or not self._share.size
            or clock.now() >= self._ends
            or not self._lease.is_safe(item.token)
        )

    def _wait_for_turn(self, item):
        turn = self._turns.pop(item.payment_id, 0)
        while not self.result.stopped and not self._round_is_over:
            left = min(max(turn, self._not_before), self._ends) - clock.now()
            if left <= 0:
                return
            time.sleep(min(left, LOOK_UP))

    @staticmethod
    def _again(outcome):
        """What did not go out this time is a doubt still: of the first time nobody knows."""
        if outcome.state in ("", const.READY):
            return Outcome(outcome.item, const.DOUBT, outcome.reason, outcome.words)
        return outcome

    def _ask(self, client, item):
        try:
            client.deposit(item.order)
        except errors.Refused as error:
            self._count_clear()
            return Outcome(item, const.REFUSED, error.reason, error.message)
        except errors.OurFault as error:
            self._stop(error.reason, error.message)
            return Outcome(item, const.READY, error.reason, error.message)
        except errors.Unreachable as error:
            self._count_unclear(error.reason, error.message)
            return Outcome(item, const.READY, error.reason, error.message)
        except errors.Unclear as error:
            if error.is_overload:
                self._back_off(error)
            self._count_unclear("circuit", error.message)
            return Outcome(item, const.DOUBT, error.reason, error.message)
        self._count_clear()
        return Outcome(item, const.ACCEPTED if self._confirms_later else const.PAID)

    def _count_clear(self):
        with self._lock:
            self._in_a_row = 0

    def _count_unclear(self, reason, words):
        with self._lock:
            self._in_a_row += 1
            enough = self._in_a_row >= PATIENCE
        if enough:
            self._stop(reason, words)

    def _back_off(self, error):
        """Leave the gateway alone for as long as it asks for, or for longer each time in a row."""
        with self._lock:
            seconds = error.retry_after or 2.0**self._in_a_row
            self._put_off = max(self._put_off, seconds)
            self._not_before = max(self._not_before, clock.now() + seconds)
        if seconds > LONGEST_PAUSE:
            self.result.hold_seconds = seconds
            self._stop("circuit", error.message)

    def _stop(self, reason, words):
        with self._lock:
            if not self.result.stopped:
                self.result.stopped, self.result.words = reason, words

    def _note(self, contact):
        """Keep a contact with the gateway until it is written together with what came of it."""
        row = self.env["g2p.payment.mpesa.attempt"]._row(contact) | {"manager_id": self._manager_id}
        self._seconds += (contact.seconds - self._seconds) / (1 if self._is_first else 8)
        self._is_first = False
        item = self._by_reference.get(contact.reference)
        if item:
            row |= {
                "payment_id": item.payment_id,
                "batch_id": item.batch_id,
                "payee": mask_payee(item.order.payee),
                "amount": item.order.amount,
            }
        self._rows.append(row)

    # Written by the dispatching thread

    def _write(self, outcomes, most=0):
        """Record outcomes and the journal, and claim so many of the next at the most; gives the claimed."""
        rows, claimed = list(self._rows), []
        if most and self._may_claim():
            recorded, claimed = self._claims.record_and_claim(outcomes, rows, most, self._lease.hold)
        elif outcomes or rows:
            recorded = self._claims.record(outcomes, rows)
        else:
            return []
        if self._claims.has_moved:
            self._stop(const.MOVED, "")
        if self._put_off:
            self._claims.put_off(self._pace, self._put_off)
            self._put_off = 0.0
        for _row in rows:
            self._rows.popleft()
        self.result.counts.update(outcome.state for outcome in recorded)
        self._touched.update(outcome.item.batch_id for outcome in recorded)
        return claimed

    def _finish(self, own):
        batches = own["g2p.payment.batch"].browse(self.batch_ids)
        self.manager.with_env(own)._mpesa_note_hold(self.result)
        batches.browse(self._touched)._mpesa_promise(own.user)
        batches._mpesa_note_stop(self.result.stopped, self.result.words)
        if self.result.stopped not in PASSES:
            batches._mpesa_want_no_more(bool(self.result.stopped))
