"""Steps of the walk that import the gateway's statement, and what finance does by it.

A statement may be late, tell a part, and be taken back. Nobody is paid twice by it, and nobody is recorded
as paid who was not. In the end a whole one ends all doubts that a gateway without a status leaves.
"""

import base64
import contextlib

try:
    from .harness import GONE, load_dev
except ImportError:
    from harness import GONE, load_dev

STATEMENT = "g2p.payment.mpesa.statement"
SETTLE = "g2p.payment.mpesa.settle.wizard"
HEAD = ("Receipt", "Date", "Payee", "Amount", "State", "Reference")
MEANINGS = ("receipt", "moment", "payee", "amount", "status", "reference")


class Statements:
    """Needs ``lab``, ``server``, ``gateway``, ``random``, ``report`` and ``cycles`` of a walk."""

    def statement_steps(self):
        """Names of steps, and how often each is to be taken beside the others."""
        return {"statement": 2}

    def _statement(self):
        """Finance compares what the gateway has paid by now, or a part of it, and settles by it."""
        with self._without_answer():
            entries = self._paid_entries()
            part = self.random.random()
            if part < 0.3:
                entries = self.random.sample(entries, len(entries) // 2)
            elif part < 0.5:
                # Late: it ends before the last ones.
                entries = entries[: int(len(entries) * 0.7)]
            statement = self._compare_statement(entries)
            if statement and self.random.random() < 0.3:
                self._withdraw_statement(statement)
            elif statement:
                self._settle_by(statement)

    def _paid_entries(self):
        return [entry for entry in self.gateway.ledger()["entries"] if entry["state"] == "completed"]

    def _compare_statement(self, entries):
        """Import and compare; gives the id, None where there is nothing in it."""
        if not entries:
            return None
        session = self.server.session("finance")
        number = session.create(STATEMENT, self._statement_vals(entries))
        session.call(STATEMENT, "action_compare", [number])
        self.report.events["statement compared"] += 1
        return number

    def _statement_vals(self, entries):
        # As operators write above it: the same lines a second time are another file.
        made = ["Statement No.", str(self.report.events["statement compared"])]
        rows = [made, HEAD, *(self._row(entry) for entry in entries)]
        columns = [
            (0, 0, {"position": position, "heading": heading, "meaning": meaning})
            for position, (heading, meaning) in enumerate(zip(HEAD, MEANINGS, strict=True))
        ]
        text = "\n".join(",".join(row) for row in rows)
        return {
            "name": f"Statement {self.report.seed}",
            "program_id": self.lab.ids["program"],
            "file": base64.b64encode(text.encode()).decode(),
            "delimiter": ",",
            "head": 2,
            "decimal": ".",
            "date_order": "ymd",
            "zone": "UTC",
            # The walk moves the moments of sending back by hours.
            "tolerance_hours": 500,
            "column_ids": columns,
        }

    def _row(self, entry):
        moment = entry["at"][:19].replace("T", " ")
        amount = f"{entry['amount']:.2f}"
        return entry["transaction_id"], moment, entry["payee"], amount, "Completed", entry["reference"] or ""

    def _settle_by(self, statement):
        """Settle as paid what it shows so."""
        session = self.server.session("finance")
        action = session.click(STATEMENT, "action_settle", statement)
        number = session.call(SETTLE, "create", [{}], context=action["context"])[0]
        session.click(SETTLE, "action_settle", number)
        self.report.events["settled by statement"] += 1

    def _withdraw_statement(self, statement):
        session = self.server.session("finance")
        action = session.click(STATEMENT, "action_withdraw", statement)
        values = {"reason": "The wrong account"}
        number = session.call(action["res_model"], "create", [values], context=action["context"])[0]
        session.click(action["res_model"], "action_withdraw", number)
        self.report.events["withdrawn"] += 1

    # The end: what a gateway without a status leaves in doubt, and finance ends

    def _end_doubts(self):
        """A whole statement settles what it shows; the rest is not paid, and prepared and sent again."""
        entries, self.report.by_hand = self._paid_entries(), len(self._doubts())
        if not entries or not self.report.by_hand:
            return
        self.lab.let_hours_pass()
        statement = self._compare_statement(entries)
        with contextlib.suppress(load_dev("demo_rpc").RpcError):
            self._settle_by(statement)
        self._settle_the_rest_as_not_paid()
        for cycle in self.cycles:
            self.server.prepare(cycle)
            self.lab.come_to_rest(self.server, cycle)

    def _doubts(self):
        return [p["id"] for cycle in self.cycles for p in self.lab.payments(cycle) if p["state"] == "doubt"]

    def _settle_the_rest_as_not_paid(self):
        session = self.server.session("finance")
        for payment in self._doubts():
            context = {"active_model": "g2p.payment", "active_ids": [payment]}
            values = {"outcome": "not_paid", "reason": "Not on the statement"}
            with contextlib.suppress(load_dev("demo_rpc").RpcError):
                number = session.call(SETTLE, "create", [values], context=context)[0]
                session.click(SETTLE, "action_settle", number)
                self.report.events["settled as not paid"] += 1

    @contextlib.contextmanager
    def _without_answer(self):
        # What finance is refused, or does not hear because the server dies, is not what is looked at here.
        with contextlib.suppress(load_dev("demo_rpc").RpcError, KeyError, *GONE):
            yield
