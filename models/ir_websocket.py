from odoo import models
from odoo.exceptions import AccessError

from .live_pages import CHANNEL
from .payment import check_access


class IrWebsocket(models.AbstractModel):
    _inherit = "ir.websocket"

    def _build_bus_channel_list(self, channels):
        return super()._build_bus_channel_list(list(self._mpesa_allowed(channels)))

    def _mpesa_allowed(self, channels):
        """Let those hear of a batch or a cycle who may read it, and nobody else.

        :param channels: what a page asks for.
        :return: the same, with a record in place of the name of each of our channels.
        """
        for name in channels:
            match = CHANNEL.fullmatch(name) if isinstance(name, str) else None
            if match:
                yield from self._mpesa_readable(match[1], int(match[2]))
            else:
                yield name

    def _mpesa_readable(self, model, record_id):
        record = self.env[model].browse(record_id).exists()
        try:
            check_access(record, "read")
        except AccessError:
            return record.browse()
        return record
