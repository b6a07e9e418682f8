from odoo.modules.neutralize import get_neutralization_queries

from .common import MANAGER, ProgramCase

URLS = ("auth_endpoint_url", "payment_endpoint_url", "status_endpoint_url", "balance_endpoint_url")


class TestNeutralize(ProgramCase):
    PROFILE = "full"
    PEOPLE = 4

    def neutralize(self):
        """What Odoo does to a copy of a database, of this module alone."""
        self.env.flush_all()
        for query in get_neutralization_queries(["g2p_payment_simple_mpesa"]):
            self.env.cr.execute(query)
        self.env.invalidate_all()

    def calls(self):
        """What the gateway was asked, and how it answered."""
        paths = self.gateway.requests()["paths"]
        return {path: answers for path, answers in paths.items() if path.startswith("/api/")}

    def test_a_copy_knows_no_gateway(self):
        self.neutralize()
        self.assertFalse(self.manager.sudo().secret)
        self.assertFalse(self.manager.password)
        self.assertFalse(self.manager.username)
        self.assertFalse(self.manager.honours_idempotency_key)
        for name in URLS:
            self.assertRegex(self.manager[name], r"^https://neutralized\.invalid/")

    def test_an_endpoint_that_is_not_used_stays_so(self):
        self.manager.write({"status_endpoint_url": False, "balance_endpoint_url": False})
        self.neutralize()
        self.assertFalse(self.manager.status_endpoint_url)
        self.assertFalse(self.manager.balance_endpoint_url)

    def test_every_manager(self):
        other = self.manager.copy({"password": "another"})
        self.neutralize()
        self.assertFalse((self.manager | other).sudo().filtered("secret"))

    def test_the_scheduled_job_is_off(self):
        cron = self.env.ref("g2p_payment_simple_mpesa.cron_refresh")
        self.assertTrue(cron.active)
        self.neutralize()
        self.assertFalse(cron.active)

    def test_nothing_is_sent_from_a_copy(self):
        self.prepare()
        self.neutralize()
        self.send()
        self.assert_states(ready=4)
        self.assertEqual(self.calls(), {})

    def test_what_is_open_stays_open(self):
        self.prepare()
        self.fault(1, "500-taken")
        self.send()
        self.assert_states(accepted=3, doubt=1)
        calls = self.calls()
        self.neutralize()
        self.env.cr.execute("UPDATE g2p_payment SET mpesa_next_check = '2020-01-01'")
        self.env[MANAGER].search([])._cron_mpesa_refresh()
        self.assert_states(accepted=3, doubt=1)
        self.assertEqual(self.calls(), calls)
