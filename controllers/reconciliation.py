from werkzeug.exceptions import Forbidden, NotFound

from odoo.exceptions import AccessError
from odoo.http import Controller, content_disposition, request, route

TYPES = {
    "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}


class ReconciliationController(Controller):
    @route("/g2p_mpesa/reconciliation/<int:cycle_id>/<string:ending>", auth="user", methods=["GET"])
    def reconciliation(self, cycle_id, ending):
        """The payments of a cycle as a file, sent as it is made: memory does not grow with their number.

        :param str ending: ``csv`` or ``xlsx``.
        """
        cycle = request.env["g2p.cycle"].search([("id", "=", cycle_id)])
        if ending not in TYPES or not cycle:
            raise NotFound()
        try:
            export = cycle._mpesa_reconciliation()
        except AccessError as error:
            raise Forbidden(str(error)) from None
        return self._file(export, cycle._mpesa_file_name(ending), ending)

    @route("/g2p_mpesa/held/<int:wizard_id>/csv", auth="user", methods=["GET"])
    def held(self, wizard_id):
        """Who cannot be paid, and why, of one's own dialogue of Send, as a CSV file."""
        try:
            wizard = request.env["g2p.payment.mpesa.send.wizard"].search([("id", "=", wizard_id)])
            export = wizard._held_back() if wizard else None
        except AccessError as error:
            raise Forbidden(str(error)) from None
        if not export:
            raise NotFound()
        return self._file(export, wizard._held_file_name("csv"), "csv")

    def _file(self, export, name, ending):
        headers = [
            ("Content-Type", TYPES[ending]),
            ("Content-Disposition", content_disposition(name)),
            ("X-Content-Type-Options", "nosniff"),
            ("Cache-Control", "no-store"),
        ]
        return request.make_response(getattr(export, ending)(), headers)
