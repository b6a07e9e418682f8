"""What is allowed: each state of a payment, with each kind and strength of fact, and each act.

README.md has the table for finance; it is compared with what can really be done.
"""

from odoo.exceptions import UserError

from .common import ROOT
from .test_statement import StatementCase

# What OpenG2P's own fields say beside each.
STATES = {
    "ready": ("issued", None, False),
    "accepted": ("sent", None, False),
    "doubt": ("sent", None, False),
    "paid": ("reconciled", "paid", True),
    "refused": ("sent", "failed", True),
}
# What a statement that was compared shows of it.
FACTS = (
    *("nothing", "paid, by reference", "paid, by receipt", "paid, by payee", "paid, by masked payee"),
    *("not carried out, by reference", "not understood, by reference", "paid and came back, by reference"),
)
ACTS = ("prepare again", "send", "settle as paid", "settle as not paid", "write off")
HEAD = "| statements show | Ready | Accepted | In doubt | Paid | Refused |"


class TestMatrix(StatementCase):
    DOUBTS = (4, 5)

    def setUp(self):
        super().setUp()
        self.row = self.rows[5]

    def put(self, state):
        status = STATES[state]
        self.env.flush_all()
        self.env.cr.execute(
            "UPDATE g2p_payment SET mpesa_state = %s, state = %s, status = %s, status_is_final = %s,"
            " mpesa_reason = NULL, mpesa_receipt = 'RX5' WHERE id = %s",
            [state, *status, self.row.id],
        )
        self.env.invalidate_all()

    def show(self, fact):
        other = self.line(0, reference=self.rows[0].mpesa_reference)
        reference = {"reference": self.row.mpesa_reference, "receipt": "TX5", "payee": "- A NAME"}
        lines = {
            "nothing": [],
            "paid, by reference": [self.line(5, **reference)],
            "paid, by receipt": [self.line(5, receipt="RX5", payee="- A NAME")],
            "paid, by payee": [self.line(5, receipt="TX5")],
            "paid, by masked payee": [self.line(5, receipt="TX5", payee=self.masked())],
            "not carried out, by reference": [self.line(5, status="Failed", **reference)],
            "not understood, by reference": [self.line(5, status="Kesho", **reference)],
            "paid and came back, by reference": [
                self.line(5, **reference),
                self.line(5, **{**reference, "receipt": "TX6"}, amount="", paid_in="100.00", minutes=5),
            ],
        }[fact]
        return self.compare(other, *lines)

    def masked(self):
        number = self.row.sudo().account_number
        return f"{number[:4]}*****{number[-3:]}"

    def is_allowed(self, act, statement):
        """Whether it can be done, by what it does."""
        try:
            with self.env.cr.savepoint():
                done = getattr(self, f"do_{act.replace(' ', '_')}")(statement)
                self.env.flush_all()
                raise Undo(done)
        except Undo as undo:
            self.env.invalidate_all()
            return undo.done
        except UserError:
            self.env.invalidate_all()
            return False

    def do_prepare_again(self, statement):
        before = len(self.payments())
        self.cycle.prepare_payment()
        return len(self.payments()) > before

    def do_send(self, statement):
        before = len(self.attempts())
        self.manager._mpesa_send(self.row.batch_id)
        return len(self.attempts()) > before

    def attempts(self):
        self.env.flush_all()
        self.env.invalidate_all()
        return self.row.mpesa_attempt_ids.filtered(lambda attempt: attempt.kind == "payment")

    def settle(self, **vals):
        wizard = self.env["g2p.payment.mpesa.settle.wizard"].with_user(self.finance)
        wizard.with_context(active_model="g2p.payment", active_ids=self.row.ids).create(vals).action_settle()
        return True

    def do_settle_as_paid(self, statement):
        """By its line."""
        lines = statement.line_ids.filtered(
            lambda line: line.payment_id == self.row and line.kind == "payment"
        )
        action = lines.with_user(self.finance).action_settle()
        wizard = self.env[action["res_model"]].with_user(self.finance).with_context(**action["context"])
        wizard.create({}).action_settle()
        return True

    def do_settle_as_not_paid(self, statement):
        return self.settle(outcome="not_paid", reason="It is not there")

    def do_write_off(self, statement):
        return self.settle(outcome="write_off", reason="Moved away")

    def test_what_is_allowed(self):
        allowed = {}
        for state in STATES:
            self.put(state)
            for fact in FACTS:
                statement = self.show(fact)
                allowed[state, fact] = ", ".join(act for act in ACTS if self.is_allowed(act, statement))
                statement.with_user(self.finance)._withdraw("to try the next")
        lines = [
            f"| {fact} | {' | '.join(allowed[state, fact] or '-' for state in STATES)} |" for fact in FACTS
        ]
        text = (ROOT / "README.md").read_text(encoding="utf-8")
        found = text.partition(HEAD)[2].split("\n")[2 : 2 + len(lines)]
        self.assertEqual(found, lines, "\n".join(lines))


class Undo(Exception):
    def __init__(self, done):
        super().__init__()
        self.done = done
