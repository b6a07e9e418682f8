"""The demo's program: its people, its gateway and its users, as an administrator would enter them."""

from dataclasses import dataclass, field
from datetime import date

# Seconds that the demo's manager waits for an answer, and after which the late one comes.
TIMEOUT, LATE = 2, 4
CHUNK = 500
MANAGER = "g2p.program.payment.manager.mpesa"

GIVEN = """
    Achieng Baraka Chebet Daudi Esther Farida Githinji Halima Imani Juma Kamau Lemayian Makena
    Naliaka Otieno Pendo Rehema Salim Taabu Umi Wanjiru Wekesa Yusuf Zawadi Zuhura
"""
FAMILY = """
    Abdi Barasa Cheruiyot Ekeno Hassan Karanja Kiprop Lekuton Maina Mutua Mwangi Njoroge Nyambura
    Ochieng Odhiambo Okello Omondi Onyango Rono Simiyu Wafula Wambui Wanyama Were Yego
"""

# What is special, by the number of the person.
NO_PHONE, TWO_PHONES, CENTS, UNKNOWN, TOO_LATE = 4, 8, 12, 16, 20
NOTES = {
    NO_PHONE: "has no phone",
    TWO_PHONES: "has two phones",
    CENTS: "an amount with cents",
    UNKNOWN: "unknown to the gateway",
    TOO_LATE: "the gateway answers too late",
}


class DemoError(Exception):
    """The demo cannot go on; the text says why."""


@dataclass(frozen=True)
class Person:
    """Somebody who is to be paid. `phones`: MSISDNs, the one to be paid last."""

    number: int
    name: str
    amount: float
    phones: tuple[str, ...]

    @property
    def note(self):
        """What is special about this person, or ""."""
        return NOTES.get(self.number, "")

    @property
    def vals(self):
        """The registrant."""
        vals = {
            "name": self.name,
            "is_registrant": True,
            "phone": ",".join(f"+{phone}" for phone in self.phones),
        }
        if len(self.phones) > 1:
            vals["phone_number_ids"] = [(0, 0, {"phone_no": f"+{phone}"}) for phone in self.phones]
        return vals


@dataclass
class Demo:
    """What was entered: ids in the database, and the people by the id of their entitlement."""

    program: int
    cycle: int
    people: dict = field(default_factory=dict)


def make_people(count):
    """``count`` people, five of whom are special."""
    return [_make_person(number) for number in range(1, count + 1)]


def _make_person(number):
    given, family = GIVEN.split(), FAMILY.split()
    # The other step lets no two of the first some hundred people have the same name.
    name = f"{given[number % len(given)]} {family[(number * 7 + number // len(given)) % len(family)]}"
    phones = () if number == NO_PHONE else (msisdn(number),)
    if number == TWO_PHONES:
        phones = ("254110000008", msisdn(number))
    amount = 2500 + 250 * (number % 5) + (0.75 if number == CENTS else 0)
    return Person(number, name, amount, phones)


def msisdn(number):
    """The telephone number of the ``number``-th person."""
    return f"2547{number:08d}"


def order_faults(gateway):
    """Have the gateway go wrong for those for whom it shall."""
    gateway.fault(msisdn(UNKNOWN), "refuse")
    gateway.fault(msisdn(TOO_LATE), "late-taken", LATE)


def enter_program(admin, gateway, asked):
    """Country, currency, journal, program and its M-Pesa manager. Gives a :class:`Demo` without people.

    :param admin: the administrator's session.
    :param gateway: the sandbox gateway.
    :param bool asked: whether it can be asked afterwards and honours the idempotency key.
    """
    kes = admin.ref("base.KES")
    admin.write("res.currency", kes, {"active": True})
    admin.write(
        "res.company",
        admin.ref("base.main_company"),
        {"country_id": admin.ref("base.ke"), "currency_id": kes},
    )
    journal = admin.create(
        "account.journal",
        {
            "name": "Cash transfers",
            "code": "CASHT",
            "type": "bank",
            "currency_id": kes,
            "beneficiary_disb": True,
        },
    )
    program = admin.create(
        "g2p.program", {"name": "Cash transfers", "journal_id": journal, "target_type": "individual"}
    )
    _enter_manager(admin, program, gateway, asked)
    cycle = admin.create(
        "g2p.cycle",
        {
            "name": "First cycle",
            "program_id": program,
            "currency_id": kes,
            "start_date": date.today().replace(day=1).isoformat(),
            "end_date": date.today().isoformat(),
            "state": "approved",
        },
    )
    return Demo(program, cycle)


def _enter_manager(admin, program, gateway, asked):
    tag = admin.create(
        "g2p.payment.batch.tag", {"name": "Everybody", "order": 1, "domain": "[]", "max_batch_size": CHUNK}
    )
    urls = gateway.urls
    more = {"status_endpoint_url": urls["status"], "honours_idempotency_key": True} if asked else {}
    manager = admin.create(
        MANAGER,
        {
            "name": "M-Pesa (sandbox)",
            "program_id": program,
            "auth_endpoint_url": urls["login"],
            "payment_endpoint_url": urls["deposit"],
            "balance_endpoint_url": urls["balance"],
            "username": gateway.email,
            "password": gateway.password,
            "api_timeout": TIMEOUT,
            "payee_id_type": "phone",
            "batch_tag_ids": [(6, 0, [tag])],
            **more,
        },
    )
    wrapper = admin.create(
        "g2p.program.payment.manager", {"program_id": program, "manager_ref_id": f"{MANAGER},{manager}"}
    )
    # OpenG2P allows one, and has made a default one with the program.
    admin.write("g2p.program", program, {"payment_managers": [(6, 0, [wrapper])]})


def enter_users(admin, password):
    """A program manager and a finance validator, without e-mail addresses. Logins: their names."""
    groups = {
        "manager": ("Program manager", ["g2p_programs.g2p_program_manager"]),
        "finance": ("Finance validator", ["g2p_programs.g2p_finance_validator"]),
    }
    known = admin.call("res.users", "fields_get", ["groups_id", "group_ids"], ["type"])
    [groups_field] = known
    for login, (name, xml_ids) in groups.items():
        ids = [admin.ref(xml_id) for xml_id in ["base.group_user", *xml_ids]]
        admin.create(
            "res.users", {"name": name, "login": login, "password": password, groups_field: [(6, 0, ids)]}
        )


def enter_people(admin, demo, people, progress):
    """Registrants, their memberships and their approved entitlements, some hundred at a time."""
    for start in range(0, len(people), CHUNK):
        chunk = people[start : start + CHUNK]
        partners = admin.create_all("res.partner", [person.vals for person in chunk])
        for model, place in (
            ("g2p.program_membership", {"program_id": demo.program}),
            ("g2p.cycle.membership", {"cycle_id": demo.cycle}),
        ):
            admin.create_all(
                model, [{**place, "partner_id": partner, "state": "enrolled"} for partner in partners]
            )
        entitlements = admin.create_all(
            "g2p.entitlement",
            [
                {
                    "cycle_id": demo.cycle,
                    "partner_id": partner,
                    "initial_amount": person.amount,
                    "state": "approved",
                    "is_cash_entitlement": True,
                }
                for person, partner in zip(chunk, partners, strict=True)
            ],
        )
        demo.people.update(zip(entitlements, chunk, strict=True))
        progress(f"{len(demo.people):,} of {len(people):,}")
