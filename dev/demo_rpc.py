"""What the web client says to an Odoo server, said without one. Needs nothing but Python."""

import http.client
import http.cookiejar
import itertools
import json
import urllib.request

# A click may take as long as an Odoo worker is allowed to.
SECONDS = 120


class RpcError(Exception):
    """The server answered with an error, or not at all; the text says which."""


class Session:
    """A user who is logged in.

    :param str url: of the server, without a slash at the end.
    :raise RpcError: the server does not know login and password.
    """

    def __init__(self, url, database, login, password):
        self._url = url
        self._numbers = itertools.count(1)
        # A proxy in the environment is for others: this is loopback.
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        )
        self._post("/web/session/authenticate", db=database, login=login, password=password)

    def call(self, model, method, *args, **kwargs):
        """A method of a model, as the web client calls it."""
        return self._post(
            f"/web/dataset/call_kw/{model}/{method}", model=model, method=method, args=args, kwargs=kwargs
        )

    def click(self, model, button, record_id):
        """A button of a form; gives the action that the web client would carry out next."""
        return self._post(
            "/web/dataset/call_button", model=model, method=button, args=[[record_id]], kwargs={}
        )

    def create(self, model, vals):
        """One record; gives its id."""
        return self.call(model, "create", [vals])[0]

    def create_all(self, model, vals_list):
        """Records; gives their ids in the same order."""
        return self.call(model, "create", vals_list)

    def write(self, model, record_id, vals):
        """Change one record."""
        self.call(model, "write", [record_id], vals)

    def count(self, model, *domain):
        """How many records there are."""
        return self.call(model, "search_count", list(domain))

    def read_all(self, model, domain, fields, most=5000):
        """Read all matching records in the order of their ids, some thousand at a time."""
        last_id = 0
        while True:
            page = self.call(
                model, "search_read", [*domain, ("id", ">", last_id)], fields, limit=most, order="id"
            )
            yield from page
            if len(page) < most:
                return
            last_id = page[-1]["id"]

    def ref(self, xml_id):
        """The id of the record that a module calls so."""
        module, name = xml_id.split(".")
        [found] = self.call(
            "ir.model.data", "search_read", [("module", "=", module), ("name", "=", name)], ["res_id"]
        )
        return found["res_id"]

    def _post(self, path, **params):
        body = {"jsonrpc": "2.0", "method": "call", "id": next(self._numbers), "params": params}
        request = urllib.request.Request(
            self._url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with self._opener.open(request, timeout=SECONDS) as answer:
                result = json.load(answer)
        except (OSError, http.client.HTTPException, ValueError) as ex:
            raise RpcError(f"{path}: {ex}") from ex
        if "error" in result:
            data = result["error"].get("data", {})
            raise RpcError(data.get("message") or result["error"].get("message") or "no reason given")
        return result.get("result")
