"""What belongs to another company is not seen."""

import base64

from odoo.exceptions import AccessError
from odoo.tests import Form, new_test_user

from ..models import const
from .common import MANAGER, ProgramCase, make_cycle, manager_vals


class TestCompanies(ProgramCase):
    PEOPLE = 2

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.other_company = cls.env["res.company"].create({"name": "Other"})

    def user(self, group, company):
        login = f"{group}-{company.id}"
        return new_test_user(
            self.env, login, groups=f"base.group_user,{group}", company_id=company.id, company_ids=company.ids
        )

    def test_gateways_and_the_journal_of_another_company(self):
        self.prepare()
        self.send()
        for group in (const.PROGRAM_MANAGER, const.ADMIN, const.FINANCE):
            for company, sees in ((self.program.company_id, True), (self.other_company, False)):
                env = self.env(user=self.user(group, company))
                env.invalidate_all()
                journal = env["g2p.payment.mpesa.attempt"].search([("manager_id", "=", self.manager.id)])
                self.assertEqual(bool(journal), sees, (group, company.name))
                if group != const.FINANCE:
                    self.assertEqual(bool(env[MANAGER].search([])), sees, (group, company.name))

    def test_payments_of_another_company(self):
        """Those that are not M-Pesa's are seen as OpenG2P says."""
        self.prepare()
        program = self.env["g2p.program"].create({"name": "By another manager"})
        cycle, entitlement = make_cycle(self.env, program, 1)
        other_batch = self.env["g2p.payment.batch"].create({"cycle_id": cycle.id})
        other = self.env["g2p.payment"].create(
            {"entitlement_id": entitlement.id, "cycle_id": cycle.id, "amount_issued": 100}
        )
        self.env.flush_all()
        self.assertFalse(other.mpesa_state or other_batch.mpesa_state)
        first = self.payments()[0]
        records = first | other, first.batch_id | other_batch
        for group in (const.PROGRAM_MANAGER, const.ADMIN, const.FINANCE):
            for company in (self.program.company_id, self.other_company):
                env = self.env(user=self.user(group, company))
                self.env.invalidate_all()
                for all_of_them, unowned in zip(records, (other, other_batch), strict=True):
                    seen = all_of_them if company == self.program.company_id else unowned
                    found = env[seen._name].search([("id", "in", all_of_them.ids)])
                    self.assertEqual(found, seen, (group, company.name))

    def test_somebody_of_another_company_neither_sends_nor_sets_up(self):
        self.prepare()
        user = self.user(const.PROGRAM_MANAGER, self.other_company)
        manager = self.manager.with_user(user)
        with self.assertRaises(AccessError):
            manager.send_payments(self.payments().batch_id.with_user(user))
        with self.assertRaises(AccessError):
            manager.write({"password": "another"})
        with self.assertRaises(AccessError):
            manager.action_test_connection()
        self.assert_states(ready=2)

    def test_what_is_done_with_all_rights_is_refused_to_another_company(self):
        self.prepare()
        self.fault(0, "500-not-taken")
        self.send()
        self.assert_states(doubt=1, paid=1)
        doubt = self.payments().filtered(lambda payment: payment.mpesa_state == "doubt")
        own = self.manager_elsewhere()
        env = self.env(user=self.user(const.PROGRAM_MANAGER, self.other_company))
        batch, cycle = doubt.batch_id.with_env(env), self.cycle.with_env(env)
        ours = "another company's"
        # Rules hide payments and batches; a cycle can be seen, so what is done with it we look at ourselves.
        acts = {
            "refresh status": (doubt.with_env(env).action_mpesa_refresh_status, ""),
            "refresh status of a batch": (batch.action_mpesa_refresh_status, ""),
            "send by one's own gateway": (lambda: own.with_env(env).send_payments(batch), ""),
            "send without a question": (lambda: own.with_env(env)._mpesa_send(batch), ""),
            "prepare again": (batch.action_mpesa_prepare_again, ours),
            "prepare by one's own gateway": (lambda: own.with_env(env).prepare_payments(cycle), ours),
        }
        self.assertEqual([name for name, act in acts.items() if not self.is_refused(*act)], [])
        self.assertEqual(self.env["g2p.payment"].search_count([("mpesa_manager_id", "=", own.id)]), 0)

    def is_refused(self, act, words=""):
        """Whether an act is refused for want of rights, in these words; all that it did is undone."""
        self.env.flush_all()
        self.env.invalidate_all()
        try:
            with self.env.cr.savepoint():
                act()
        except AccessError as error:
            return words in str(error)
        return False

    def manager_elsewhere(self):
        """The manager of a program of the other company."""
        program = self.env["g2p.program"].create({"name": "Elsewhere", "company_id": self.other_company.id})
        vals = manager_vals(self.gateway, program_id=program.id, create_batch=False)
        return self.env[MANAGER].create(vals)

    def test_statements_and_what_they_show(self):
        """Each of their models has a rule of its own."""
        self.prepare()
        self.send()
        statement = self.statement()
        records = (statement, statement.line_ids[:1], statement.summary_ids[:1])
        for group in (const.ADMIN, const.FINANCE):
            for company, seen in ((self.program.company_id, records), (self.other_company, ())):
                env = self.env(user=self.user(group, company))
                self.env.invalidate_all()
                found = [r._name for r in records if env[r._name].search([("id", "=", r.id)])]
                self.assertEqual(found, [r._name for r in seen], (group, company.name))
        statement = statement.with_env(env)
        acts = {
            name: getattr(statement, name)
            for name in ("action_compare", "action_compare_again", "action_begin_again", "action_settle")
        }
        acts["create"] = lambda: statement.create({"program_id": self.program.id, "file": b"eA=="})
        self.assertEqual([name for name in acts if not self.is_refused(acts[name])], [])

    def statement(self):
        """One that shows the first payment."""
        payment = self.payments()[0]
        content = f"Receipt No.,Amount,Our Reference\nTX1,100,{payment.mpesa_reference}\n"
        with Form(self.env["g2p.payment.mpesa.statement"]) as form:
            form.program_id = self.program
            form.name = "statement"
            form.file = base64.b64encode(content.encode())
            form.only_carried_out = True
        form.record.action_compare()
        self.env.flush_all()
        return form.record

    def test_what_happened_to_a_batch(self):
        self.prepare()
        self.send()
        self.env.flush_all()
        for company, sees in ((self.program.company_id, True), (self.other_company, False)):
            env = self.env(user=self.user(const.ADMIN, company))
            events = env["g2p.payment.mpesa.event"].search([("batch_id", "in", self.payments().batch_id.ids)])
            self.assertEqual(bool(events), sees, company.name)

    def test_the_sign_off_of_another_company_is_not_printed(self):
        self.prepare()
        report = "report.g2p_payment_simple_mpesa.signoff"
        for group in (const.ADMIN, const.FINANCE):
            env = self.env(user=self.user(group, self.other_company))
            with self.assertRaisesRegex(AccessError, "another company's"):
                env[report]._get_report_values(self.cycle.ids)
