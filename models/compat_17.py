"""Odoo 17.0 reads this addon's data files, written for 19.0. To be deleted when 17.0 goes."""

from lxml import etree

from odoo import models, release

MODULE = "g2p_payment_simple_mpesa."
CHATTER = """
<div class="oe_chatter">
    <field name="message_follower_ids"/>
    <field name="activity_ids"/>
    <field name="message_ids"/>
</div>
"""

if release.version_info[0] < 18:

    def _own(data_list):
        return [data for data in data_list if (data.get("xml_id") or "").startswith(MODULE)]

    def _arch_17(arch):
        root = etree.fromstring(arch)
        for node in root.iter("list"):
            node.tag = "tree"
        for node in list(root.iter("chatter")):
            node.getparent().replace(node, etree.fromstring(CHATTER))
        return etree.tostring(root, encoding="unicode")

    class View(models.Model):
        _inherit = "ir.ui.view"

        def _load_records(self, data_list, update=False):
            for data in _own(data_list):
                if data["values"].get("arch"):
                    data["values"]["arch"] = _arch_17(data["values"]["arch"])
            return super()._load_records(data_list, update)

    class Cron(models.Model):
        _inherit = "ir.cron"

        def _load_records(self, data_list, update=False):
            for data in _own(data_list):
                data["values"]["numbercall"] = -1
            return super()._load_records(data_list, update)
