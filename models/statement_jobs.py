"""A long statement is read by jobs, one after the other, so that no request of a person is killed over it."""

from itertools import islice

from odoo import _, models
from odoo.exceptions import UserError

from ..statement import sheet
from .inside import delayed

# A request reads at most so many lines; a job as many, and leaves the rest to another.
MOST_IN_REQUEST = 20_000
A_JOB = 20_000


class Statement(models.Model):
    _inherit = "g2p.payment.mpesa.statement"

    def action_look_again(self):
        """The page shows how far the jobs are: it reads the record anew after a button."""
        return True

    def action_begin_again(self):
        """Where a job failed, or the columns were wrong: as before it was compared.

        :raise UserError: a job is reading it.
        """
        self.ensure_one()
        if self.state != "reading":
            return
        if self._jobs_alive():
            raise UserError(_("This statement is still being read. Wait until that has ended."))
        own = self.sudo()
        own._drop_lines()
        own.write({"state": "draft", "line_count": 0})

    def _is_long(self):
        rows = sheet.table(self._content(), self.delimiter)
        return next(islice(rows, MOST_IN_REQUEST, None), None) is not None

    def _read_by_jobs(self):
        self._drop_lines()
        self.write({"state": "reading", "line_count": 0})
        self._queue_reading(0)

    def _queue_reading(self, start):
        job = delayed(
            self,
            identity_key=f"mpesa-statement-{self.id}-{start}",
            description=_("Compare the statement %s", self.name),
        )
        job._read_job(start)

    def _jobs_alive(self):
        alive = ("wait_dependencies", "pending", "enqueued", "started")
        keys = ("identity_key", "=like", f"mpesa-statement-{self.id}-%")
        return self.env["queue.job"].sudo().search_count([("state", "in", alive), keys])

    def _read_job(self, start):
        """Queue job: read the next lines, and leave the rest to another job; the last one compares.

        What it reads, and the other job, are there together or not at all.

        :param int start: how many lines were read by then.
        """
        own = self.sudo()
        # Begun again meanwhile, or read already.
        if own.state != "reading" or own.line_count != start:
            return
        count = own._insert_all(islice(own._rows(), start, start + A_JOB))
        own.line_count = start + count
        if count == A_JOB:
            own._queue_reading(start + count)
            return
        own._conclude()
        own._tell_result()

    def _tell_result(self):
        """On the screen of whoever compares it, if there is one open now."""
        kind = "success" if not (self.twice_count or self.open_count) else "warning"
        values = {"title": self.name, "message": self._result_sentence(), "type": kind, "sticky": True}
        self.env["bus.bus"]._sendone(self.env.user.partner_id, "simple_notification", values)
