"""The limit of requests in flight, and "never two to one payee", belong to the account at the gateway.

With real servers: what is decided by is how much of it the gateway saw at the same moment.
"""

from odoo.tests import TransactionCase, tagged

from ..models.account import account_of
from ..models.dispatch import Dispatch
from ..models.own_cursor import OwnCursor, own_transaction
from ..models.pace import Pace
from ..models.share import Share
from .common import MANAGER, ProgramCase, make_cycle, manager_vals, phone, tag, use_manager
from .harness import PATIENCE, PEOPLE, wait_until
from .test_processes import ProcessCase

BUSY = "All connections of this account at the gateway are taken at the moment"


def another_program(case, **vals):
    """Another program, with a manager of its own, at the same gateway; both."""
    program = case.env["g2p.program"].create({"name": "Other", "journal_id": case.program.journal_id.id})
    vals = manager_vals(case.gateway, program_id=program.id, batch_tag_ids=[tag(case.env).id], **vals)
    manager = case.env[MANAGER].create(vals)
    use_manager(program, manager)
    case.env.flush_all()
    return program, manager


class TestDigest(TransactionCase):
    def test_an_account_is_the_same_however_its_address_is_written(self):
        one = account_of("https://gateway.example.org/pay", "agent@example.org")
        for url in ("HTTPS://Gateway.example.org:443/pay/", " https://gateway.example.org./pay"):
            self.assertEqual(account_of(url, " Agent@example.org"), one)
        for url in ("https://gateway.example.org/Pay", "https://gateway.example.org:8443/pay"):
            self.assertNotEqual(account_of(url, "agent@example.org"), one)
        self.assertNotEqual(account_of("https://gateway.example.org/pay", "other@example.org"), one)


class TestShare(ProgramCase):
    """How the connections of an account are divided."""

    def setUp(self):
        super().setUp()
        self.connections(4)

    def connections(self, number):
        self.manager.max_connections = number
        self.env.flush_all()

    def sender(self):
        own = OwnCursor(self.env)
        self.addCleanup(own.close)
        return Share(self.manager, own, 60)

    def look(self, *senders):
        for sender in senders:
            sender._look()

    def sizes(self, *senders):
        return [sender.size for sender in senders]

    def age(self, column, seconds, sender):
        self.env.cr.execute(
            f"UPDATE g2p_payment_mpesa_sender SET {column} = {column} - %s * interval '1 second'"
            " WHERE token = %s",
            [seconds, sender._token],
        )

    def test_one_has_all_and_two_have_half_each(self):
        first, second = self.sender(), self.sender()
        self.assertTrue(first.acquire())
        self.assertEqual(first.size, 4)
        self.look(second)
        self.assertEqual(second.size, 0)
        self.look(first, second)
        self.assertEqual(self.sizes(first, second), [2, 2])
        first.close()
        self.look(second)
        self.assertEqual(second.size, 4)

    def test_what_is_in_use_is_given_up_only_once_it_has_ended(self):
        first, second = self.sender(), self.sender()
        first.acquire()
        with first.connection(), first.connection(), first.connection():
            self.look(second, first, second)
            self.assertEqual(self.sizes(first, second), [2, 1])
        self.look(first, second)
        self.assertEqual(self.sizes(first, second), [2, 2])

    def test_more_senders_than_connections_take_turns(self):
        self.connections(1)
        first, second = self.sender(), self.sender()
        first.acquire()
        self.assertFalse(second.acquire(0.5))
        self.age("served_at", 11, first)
        self.look(first, second)
        self.assertEqual(self.sizes(first, second), [0, 1])
        self.look(first, second)
        self.assertEqual(self.sizes(first, second), [0, 1])
        self.age("served_at", 11, second)
        self.look(second, first)
        self.assertEqual(self.sizes(first, second), [1, 0])

    def test_a_job_does_not_even_wait_where_there_is_no_room(self):
        self.connections(1)
        first, job = self.sender(), self.sender()
        first.acquire()
        self.assertFalse(job.acquire(in_line=False))
        self.age("served_at", 11, first)
        self.look(first)
        self.assertEqual(first.size, 1)

    def test_the_share_of_a_dead_sender_comes_back(self):
        dead, heir = self.sender(), self.sender()
        dead.acquire()
        self.look(heir)
        self.assertEqual(heir.size, 0)
        self.age("lease_until", 1000, dead)
        self.look(heir)
        self.assertEqual(heir.size, 4)

    def test_nothing_begins_on_a_share_that_grew_old(self):
        sender = self.sender()
        sender.acquire()
        sender._safe_until = 0
        tries = iter([False, True])
        with sender.connection(lambda: next(tries)) as is_there:
            self.assertFalse(is_there)

    def test_the_smallest_number_counts_for_all_managers_of_the_account(self):
        _program, other = another_program(self, max_connections=2)
        _program, elsewhere = another_program(self, username="else@example.org", max_connections=1)
        self.assertEqual((self.manager.account_rival_count, self.manager.account_connections), (1, 2))
        self.assertEqual((other.account_rival_count, elsewhere.account_rival_count), (1, 0))
        sender = self.sender()
        sender.acquire()
        self.assertEqual(sender.size, 2)
        # Also at once.
        other.max_connections = 1
        self.env.flush_all()
        self.look(sender)
        self.assertEqual(sender.size, 1)

    def test_the_pace_is_that_of_the_account(self):
        _program, other = another_program(self, max_requests_per_second=2)
        with own_transaction(self.env) as own:
            first = Pace(self.manager).reserve(own, 3)
            second = Pace(other).reserve(own, 3)
        self.assertGreater(second[0] - first[0], 1.4)

    def test_a_click_says_that_there_is_no_connection_and_the_rest_follows(self):
        self.connections(1)
        self.prepare()
        self.patch(Share.acquire, "__defaults__", (0.3, True))
        other = self.sender()
        other.acquire()
        message = self.send()
        self.assertIn(BUSY, message)
        self.assertIn("The rest is sent in the background", message)
        self.assert_states(ready=10)
        self.assertEqual(self.gateway.ledger()["count"], 0)
        job = self.env["queue.job"].search([("method_name", "=", "_send_payments_job")])
        self.assertEqual(len(job), 1)

    def test_who_only_asks_is_told_that_there_is_no_connection(self):
        self.connections(1)
        other = self.sender()
        other.acquire()
        self.assertEqual(self.manager._mpesa_balance(), (None, "connections_busy"))
        self.manager.action_test_connection()
        self.assertFalse(self.manager.test_passed)
        self.assertIn("all connections of this account", self.manager.test_result)
        self.assertFalse([path for path in self.gateway.requests()["paths"] if path.startswith("/api/")])

    def test_a_job_without_a_connection_is_put_off_and_counts_no_try(self):
        self.connections(1)
        self.prepare()
        other = self.sender()
        other.acquire()
        with self.assertRaises(Exception) as raised:
            self.manager._send_payments_job(self.payments().batch_id, 10)
        self.assertEqual(type(raised.exception).__name__, "RetryableJobError")
        self.assertTrue(raised.exception.ignore_retry)
        self.assertFalse(self.manager.mpesa_hold_until)
        self.assert_states(ready=10)


class TestAccount(ProgramCase):
    def test_two_managers_of_an_account_never_send_to_one_payee_at_once(self):
        """The database keeps it, whoever sends."""
        program, other = another_program(self)
        cycle, entitlements = make_cycle(self.env, program, 2, name="Other")
        for number, partner in enumerate(entitlements.partner_id):
            partner.phone = f"+{phone(number)}"
        self.prepare()
        cycle.prepare_payment()
        self.env.flush_all()
        theirs = self.env["g2p.payment"].search([("cycle_id", "=", cycle.id)])
        dispatch = Dispatch(self.manager, self.payments().batch_id)
        _recorded, claimed = dispatch._claims.record_and_claim([], [], 2, dispatch._lease.hold)
        self.assertEqual(sorted(item.order.payee for item in claimed), [phone(0), phone(1)])
        also = Dispatch(other, theirs.batch_id)
        self.assertEqual(also._claims.record_and_claim([], [], 2, also._lease.hold)[1], [])
        dispatch._claims.release(claimed)
        also._claims.rewind()
        self.assertEqual(len(also._claims.record_and_claim([], [], 2, also._lease.hold)[1]), 2)

    def test_what_is_on_its_way_at_the_update_gets_its_account(self):
        self.prepare()
        dispatch = Dispatch(self.manager, self.payments().batch_id)
        dispatch._claims.record_and_claim([], [], 2, dispatch._lease.hold)
        self.env.cr.execute("UPDATE g2p_payment SET mpesa_account = NULL")
        self.env["g2p.payment"]._mpesa_fill_accounts()
        self.env.cr.execute("SELECT mpesa_account FROM g2p_payment WHERE mpesa_state = 'sending'")
        self.assertEqual(self.env.cr.fetchall(), [(self.manager._mpesa_account(),)] * 2)


@tagged("post_install", "-at_install")
class TestServers(ProcessCase):
    """Jobs and clicks on two servers, with one account."""

    SERVER = {"workers": 4, "jobs": 2}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.other_server = cls.lab.server()
        cls.other_program = cls.make_other_program()

    @classmethod
    def make_other_program(cls):
        admin = cls.server.session("admin")
        [journal] = admin.read_all("g2p.program", [("id", "=", cls.lab.ids["program"])], ["journal_id"])
        program = admin.create("g2p.program", {"name": "Other", "journal_id": journal["journal_id"][0]})
        [tag] = admin.create_all("g2p.payment.batch.tag", [{"name": "All", "order": 1, "domain": "[]"}])
        vals = manager_vals(cls.gateway, program_id=program, batch_tag_ids=[(6, 0, [tag])], api_timeout=10)
        manager = admin.create(MANAGER, vals)
        admin.click(MANAGER, "action_use_for_program", manager)
        return program

    def connections(self, number, of_other=64):
        self.lab.execute("UPDATE g2p_program_payment_manager_mpesa SET max_connections = %s", [of_other])
        self.lab.set_manager(max_connections=number)

    def most_at_once(self):
        return self.gateway.requests()["in_flight"]["largest"]

    def other_cycle(self, people, first, program=None):
        cycle = self.lab.cycle(self.server, people, first=first, program=program)
        self.server.prepare(cycle)
        return cycle

    def test_a_job_and_a_click_never_have_two_requests_at_once_over_one_connection(self):
        self.connections(1)
        self.prepared(50)
        clicked = self.other_cycle(5, first=50)
        self.gateway.settings(latency_ms=300)
        self.server.send(self.cycle)
        wait_until(lambda: self.gateway.ledger()["count"] > 2, "the job sends")
        notification = self.other_server.send(clicked)
        self.assertIn("5 sent now", notification["message"])
        # It has had its turn, and did not wait for the end of the job.
        self.assertLess(self.states().get("paid", 0), 50)
        self.lab.wait_for_jobs()
        self.assertEqual(self.most_at_once(), 1)
        self.assert_paid_once_all(55)

    def test_two_jobs_share_the_connections(self):
        self.connections(2)
        self.begin_again(PEOPLE)
        self.lab.execute("UPDATE g2p_payment_batch_tag SET max_batch_size = 30")
        self.server.prepare(self.cycle)
        self.gateway.settings(latency_ms=150)
        self.server.send(self.cycle)
        wait_until(self.both_are_begun, "both batches are being sent")
        self.lab.wait_for_jobs()
        self.assertEqual(self.most_at_once(), 2)
        self.assert_paid_once()

    def both_are_begun(self):
        payments = self.lab.payments(self.cycle)
        paid = {payment["batch_id"] for payment in payments if payment["state"] == "paid"}
        return len(paid) == 2 and self.states().get("ready")

    def test_two_programs_with_one_account_share_its_connections_and_pay_each_payee_in_turn(self):
        self.connections(2, of_other=5)
        self.prepared(20)
        other = self.other_cycle(20, first=0, program=self.other_program)
        self.gateway.settings(latency_ms=100)
        clicks = [
            self.lab.background(server.send, cycle)
            for server, cycle in ((self.server, self.cycle), (self.other_server, other))
        ]
        for click in clicks:
            click.result(PATIENCE)
        self.lab.wait_for_jobs()
        flight = self.gateway.requests()["in_flight"]
        self.assertEqual((flight["largest"], flight["largest_to_one_payee"]), (2, 1))
        states = [self.lab.states(cycle) for cycle in (self.cycle, other)]
        self.assertEqual(states, [{"paid": 20}] * 2)
        self.assertEqual(self.gateway.ledger()["count"], 40)

    def assert_paid_once_all(self, people):
        self.assertEqual(self.lab.problems(), [])
        self.assertEqual(self.gateway.ledger()["count"], people)
