"""What is open, by e-mail once a day; nothing where nothing is open."""

from odoo import _, api, fields, models

from . import const

MOST_BATCHES = 10


class MpesaDigest(models.AbstractModel):
    _name = "g2p.mpesa.digest.mixin"
    _description = "M-Pesa Payment Manager: Daily Summary"

    daily_digest = fields.Boolean(
        "Daily Summary by E-mail",
        default=True,
        help="Once a day, where something is open, the finance group gets an e-mail: payments in doubt,"
        " batches that stopped, and payments that cannot be sent, by reason; e.g. In doubt: 3, in all 7,500"
        " KSh.",
    )

    @api.model
    def _cron_mpesa_digest(self):
        """Scheduled, once a day: write an e-mail to each person of the finance group whom it concerns.

        :return: the e-mails, which Odoo's own scheduled job sends.
        """
        managers = self.sudo().search([("daily_digest", "=", True)])
        sections = [section for manager in managers if (section := manager._mpesa_open())]
        mails = self.env["mail.mail"].sudo()
        for user in self._mpesa_digest_people() if sections else ():
            own = [section for section in sections if section["company"] in (False, *user.company_ids.ids)]
            if own and user.email:
                mails += self.sudo().with_context(lang=user.lang)._mpesa_write_digest(user, own)
        return mails

    @api.model
    def _mpesa_digest_people(self):
        users = self.env["res.users"].sudo().search([("share", "=", False)], order="id")
        return users.filtered(lambda user: user.has_group(const.FINANCE))

    def _mpesa_open(self):
        """What is open of this manager's payments, or None.

        :return: a dict of ``manager``, ``company`` (an id or False), ``doubts`` (number, amount, oldest),
            ``stopped`` (batches) and ``held_back`` (from a reason to a number).
        """
        self.ensure_one()
        payments = self.env["g2p.payment"]
        own = [("mpesa_manager_id", "=", self.id)]
        count, amount, oldest = payments._read_group(
            [*own, ("mpesa_state", "=", const.DOUBT)],
            [],
            ["__count", "amount_issued:sum", "mpesa_sent_at:min"],
        )[0]
        held_back = payments._read_group(
            [*own, ("mpesa_state", "=", const.READY), ("mpesa_reason", "!=", False)],
            ["mpesa_reason"],
            ["__count"],
        )
        stopped = self.env["g2p.payment.batch"].search(
            [
                ("program_id", "=", self.program_id.id),
                ("mpesa_ready_count", ">", 0),
                ("mpesa_reason", "!=", False),
            ],
            limit=MOST_BATCHES,
        )
        if not (count or held_back or stopped):
            return None
        return {
            "manager": self,
            "company": self.program_id.company_id.id,
            "doubts": (count, amount or 0, oldest),
            "stopped": stopped,
            "held_back": dict(held_back),
        }

    def _mpesa_write_digest(self, user, sections):
        reasons = dict(self.env["g2p.payment"]._fields["mpesa_reason"]._description_selection(self.env))
        url = self.env["ir.config_parameter"].sudo().get_param("web.base.url")
        doubts = self.env.ref("g2p_payment_simple_mpesa.action_doubts")
        body = self.env["ir.qweb"]._render(
            "g2p_payment_simple_mpesa.digest",
            {
                "sections": sections,
                "reasons": reasons,
                "user": user,
                "url": url,
                "doubts_url": f"{url}/web#action={doubts.id}",
            },
        )
        company = user.company_id
        robot = self.env.ref("base.partner_root")
        return self.env["mail.mail"].create(
            {
                "subject": _("M-Pesa: what is open"),
                "body_html": body,
                "email_to": user.email_formatted,
                "email_from": company.email_formatted or robot.email_formatted,
                "auto_delete": True,
            }
        )
