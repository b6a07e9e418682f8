"""The sandbox's own control: settings, faults, ledger, counters, reset and the page."""

from . import answers, faults, page
from .answers import AnsweredError
from .faults import FaultError
from .settings import SettingError, number, shillings

PAGE_ROWS = 50


class Control:
    """What a tester may ask of a gateway, by path and method in `routes`."""

    def __init__(self, gateway):
        self.gateway = gateway
        self.routes = {
            "/": {"GET": self.page},
            "/sandbox/ledger": {"GET": self.ledger},
            "/sandbox/requests": {"GET": self.requests},
            "/sandbox/settings": {"GET": self.settings, "POST": self.set},
            "/sandbox/faults": {"GET": self.faults, "POST": self.order_faults, "DELETE": self.clear_faults},
            "/sandbox/reset": {"POST": self.reset},
        }

    # -- reading -------------------------------------------------------------------------------------------

    def ledger(self, call):
        """GET /sandbox/ledger?since=ID&limit=N: entries after ID, and the sums of all."""
        query = call.query()
        ledger = self.gateway.ledger
        paid = ledger.paid()
        return answers.as_json(
            {
                "entries": ledger.entries(_whole(query, "since", 0), _whole(query, "limit", -1)),
                "paid": paid,
                "count": ledger.count(),
                "total": sum(paid.values()),
                "float": ledger.float,
            }
        )

    def requests(self, call):
        """GET /sandbox/requests: counters since the process started."""
        return answers.as_json(self.gateway.traffic.as_dict(self.gateway.connections()))

    def page(self, call):
        """GET /?page=N."""
        number_ = max(1, _whole(call.query(), "page", 1))
        html = page.render(self.gateway, number_, PAGE_ROWS)
        return answers.Answer(200, html.encode(), "ok", content_type=answers.HTML)

    # -- settings ------------------------------------------------------------------------------------------

    def settings(self, call):
        """GET /sandbox/settings."""
        return answers.as_json({**self.gateway.settings.as_dict(), "float": self.gateway.ledger.float})

    def set(self, call):
        """POST /sandbox/settings: a JSON object with some of them, `revoke_tokens` and `seed` besides."""
        values = _json(call, dict)
        try:
            self.apply(values)
        except SettingError as ex:
            raise AnsweredError(_wrong(ex)) from ex
        return self.settings(call)

    def apply(self, values):
        """Set what is in a dict, all or none.

        :raise SettingError: one of them cannot be
        """
        values = dict(values)
        gateway = self.gateway
        new_float = shillings("float", values.pop("float")) if "float" in values else None
        revoke = values.pop("revoke_tokens", False)
        seed = number("seed", values.pop("seed")) if "seed" in values else None
        gateway.settings.update(values)
        if new_float is not None:
            gateway.ledger.set_float(new_float)
        if revoke:
            gateway.tokens.generation = gateway.ledger.next_generation()
        if seed is not None:
            gateway.faults.seed(seed)
            gateway.dice.seed(seed)

    # -- faults --------------------------------------------------------------------------------------------

    def faults(self, call):
        """GET /sandbox/faults: those in force, as they would be ordered now."""
        return answers.as_json([fault.as_dict() for fault in self.gateway.faults.in_force()])

    def order_faults(self, call):
        """POST /sandbox/faults: a JSON list of {payee, kind, arg, count, probability}, or one of them."""
        orders = _json(call, list | dict)
        try:
            self.order(orders if isinstance(orders, list) else [orders])
        except FaultError as ex:
            raise AnsweredError(_wrong(ex)) from ex
        return self.faults(call)

    def order(self, orders):
        """Put a list of orders in force, all or none.

        :raise FaultError: one of them cannot be
        """
        made = []
        for order in orders:
            try:
                made.append(faults.make(**order))
            except TypeError as ex:
                raise FaultError("a fault has payee, kind, arg, count and probability, no more") from ex
        for fault in made:
            self.gateway.faults.add(fault)

    def clear_faults(self, call):
        """DELETE /sandbox/faults?payee=PAYEE: all, or those of one."""
        self.gateway.faults.clear(call.query().get("payee"))
        return self.faults(call)

    def reset(self, call):
        """POST /sandbox/reset: empty ledger and counters, full float. Faults and settings stay."""
        self.gateway.ledger.reset()
        self.gateway.traffic.clear()
        return answers.as_json({"count": 0, "float": self.gateway.ledger.float})


def _wrong(error):
    return answers.error(400, str(error), "wrong")


def _json(call, kind):
    try:
        value = call.json()
    except ValueError as ex:
        raise AnsweredError(_wrong(f"the body is no JSON: {ex}")) from ex
    if not isinstance(value, kind):
        raise AnsweredError(_wrong("the JSON is of another form than this call takes"))
    return value


def _whole(query, name, default):
    value = query.get(name, "")
    if value and not (value.isascii() and value.isdecimal() and len(value) < 16):
        raise AnsweredError(_wrong(f"{name} is a whole number"))
    return int(value) if value else default
