import contextlib
import os
from unittest.mock import patch

from lxml import etree

from odoo.exceptions import ValidationError
from odoo.tests import Form, TransactionCase, new_test_user
from odoo.tools import config, mute_logger

from ..models import const, server_config
from ..models.payment_manager_mpesa import PASSWORD_SHOWN, url_problem
from .common import MANAGER, enter_test_mode, make_cycle, make_program, manager_vals, phone


class FakeUrls:
    """A set-up of which nothing is ever called."""

    urls = {
        name: f"https://gateway.example.org/{name}"
        for name in ("login", "deposit", "balance", "status", "statement")
    }


class ManagerCase(TransactionCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.env.user.company_id.country_id = cls.env.ref("base.ke")
        cls.vals = manager_vals(FakeUrls)
        cls.program, cls.manager = make_program(cls.env, cls.vals)

    def person(self, **vals):
        return self.env["res.partner"].create({"name": "Person", "is_registrant": True, **vals})

    def payee(self, person):
        self.env.invalidate_all()
        return self.manager._mpesa_payees(person).get(person.id)


class TestSetUp(ManagerCase):
    def test_it_is_offered_to_programs_and_is_the_programs_manager(self):
        choices = self.env["g2p.program.payment.manager"]._selection_manager_ref_id()
        self.assertIn((MANAGER, "M-Pesa"), choices)
        self.assertEqual(self.program.get_manager(self.program.MANAGER_PAYMENT), self.manager)

    def test_addresses(self):
        good = (
            "https://gateway.example.org/api/login",
            "http://127.0.0.1:8080/login",
            "http://localhost/login",
            "http://10.1.2.3/login",
            "http://[::1]:80/login",
        )
        bad = {
            "gateway.example.org/login": "relative",
            "ftp://gateway.example.org": "relative",
            "https://": "relative",
            "https://host:port/": "relative",
            " https://gateway.example.org": "relative",
            "https://user:word@gateway.example.org/": "credentials",
            "http://gateway.example.org/login": "insecure",
            "http://8.8.8.8/login": "insecure",
            "https://169.254.169.254/latest/meta-data": "never",
            "http://[fd00:ec2::254]/latest": "never",
            "http://[::ffff:169.254.169.254]/": "never",
            "http://0.0.0.0/": "never",
        }
        for url in good:
            self.assertIsNone(url_problem(url), url)
        for url, problem in bad.items():
            self.assertEqual(url_problem(url), problem, url)
            with self.assertRaises(ValidationError):
                self.manager.payment_endpoint_url = url

    def test_private_addresses_only_where_the_servers_configuration_allows_them(self):
        private = ("http://127.0.0.1:80/x", "https://localhost/", "https://10.1.2.3/", "https://[::1]/")
        for told in ("0", "False", "no"):
            with patch.dict(os.environ, G2P_MPESA_ALLOW_PRIVATE_ADDRESSES=told):
                for url in private:
                    self.assertEqual(url_problem(url), "private", url)
                    with self.assertRaisesRegex(ValidationError, "allow_private_addresses = True"):
                        self.manager.write({"payment_endpoint_url": url, "password": "another"})
                self.assertIsNone(url_problem("https://gateway.example.org/"))
                self.assertFalse(self.manager._mpesa_client(print).settings.allow_private)
        # What dev/setup writes into the file counts where the environment says nothing.
        self.assertTrue(self.manager._mpesa_client(print).settings.allow_private)

    def test_no_setting_in_the_database_allows_private_addresses(self):
        self.env["ir.config_parameter"].set_param("g2p_mpesa.allow_private_addresses", "True")
        no_section = {"misc": {}} if hasattr(config, "misc") else {}
        with contextlib.ExitStack() as patches:
            for name, value in no_section.items():
                patches.enter_context(patch.object(config, name, value))
            if not no_section:
                patches.enter_context(patch.object(server_config.config, "get", lambda name: "/nowhere"))
            self.assertFalse(server_config.allows_private_addresses())

    def test_numbers(self):
        for vals in (
            {"api_timeout": 0},
            {"api_timeout": 121},
            {"min_amount": -1},
            {"min_amount": 100, "max_amount": 50},
            {"payee_id_type": "reg_id"},
        ):
            with self.assertRaises(ValidationError):
                self.manager.write(vals)

    def test_a_password_is_required_and_kept_when_the_form_is_saved(self):
        with self.assertRaises(ValidationError):
            self.env[MANAGER].create({**self.vals, "program_id": self.program.id, "password": False})
        self.manager.password = PASSWORD_SHOWN
        self.assertEqual(self.manager.sudo().secret, "sandbox-secret")
        self.manager.password = "another"
        self.assertEqual(self.manager.sudo().secret, "another")
        self.assertEqual(self.manager.password, PASSWORD_SHOWN)

    def test_the_password_is_sent_to_no_other_server(self):
        for vals in (
            {"auth_endpoint_url": "https://elsewhere.example.org/login"},
            {"payment_endpoint_url": "https://gateway.example.org:444/pay", "password": PASSWORD_SHOWN},
            {"username": "somebody@example.org"},
        ):
            with self.assertRaisesRegex(ValidationError, "enter the password again"):
                self.manager.write(vals)
            self.manager.write({**vals, "password": "another"})
            self.manager.write({**self.vals})
        self.manager.auth_endpoint_url = "https://gateway.example.org/other/login"

    def test_the_scheduled_job_goes_on_for_ever(self):
        cron = self.env.ref("g2p_payment_simple_mpesa.cron_refresh")
        self.assertTrue(cron.active)
        if "numbercall" in cron:
            self.assertEqual(cron.numbercall, -1)

    def test_who_set_the_password_and_when(self):
        person = new_test_user(self.env, "manager", groups=f"base.group_user,{const.PROGRAM_MANAGER}")
        self.assertEqual(self.manager.password_set_by_id, self.env.user)
        self.manager.password_set_at = False
        self.manager.with_user(person).password = PASSWORD_SHOWN
        self.assertFalse(self.manager.password_set_at)
        self.manager.with_user(person).password = "another"
        self.assertTrue(self.manager.password_set_at)
        self.assertEqual(self.manager.password_set_by_id, person)

    def test_a_copy_is_in_test_mode_and_knows_no_password(self):
        self.manager.mode = "live"
        copy = self.manager.copy({"password": "another"})
        self.assertEqual(copy.mode, "test")

    def test_each_field_that_is_set_up_has_a_help_with_an_example(self):
        form = etree.fromstring(self.env[MANAGER].get_view(view_type="form")["arch"])
        names = {
            node.get("name") for node in form.iterfind(".//field") if not list(node.iterancestors("field"))
        }
        names -= {name for name in names if name.startswith(("message_", "activity_")) or name == "id"}
        names = {name for name in names if not self.env[MANAGER]._fields[name].readonly}
        self.assertIn("status_endpoint_url", names)
        self.assertIn("customer_type", names)
        for name in names:
            self.assertRegex(self.env[MANAGER]._fields[name].help or "", r"\b[Ee]\.g\. ", name)

    def test_the_tag_of_a_new_manager_is_named_after_its_program(self):
        form = Form(self.env[MANAGER])
        self.assertFalse(list(form.batch_tag_ids[:]))
        form.program_id = self.program
        self.assertEqual([tag.name for tag in form.batch_tag_ids[:]], ["Default Cash transfers"])


class TestUse(ManagerCase):
    """One button makes it the program's payment manager."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.other = cls.env["g2p.program"].create({"name": "Other", "journal_id": cls.program.journal_id.id})
        cls.second = cls.manager.copy({"program_id": cls.other.id, "password": "another"})

    def test_it_takes_the_place_of_the_default_one(self):
        person = new_test_user(self.env, "manager", groups=f"base.group_user,{const.PROGRAM_MANAGER}")
        self.assertFalse(self.second.is_in_use)
        self.assertTrue(self.second.rival_name)
        self.second.with_user(person).action_use_for_program()
        self.assertEqual(self.other.get_manager(self.other.MANAGER_PAYMENT), self.second)
        self.assertTrue(self.second.is_in_use)
        self.assertFalse(self.second.rival_name)

    def test_a_second_click_makes_no_second_wrapper(self):
        wrapper = self.env["g2p.program.payment.manager"]
        self.second.action_use_for_program()
        before = wrapper.search_count([])
        self.second.action_use_for_program()
        self.assertEqual(wrapper.search_count([]), before)

    def test_not_while_payments_are_ready_to_be_sent_by_another(self):
        _cycle, entitlements = make_cycle(self.env, self.program, 1)
        vals = {"cycle_id": entitlements.cycle_id.id, "amount_issued": 100}
        self.env["g2p.payment"].create({**vals, "entitlement_id": entitlements.id})
        second = self.manager.copy({"password": "another"})
        with self.assertRaisesRegex(ValidationError, "ready to be sent"):
            second.action_use_for_program()


class TestPayee(ManagerCase):
    def test_phone_as_people_write_it(self):
        for text in ("+254700000001", "0700 000 001", "254700000001", "+254 (700) 000-001"):
            self.assertEqual(self.payee(self.person(phone=text)), phone(1), text)

    def test_what_is_no_phone_number(self):
        for text in (False, "", "none", "12", "+254", "0700 000 001 002 003"):
            self.assertIsNone(self.payee(self.person(phone=text)), text)

    def test_the_numbers_own_country_counts(self):
        uganda = self.env.ref("base.ug")
        person = self.person(phone_number_ids=[(0, 0, {"phone_no": "0772123456", "country_id": uganda.id})])
        # And is not paid by a gateway of another country.
        self.assertIsNone(self.payee(person))
        self.manager.payee_country_ids = uganda | self.env.ref("base.ke")
        self.assertEqual(self.payee(person), "256772123456")

    def test_a_disabled_number_is_not_paid_even_where_it_still_stands_as_the_phone(self):
        person = self.person(phone_number_ids=[(0, 0, {"phone_no": f"+{phone(7)}"})])
        person.phone = f"+{phone(7)}"
        person.phone_number_ids.disabled = "2026-01-01"
        self.assertIsNone(self.payee(person))

    def test_the_newest_of_several_numbers(self):
        person = self.person(
            phone_number_ids=[
                (0, 0, {"phone_no": f"+{phone(1)}", "date_collected": "2026-02-01"}),
                (0, 0, {"phone_no": f"+{phone(2)}", "date_collected": "2026-01-01"}),
            ]
        )
        self.assertEqual(self.payee(person), phone(1))

    def test_email(self):
        self.manager.payee_id_type = "email"
        for text in ("Ann@Example.org", "  Ann@Example.org\u200b \n"):
            self.assertEqual(self.payee(self.with_email(text)), "Ann@Example.org")
        two, named = "ann@example.org, bob@example.org", "Ann <ann@example.org>"
        for text in ("Ann", two, named, "ann\x07@example.org"):
            self.assertIsNone(self.payee(self.with_email(text)), text)
        self.assertIsNone(self.payee(self.person()))

    def with_email(self, text):
        """As an import leaves it, which asks no form."""
        person = self.person()
        self.env.cr.execute("UPDATE res_partner SET email = %s WHERE id = %s", [text, person.id])
        return person

    def test_bank_account_number(self):
        self.manager.payee_id_type = "bank_acc_no"
        person = self.person(bank_ids=[(0, 0, {"acc_number": " 0011 "}), (0, 0, {"acc_number": "0022"})])
        self.assertEqual(self.payee(person), "0011")
        self.assertIsNone(self.payee(self.person()))

    @mute_logger("odoo.addons.g2p_bank.models.res_partner_bank")
    def test_iban_where_one_account_has_none(self):
        self.manager.payee_id_type = "bank_acc_iban"
        kenya, germany = self.env.ref("base.ke"), self.env.ref("base.de")
        banks = self.env["res.bank"].create(
            [
                {"name": "Nairobi", "country": kenya.id, "bic": "01"},
                {"name": "Berlin", "country": germany.id, "bic": "37040044"},
            ]
        )
        person = self.person(
            bank_ids=[
                (0, 0, {"acc_number": "0011", "bank_id": banks[0].id}),
                (0, 0, {"acc_number": "0532013000", "bank_id": banks[1].id}),
            ]
        )
        self.assertEqual(self.payee(person), "DE89370400440532013000")

    def test_registered_id_of_the_right_type(self):
        card, other = (self.env["g2p.id.type"].create({"name": name}) for name in ("Wallet", "Voter"))
        self.manager.write({"payee_id_type": "reg_id", "reg_id_type_for_payee_id": card.id})
        person = self.person(reg_ids=[(0, 0, {"id_type": other.id, "value": "V1"})])
        self.assertIsNone(self.payee(person))
        person.reg_ids = [(0, 0, {"id_type": card.id, "value": "W1", "status": "valid"})]
        self.assertEqual(self.payee(person), "W1")
        person.reg_ids.filtered(lambda reg_id: reg_id.id_type == card).expiry_date = "2020-01-01"
        self.assertIsNone(self.payee(person))

    def test_one_bad_payee_does_not_stop_the_others(self):
        people = self.person(phone="x") | self.person(phone=f"+{phone(1)}")
        self.assertEqual(self.manager._mpesa_payees(people), {people[1].id: phone(1)})


class TestProblem(ManagerCase):
    def test_what_keeps_a_payment_from_going_out(self):
        self.manager.write({"min_amount": 10, "max_amount": 1000})
        for amount, payee, problem in (
            (100, "p", None),
            (10, "p", None),
            (1000, "p", None),
            (100.0, "p", None),
            (99.75, "p", "not_whole"),
            (99.99, "p", "not_whole"),
            (0, "p", "not_positive"),
            (-5, "p", "not_positive"),
            (9, "p", "below_minimum"),
            (1001, "p", "above_maximum"),
            (1000.5, "p", "above_maximum"),
            (100, None, "no_payee"),
        ):
            self.assertEqual(self.manager._mpesa_problem(amount, payee), problem, (amount, payee))
        self.assertEqual(self.manager._mpesa_problem(100, "p", "cancelled"), "entitlement_closed")

    def test_no_most_amount_means_as_much_as_a_number_can_say(self):
        self.assertIsNone(self.manager._mpesa_problem(10**15, "p"))
        for amount in (10**15 + 1, 1.8e17, 2e19, float("inf"), float("nan")):
            self.assertEqual(self.manager._mpesa_problem(amount, "p"), "above_maximum", amount)
            self.assertEqual(self.manager._mpesa_problem(100, "p", entitled=amount) is None, amount < 1e20)


class TestViews(ManagerCase):
    def test_every_view_opens(self):
        enter_test_mode(self)
        models = (MANAGER, "g2p.payment", "g2p.payment.batch", "g2p.cycle", "g2p.payment.mpesa.attempt")
        for model in models:
            for view_type in (
                "list" if "list" in dict(self.env["ir.ui.view"]._fields["type"].selection) else "tree",
                "form",
                "search",
            ):
                self.assertTrue(self.env[model].get_view(view_type=view_type)["arch"], (model, view_type))
        for model in ("g2p.payment.mpesa.settle.wizard", "g2p.payment.mpesa.send.wizard"):
            self.assertTrue(self.env[model].get_view(view_type="form")["arch"])

    def test_nothing_of_the_managers_form_is_lost(self):
        arch = self.env[MANAGER].get_view(self.env[MANAGER].get_manager_view_id(), "form")["arch"]
        for part in (
            "button_box",
            "tagconfig",
            "batch_tag_ids",
            "create_batch",
            "payment_endpoint_url",
            "password",
        ):
            self.assertIn(f'name="{part}"', arch)
        self.assertIn('password="', arch)
