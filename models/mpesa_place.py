"""A manager sends from one database; in another one nothing is sent until an administrator confirms it."""

from odoo import _, fields, models
from odoo.exceptions import UserError

from . import const, place
from .inside import job_uuid
from .own_cursor import durably


class MpesaPlace(models.AbstractModel):
    _name = "g2p.mpesa.place.mixin"
    _description = "M-Pesa Payment Manager: From Which Database It Sends"

    mpesa_place = fields.Char("Database That Sends", readonly=True, copy=False, groups=const.ADMIN)
    mpesa_place_confirmed_at = fields.Datetime("Database Confirmed On", readonly=True, copy=False)
    mpesa_has_moved = fields.Boolean("In Another Database", compute="_compute_mpesa_has_moved")

    def init(self):
        """What was set up before this was kept sends from where it is updated."""
        result = super().init()
        if not self._abstract:
            self.env.cr.execute(f"SELECT id FROM {self._table} WHERE mpesa_place IS NULL")
            self.browse(row[0] for row in self.env.cr.fetchall())._mpesa_take_place()
        return result

    def _mpesa_take_place(self):
        """Keep for those that have none that they send from here. In this transaction."""
        if not self.ids:
            return
        self.env.cr.execute(
            f"UPDATE {self._table} SET mpesa_place = %s WHERE id IN ("
            # Somebody who prepares holds the row; then it is taken the next time.
            f"SELECT id FROM {self._table} WHERE id = ANY(%s) AND mpesa_place IS NULL"
            " FOR NO KEY UPDATE SKIP LOCKED)",
            [place.as_text(place.here(self.env.cr)), self.ids],
        )
        self.invalidate_recordset(["mpesa_place"])

    def _mpesa_moved(self):
        """What is another one than where this manager sent until now.

        :return: a list of names of ``place.PARTS``; empty where it is the same database.
        """
        self.ensure_one()
        self.env.cr.execute(f"SELECT mpesa_place FROM {self._table} WHERE id = %s", [self.id])
        row = self.env.cr.fetchone()
        if not row or not row[0]:
            self._mpesa_take_place()
            return []
        return place.differences(row[0], place.here(self.env.cr))

    def _compute_mpesa_has_moved(self):
        now = place.here(self.env.cr)
        for manager in self:
            manager.mpesa_has_moved = bool(place.differences(manager.sudo().mpesa_place, now))

    def _mpesa_require_same_place(self):
        """Before a person sends.

        :raise UserError: this is another database, and no administrator has confirmed it.
        """
        moved = durably(self.env, lambda own: self.with_env(own)._mpesa_moved())
        if moved:
            raise UserError(
                _(
                    "Nothing is sent, because this is not the database that %(name)s sent from until now."
                    " Another one: %(what)s. In a copy, and in what is restored from a backup, people who are"
                    " paid already may be ready to be paid. An administrator opens the payment manager, and"
                    " confirms there that this database sends from now on.",
                    name=self.sudo().name,
                    what=self._mpesa_place_words(moved),
                )
            )

    def _mpesa_place_words(self, names):
        words = {
            "uuid": _("Odoo's identifier of the database"),
            "name": _("the database's name"),
            "oid": _("the database's number at its server"),
            "system": _("the database server"),
            "timeline": _("the server's timeline"),
            "folder": _("the folder of the database server"),
        }
        return ", ".join(words[name] for name in names)

    def _mpesa_job_is_of_before(self):
        """Whether this runs in a job that was queued before an administrator confirmed this database."""
        job = self.env["queue.job"].sudo().search([("uuid", "=", job_uuid(self.env) or "")], limit=1)
        confirmed = self.mpesa_place_confirmed_at
        return bool(job and confirmed and job.date_created < confirmed)

    def _mpesa_stop_for_place(self, batches):
        """Leave these to somebody who clicks Send once it is confirmed. In this transaction."""
        batches._mpesa_note_stop(const.MOVED, "")
        batches._mpesa_want_no_more(stopped=True)
        batches.cycle_id._mpesa_unlock()

    def _mpesa_confirm_place(self, shown):
        """This database sends from now on; what was being sent waits for a click on Send.

        :param str shown: the place that the administrator has seen, as text.
        :raise UserError: it is yet another one by now.
        """
        self.ensure_one()
        if place.as_text(place.here(self.env.cr)) != shown:
            raise UserError(_("The database is another one since this was shown. Look at it again."))
        waiting = self.env["g2p.payment.batch"].sudo().search([("mpesa_wanted_by_id", "!=", False)])
        ours = waiting.filtered(lambda batch: batch.program_id == self.program_id).ids
        durably(self.env, lambda own: own["g2p.payment.batch"].browse(ours)._mpesa_want_no_more(stopped=True))
        self.sudo().write(
            {
                "mpesa_place": shown,
                "mpesa_place_confirmed_at": fields.Datetime.now(),
                "mpesa_hold_until": False,
                "mpesa_hold_reason": False,
            }
        )
        self._mpesa_tell_of_confirmation(
            _("Payments are sent from another database"),
            _(
                "%(person)s has confirmed that %(name)s sends from this database from now on. Compare"
                " the gateway's statement before payments are sent: what was paid since the backup is ready.",
                person=self.env.user.name,
                name=self.name,
            ),
        )

    def _mpesa_tell_of_confirmation(self, summary, note):
        """In the manager's chatter, and as an activity of the finance group where there is a batch."""
        self.sudo()._message_log(body=note, author_id=self.env.user.partner_id.id)
        batches = self.env["g2p.payment.batch"].sudo()
        batch = batches.search([("program_id", "=", self.program_id.id)], order="id desc", limit=1)
        if batch:
            batch._mpesa_call_finance_once(summary, note)
