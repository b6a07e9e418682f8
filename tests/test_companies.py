"""What belongs to another company is not seen."""

from odoo.exceptions import AccessError
from odoo.tests import new_test_user

from ..models import const
from .common import MANAGER, ProgramCase


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
