"""The page of the addon and the two guides: what they link to and name is there."""

import re

import lxml.html

from odoo.tests import BaseCase, TransactionCase

from .common import ROOT

FOLDER = ROOT / "static" / "description"
SERVED = "/g2p_payment_simple_mpesa/static/description/"
GUIDES = ("program-manager.html", "finance-officer.html")


def page(name):
    return lxml.html.fromstring((FOLDER / name).read_text(encoding="utf-8"))


def links(document):
    """What a page refers to: its pictures and other pages."""
    return [link for _element, _attribute, link, _place in document.iterlinks()]


class TestLinks(BaseCase):
    def test_a_guide_opens_what_is_beside_it(self):
        """Also from the repository, without a server."""
        for name in GUIDES:
            for link in links(page(name)):
                self.assertTrue((FOLDER / link).is_file(), (name, link))

    def test_readme_leads_to_both_guides(self):
        readme = (ROOT / "README.md").read_text(encoding="utf-8")
        for name in GUIDES:
            self.assertIn(f"(static/description/{name})", readme)


class TestProduct(TransactionCase):
    def test_the_page_of_the_addon_in_apps(self):
        """Odoo gives pictures their place there, and leaves links to pages as they are."""
        module = self.env["ir.module.module"].search([("name", "=", "g2p_payment_simple_mpesa")])
        found = links(lxml.html.fromstring(str(module.description_html)))
        for link in found:
            self.assertTrue(link.startswith(SERVED), link)
            self.assertTrue((FOLDER / link.removeprefix(SERVED)).is_file(), link)
        self.assertLessEqual({f"{SERVED}{name}" for name in GUIDES}, set(found))

    def test_menus_that_a_guide_names_are_there(self):
        menus = self.env["ir.ui.menu"].with_context(**{"ir.ui.menu.full_list": True}).search([])
        there = {f"/{menu.complete_name}" for menu in menus}
        for name in GUIDES:
            paths = [text for text in page(name).xpath("//em/text()") if "→" in text]
            self.assertTrue(paths, name)
            for path in paths:
                path = re.sub(r" → New$", "", path).replace(" → ", "/")
                self.assertTrue(any(menu.endswith(f"/{path}") for menu in there), (name, path))
