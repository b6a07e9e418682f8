"""Headless Chromium, driven by its own protocol: what a person sees and clicks, on real servers.

Needs Chromium (``dev/test`` installs it) and the package ``websocket-client``.
"""

import base64
import contextlib
import itertools
import json
import os
import resource
import shutil
import subprocess
import tempfile
import time
import urllib.request
from http import HTTPStatus
from pathlib import Path

import websocket

try:
    from .harness import ROOT, LabError, wait_until
except ImportError:
    from harness import ROOT, LabError, wait_until

# Seconds for what should take moments, on a busy machine.
PATIENCE = 60
# Parts of Odoo's own web client inside our pages.
ODOOS_OWN = (
    *(".o_notebook_headers", ".o_field_selection", ".o_field_binary input[readonly]", ".o_field_badge"),
    *(".o_list_record_selector", ".o_optional_columns_dropdown", ".o_pivot_measure_row"),
    ".o_field_many2many_tags",
)
DEV = Path(os.environ.get("G2P_DEV_DIR", ROOT / ".dev"))
SCREENSHOTS = DEV / "screenshots"
AXE = DEV / "axe" / "node_modules" / "axe-core" / "axe.min.js"

# The code of a key, and what it types.
KEYS = {
    "Tab": (9, ""),
    "Enter": (13, "\r"),
    "Escape": (27, ""),
    "Space": (32, " "),
    "ArrowDown": (40, ""),
    "q": (81, "q"),
}
# As the protocol counts them.
MODIFIERS = {"Alt": 1, "Control": 2}
MOST_TABS = 60
TOURS = "g2p_payment_simple_mpesa.assets_tours"
# What Odoo 17.0 and 19.0 write to the console when a tour is through.
TOUR_ENDS = ("test successful", "tour succeeded")
STILL = "* { caret-color: transparent !important; transition: none !important; animation: none !important }"

# In the page: what a person can see and click, by its text or its name.
FIND = """
window.__seen = (el) => el && el.getClientRects().length > 0 && getComputedStyle(el).visibility !== "hidden";
window.__find = (selector, text) => [...document.querySelectorAll(selector)].find(
    (el) => __seen(el) && (!text || el.textContent.replace(/\\s+/g, " ").includes(text)));
window.__item = (menu, words) => [...document.querySelectorAll(menu + " .o_menu_item")].find(
    (el) => __seen(el) && el.textContent.trim() === words);
window.__name = (el) => [
    el.tagName === "BUTTON" && el.name,
    el.closest(".o_field_widget:not(.o_field_x2many)")?.getAttribute("name"),
    el.textContent.trim(),
    el.getAttribute("aria-label"),
    `${el.tagName}.${el.className}`,
].find((name) => name);
window.__busy = () => !!document.querySelector(".o_blockUI, .o_loading_indicator");
"""


def find_chromium():
    """The path of a Chromium, or None."""
    return next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)


class Browser:
    """One page of a Chromium of its own.

    :param str url: of an Odoo server, without a slash at the end.
    :param str name: the folder of its screenshots.
    """

    def __init__(self, url, name):
        self.url = url
        self.errors = []
        # What the page has written to its console, and where a tour waits to be looked at.
        self._said = []
        self._looks = []
        # How often somebody has clicked, or typed into a field.
        self.acts = 0
        self._folder = SCREENSHOTS / name
        self._folder.mkdir(parents=True, exist_ok=True)
        self._numbers = itertools.count(1)
        self._pictures = itertools.count(1)
        self._exits = contextlib.ExitStack()

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc_info):
        self.stop()

    # Life

    def start(self):
        """Start Chromium. Gives the object itself."""
        with contextlib.ExitStack() as exits:
            profile = tempfile.mkdtemp(prefix="browser-")
            exits.callback(shutil.rmtree, profile, ignore_errors=True)
            process = subprocess.Popen(
                [
                    *(
                        find_chromium(),
                        "--headless=new",
                        "--no-sandbox",
                        "--disable-gpu",
                        "--disable-dev-shm-usage",
                    ),
                    *("--no-first-run", "--hide-scrollbars", "--lang=en-US", "--remote-debugging-port=0"),
                    *("--remote-allow-origins=*", f"--user-data-dir={profile}", "about:blank"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                # Odoo limits the memory of its processes, and of what they start.
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2),
            )
            exits.callback(process.wait)
            exits.callback(process.kill)
            said = Path(profile) / "DevToolsActivePort"
            wait_until(lambda: said.exists() and said.read_text().strip(), "Chromium starts")
            port = said.read_text().split()[0]
            self._socket = websocket.create_connection(self._page(port), timeout=PATIENCE)
            exits.callback(self._socket.close)
            self._exits = exits.pop_all()
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Page.addScriptToEvaluateOnNewDocument", source=FIND)
        self.call("Runtime.addBinding", name="lookAtPage")
        self.size(1366, 900)
        return self

    def stop(self):
        """End it."""
        self._exits.close()

    def _page(self, port):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

        def address():
            with opener.open(f"http://127.0.0.1:{port}/json/list") as answer:
                pages = [page for page in json.load(answer) if page["type"] == "page"]
            return pages and pages[0]["webSocketDebuggerUrl"]

        return wait_until(address, "Chromium opens a page")

    # The protocol

    def call(self, method, **params):
        """A command of Chromium's protocol; gives its result.

        :raise LabError: it failed.
        """
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == number:
                break
            self._note(message)
        if "error" in message:
            raise LabError(f"{method}: {message['error']}")
        return message["result"]

    def _note(self, message):
        """Keep what went wrong in the page."""
        kind, params = message.get("method"), message.get("params", {})
        if kind == "Page.javascriptDialogOpening":
            # A page asks whether what was typed may be lost; until it is told, nothing else is answered.
            order = {"method": "Page.handleJavaScriptDialog", "params": {"accept": True}}
            self._socket.send(json.dumps({"id": next(self._numbers), **order}))
        if kind == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description") or details["text"])
        elif kind == "Runtime.consoleAPICalled":
            words = " ".join(str(a.get("value", a.get("description"))) for a in params["args"])
            (self.errors if params["type"] in ("error", "assert") else self._said).append(words)
        elif kind == "Runtime.bindingCalled":
            self._looks.append(params["payload"])
        elif kind == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")

    def js(self, expression):
        """The value of an expression, awaited, in the page.

        :raise LabError: it threw.
        """
        result = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, userGesture=True
        )
        if "exceptionDetails" in result:
            details = result["exceptionDetails"]
            raise LabError(details.get("exception", {}).get("description") or details["text"])
        return result["result"].get("value")

    def size(self, width, height):
        """Set the size of the page, in CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    # What a person does

    def log_in(self, database, login, password):
        """Log in, and leave whoever was before."""
        # The page of whoever was before would go on asking the server, as nobody.
        self.leave()
        self.call("Network.clearBrowserCookies")
        # Odoo 19 keeps views in the browser, and shows them before it has asked whether they are still so.
        self.call("Storage.clearDataForOrigin", origin=self.url, storageTypes="all")
        self._go("/web/login")
        params = {"db": database, "login": login, "password": password}
        answer = self.js(
            "fetch('/web/session/authenticate', {method: 'POST',"
            " headers: {'Content-Type': 'application/json'},"
            f" body: JSON.stringify({{jsonrpc: '2.0', params: {json.dumps(params)}}})}})"
            ".then((answer) => answer.json()).then((answer) => answer.result && answer.result.uid)"
        )
        if not answer:
            raise LabError(f"{login} cannot log in")

    def leave(self):
        """Leave the page, which then asks the server for nothing."""
        # Chromium answers before the page is left, and if it is sent elsewhere meanwhile, it goes nowhere.
        self.call("Page.navigate", url="about:blank")
        self.wait("location.href === 'about:blank' && document.readyState === 'complete'", "the page is left")

    def _go(self, path):
        self.call("Page.navigate", url=self.url + path)
        self.wait("document.readyState === 'complete'", f"{path} is loaded")

    def open(self, model, record_id=None, action=None, view="form"):
        """Open a record, or the list of an action, as from a bookmark."""
        parts = {
            "model": model,
            "view_type": view if record_id else "list",
            "id": record_id,
            "action": action,
        }
        fragment = "&".join(f"{name}={value}" for name, value in parts.items() if value)
        self.visit(f"/web#{fragment}")
        # A new database's server makes the web client's scripts and styles first.
        opened = ".o_form_view" if record_id else ".o_list_view, .o_view_nocontent"
        self.wait(f"__find({opened!r})", f"{opened} is seen", 3 * PATIENCE)
        self.rest()

    def act(self, action, record_id=None):
        """Open an action, or a record's form by it, in the page that is open, as a menu does.

        :raise LabError: it cannot be opened.
        """
        options = {"clearBreadcrumbs": True}
        if record_id:
            options |= {"viewType": "form", "props": {"resId": record_id}}
        self.js(
            f"odoo.__WOWL_DEBUG__.root.env.services.action.doAction({action}, {json.dumps(options)})"
            ".catch((error) => { throw error.cause || error; })"
        )
        self.rest()

    def tour(self, name, given=None, looks=None):
        """Run a tour of the addon on the page that is open. Each of its looks is kept as a screenshot.

        :param dict given: what it needs to know.
        :param dict looks: what else is to be done when it stands still for the look of that name.
        :raise LabError: one of its steps failed, or a look that was asked for did not come.
        """
        looks = dict(looks or {})
        del self._said[:], self._looks[:]
        self.js(
            f"window.mpesaTour = {json.dumps(given or {})};"
            f" odoo.loader.modules.get('@web/core/assets').loadBundle({TOURS!r})"
            f".then(() => odoo.startTour({name!r}, {{keepWatchBrowser: false}}))"
        )
        wait_until(lambda: self._is_through(name, looks), f"{name} is through", 10 * PATIENCE)
        if looks:
            raise LabError(f"{name} has no look {', '.join(looks)}")

    def _is_through(self, name, looks):
        """Whether a tour has come to its end; where it waits for a look, it gets one."""
        if self.js("document.readyState") and self.errors:
            self.picture(f"{name}-failed")
            raise LabError(f"{name}: {self.errors}. The page says: {self.text()[-1500:]}")
        while self._looks:
            look = self._looks.pop()
            self.rest()
            looks.pop(look, lambda: None)()
            self.picture(look)
            self.js("goOnWithTour()")
        return any(end in self._said for end in TOUR_ENDS)

    def visit(self, path):
        """Open an address of the server anew, and wait until the page has nothing to do."""
        # The same address twice would not load it anew.
        self.leave()
        self._go(path)
        self.rest()

    def rest(self):
        """Wait until the page has nothing to do."""
        self.wait("!__busy()", "the page comes to rest")
        time.sleep(0.15)
        self.wait("!__busy()", "the page comes to rest")

    def wait(self, expression, what, seconds=PATIENCE):
        """Wait until an expression is true in the page.

        :raise LabError: it is not, in time.
        """

        def is_true():
            # While a page is being loaded there is none to ask.
            with contextlib.suppress(LabError):
                return self.js(f"!!({expression})")
            return False

        try:
            wait_until(is_true, what, seconds)
        except LabError:
            self.picture("not-seen")
            raise LabError(
                f"{what}: not within {seconds} seconds. The page says: {self.text()[-1500:]}"
            ) from None

    def see(self, selector, text=""):
        """Wait until something is to be seen; ``text`` is a part of what stands in it."""
        self.wait(f"__find({json.dumps(selector)}, {json.dumps(text)})", f"{selector} {text} is seen")

    def sees(self, selector, text=""):
        """Whether something is to be seen now."""
        return self.js(f"!!__find({json.dumps(selector)}, {json.dumps(text)})")

    def click(self, selector, text=""):
        """Click on what is to be seen, and wait until the page has done it."""
        self.press(f"__find({json.dumps(selector)}, {json.dumps(text)})", f"{selector} {text} is clicked")

    def press(self, found, what):
        """Click on what an expression gives, and wait until the page has done it."""
        self.acts += 1
        # It may be drawn anew between being seen and being clicked.
        self.wait(f"((found) => found && (found.click(), true))({found})", what)
        time.sleep(0.1)
        self.rest()

    def button(self, name):
        """Click on the button of a method."""
        self.click(f"button[name='{name}']")

    def fill(self, field, value):
        """Type into a field of a form, in place of what is there."""
        self.acts += 1
        selector = f".o_field_widget[name='{field}'] input, .o_field_widget[name='{field}'] textarea"
        self.see(selector)
        self.js(f"__find({json.dumps(selector)}).focus(); __find({json.dumps(selector)}).select()")
        self.call("Input.insertText", text=value)
        self.js(f"__find({json.dumps(selector)}).dispatchEvent(new Event('change', {{bubbles: true}}))")

    def choose(self, field, text):
        """Type into a field that refers to a record, and choose the first that is offered."""
        selector = f".o_field_widget[name='{field}'] input"
        self.see(selector)
        self.js(f"__find({json.dumps(selector)}).focus(); __find({json.dumps(selector)}).click()")
        self.type(text)
        offered = ".o-autocomplete--dropdown-item, .ui-menu-item"
        # The web client waits a quarter of a second for more to be typed, then looks and offers it again,
        # even if something has been chosen by then.
        time.sleep(0.5)
        self.rest()
        self.click(offered, text)
        self.wait(f"!__find({json.dumps(offered)})", "the offers are closed")

    def moment(self, field, moment):
        """Enter a moment, given as RFC 3339, as the language of the page writes it."""
        self.fill(
            field,
            self.js(
                "luxon.DateTime.fromISO(" + json.dumps(moment) + ").toFormat(odoo.loader.modules"
                ".get('@web/core/l10n/localization').localization.dateTimeFormat)"
            ),
        )
        self.key("Enter")

    def key(self, name):
        """Press a key of ``KEYS`` and let it go again; with a modifier, as ``Control+Enter``.

        Waits until the page has done it.
        """
        self.acts += 1
        *modifiers, name = name.split("+")
        code, typed = KEYS[name]
        key = {"key": typed if typed == " " else name, "code": name, "windowsVirtualKeyCode": code}
        key["modifiers"] = sum(MODIFIERS[modifier] for modifier in modifiers)
        typed = "" if modifiers else typed
        self.call("Input.dispatchKeyEvent", type="keyDown", **key, **({"text": typed} if typed else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **key)
        time.sleep(0.05)
        self.rest()

    def type(self, text):
        """Type where the cursor is."""
        self.acts += 1
        self.call("Input.insertText", text=text)

    def focused(self):
        """The name of the button or the field that has the focus, or else what stands on it."""
        return self.js("__name(document.activeElement)")

    def tab_to(self, name):
        """Press Tab until something has the focus.

        :raise LabError: it never has.
        """
        for _each in range(MOST_TABS):
            if self.focused() == name:
                return
            self.key("Tab")
        raise LabError(f"Tab does not come to {name}")

    def tab_through(self):
        """Press Tab until it begins again: the name of what had the focus, and whether one saw it there."""
        # A cursor that blinks, or a colour that fades, is no difference.
        self.js(f"document.head.insertAdjacentHTML('beforeend', {json.dumps(f'<style>{STILL}</style>')})")
        self.js("window.__had = new Set()")
        found = []
        while not self.js("__had.has(document.activeElement)") and len(found) < MOST_TABS:
            self.js("__had.add(window.__last = document.activeElement)")
            name, seen = self.focused(), self._part()
            self.key("Tab")
            found.append((name, seen != self._part()))
        return found

    def _part(self):
        """A picture of the element that had the focus, and of what is close around it."""
        clip = self.js(
            "(({x, y, width, height}) => ({x: x - 5, y: y - 5, width: width + 10, height: height + 10,"
            " scale: 1}))(__last.getBoundingClientRect())"
        )
        return self.call("Page.captureScreenshot", format="png", clip=clip)["data"]

    def attach(self, field, name, text):
        """Give a file of text to a field, as its button does."""
        self.acts += 1
        selector = json.dumps(f".o_field_widget[name='{field}'] input[type='file']")
        self.js(
            f"(() => {{ const files = new DataTransfer(); files.items.add(new File([{json.dumps(text)}],"
            f" {json.dumps(name)}, {{type: 'text/csv'}})); const input = document.querySelector({selector});"
            " input.files = files.files; input.dispatchEvent(new Event('change', {bubbles: true})); })()"
        )
        self.rest()

    def fetch(self, path):
        """What the server gives to whoever is logged in: bytes.

        :raise LabError: it does not say that all is well.
        """
        answer = self.js(
            f"fetch({json.dumps(path)}).then(async (answer) => [answer.status, [...new Uint8Array("
            "await answer.arrayBuffer())].map((byte) => String.fromCharCode(byte)).join('')])"
        )
        status, content = answer[0], answer[1].encode("latin-1")
        if status != HTTPStatus.OK:
            raise LabError(f"{path}: HTTP {status}: {content[:1000]}")
        return content

    def dismiss(self):
        """Close the notifications, as somebody does who has read them."""
        self.js("document.querySelectorAll('.o_notification_close').forEach((button) => button.click())")
        self.wait("!__find('.o_notification')", "no notification is left")

    def text(self, selector="body"):
        """What stands there."""
        return self.js(f"(document.querySelector({json.dumps(selector)}) || document.body).innerText") or ""

    def barriers(self, *selectors, borrowed=()):
        """What axe-core finds wrong inside these elements, by WCAG 2 A and AA: a list of sentences.

        :param borrowed: pairs of a rule, and the elements whose breaking it is Odoo's own doing.
        """
        self.js(AXE.read_text())
        found = self.js(
            f"axe.run({{include: {json.dumps([[selector] for selector in selectors])},"
            f" exclude: {json.dumps([[part] for part in ODOOS_OWN])}}},"
            " {runOnly: ['wcag2a', 'wcag2aa'], elementRef: true})"
            ".then((result) => result.violations.flatMap((violation) => violation.nodes"
            f".filter((node) => !{json.dumps(borrowed)}.some(([rule, part]) =>"
            " rule === violation.id && node.element.closest(part)))"
            ".map((node) => violation.id + ': ' + node.html + ' ' + node.failureSummary)))"
        )
        return found or []

    def picture(self, name):
        """Keep a screenshot. Gives its path."""
        shot = self.call("Page.captureScreenshot", format="png")
        path = self._folder / f"{next(self._pictures):02d}-{name}.png"
        path.write_bytes(base64.b64decode(shot["data"]))
        return path
