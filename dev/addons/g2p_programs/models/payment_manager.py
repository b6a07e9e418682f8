from uuid import uuid4

from odoo import api, fields, models
from odoo.exceptions import ValidationError
from odoo.fields import Command

from odoo.addons.queue_job.delay import group


class BasePaymentManager(models.AbstractModel):
    _name = "g2p.base.program.payment.manager"
    _description = "Base Payment Manager"
    _inherit = ["base.programs.manager"]

    name = fields.Char("Manager Name", required=True)
    program_id = fields.Many2one("g2p.program", required=True)

    def prepare_payments(self, cycle, entitlements=None):
        """Issue payments for the approved entitlements of a cycle."""
        raise NotImplementedError()

    def send_payments(self, batches):
        """Send the payments of some batches to whoever pays them out."""
        raise NotImplementedError()

    def validate_accounts(self, entitlements):
        """Check the accounts of the payees; nobody calls it."""
        raise NotImplementedError()

    def mark_job_as_done(self, cycle, msg):
        """Unlock the cycle after its queue jobs, and say so in its chatter."""
        self.ensure_one()
        cycle.write({"locked": False, "locked_reason": None})
        cycle.message_post(body=msg)


class PaymentManager(models.Model):
    _name = "g2p.program.payment.manager"
    _description = "Payment Manager"
    _inherit = "g2p.manager.mixin"

    program_id = fields.Many2one("g2p.program", ondelete="cascade")

    @api.model
    def _selection_manager_ref_id(self):
        return [*super()._selection_manager_ref_id(), ("g2p.program.payment.manager.default", "Default")]


class DefaultPaymentManager(models.Model):
    _name = "g2p.program.payment.manager.default"
    _description = "Default Payment Manager"
    _inherit = ["g2p.base.program.payment.manager", "g2p.manager.source.mixin"]

    MAX_PAYMENTS_FOR_SYNC_PREPARE = 200
    MAX_BATCHES_FOR_SYNC_SEND = 50

    currency_id = fields.Many2one("res.currency", related="program_id.journal_id.currency_id")
    create_batch = fields.Boolean("Automatically Create Batch")
    batch_tag_ids = fields.Many2many(
        "g2p.payment.batch.tag",
        "g2p_pay_batch_tag_pay_manager_def",
        string="Batch Tags",
        ondelete="cascade",
    )

    @api.onchange("create_batch")
    def on_change_create_batch(self):
        """Link the program's own tag when batches are wanted, clear the tags when not."""
        for manager in self:
            manager.batch_tag_ids = manager._find_or_create_default_tag() if manager.create_batch else False

    def _find_or_create_default_tag(self):
        tags = self.env["g2p.payment.batch.tag"].sudo()
        name = f"Default {self.program_id.name}"
        domain = [("name", "=", name), ("order", "=", 1), ("max_batch_size", "=", 500)]
        return tags.search(domain, limit=1) or tags.create({"name": name, "order": 1})

    @api.constrains("create_batch", "batch_tag_ids")
    def constrains_batch_tag_ids(self):
        """Ask for a last tag that takes whatever the others leave over."""
        for manager in self.filtered("create_batch"):
            if not manager.batch_tag_ids:
                raise ValidationError(self.env._("Batch Tags list cannot be empty."))
            last = manager.batch_tag_ids.sorted("order")[-1]
            if last.domain != "[]":
                raise ValidationError(self.env._("The last of the Batch Tags must have the domain []."))

    # Prepare

    def prepare_payments(self, cycle, entitlements=None):
        """Issue payments for approved entitlements: now if they are few, else in a queue job.

        :param cycle: the `g2p.cycle` to pay
        :param entitlements: some of its entitlements; all of them by default
        :return: a client action that shows a notification
        """
        entitlements = cycle.entitlement_ids if entitlements is None else entitlements
        entitlements = entitlements.filtered(lambda entitlement: entitlement.state == "approved")
        if not entitlements:
            return self._notify("danger", self.env._("All entitlements selected are not approved!"))
        if len(entitlements) >= self.MAX_PAYMENTS_FOR_SYNC_PREPARE:
            self._prepare_payments_async(cycle, entitlements, len(entitlements))
            return self._notify("success", self.env._("Preparing Payments Asynchronously."))
        payments, _batches = self._prepare_payments(cycle, entitlements)
        if not payments:
            return self._notify("danger", self.env._("There are no new payments issued!"))
        return self._notify("success", self.env._("%s new payments were issued.", len(payments)))

    def _prepare_payments(self, cycle, entitlements):
        """Issue one payment for each entitlement that has none, and put them in batches by tag and size.

        One payment at a time, and with no tag none at all: as in OpenG2P.

        :return: (payments or None, batches or None)
        """
        payments, batches = self.env["g2p.payment"], self.env["g2p.payment.batch"]
        remaining = entitlements.filtered(
            lambda entitlement: all(payment.status == "failed" for payment in entitlement.payment_ids)
        )
        for tag in self.batch_tag_ids.sorted("order"):
            domain = self._safe_eval(tag.domain)
            chosen = remaining & self.env["g2p.entitlement"].search(domain)
            remaining -= chosen
            batch = self.env["g2p.payment.batch"]
            for index, entitlement in enumerate(chosen):
                payment = self._issue_payment(entitlement)
                payments |= payment
                if self.create_batch:
                    if index % tag.max_batch_size == 0:
                        batch = self._open_batch(cycle, tag)
                        batches |= batch
                    batch.payment_ids = [Command.link(payment.id)]
                    payment.batch_id = batch
        return payments or None, batches or None

    def _issue_payment(self, entitlement):
        payment = self.env["g2p.payment"].create(
            {
                "name": str(uuid4()),
                "entitlement_id": entitlement.id,
                "cycle_id": entitlement.cycle_id.id,
                "amount_issued": entitlement.initial_amount,
                "payment_fee": entitlement.transfer_fee,
                "state": "issued",
            }
        )
        payment.account_number = entitlement.partner_id.bank_ids[:1].acc_number or None
        return payment

    def _open_batch(self, cycle, tag):
        return self.env["g2p.payment.batch"].create(
            {
                "name": str(uuid4()),
                "cycle_id": cycle.id,
                "tag_id": tag.id,
                "stats_datetime": fields.Datetime.now(),
            }
        )

    def _prepare_payments_async(self, cycle, entitlements, entitlements_count):
        reason = self.env._("Prepare payments for %s entitlements.", entitlements_count)
        self._lock(cycle, reason)
        self._enqueue(
            self.delayable()._prepare_payments(cycle, entitlements),
            cycle,
            self.env._("Prepare Payments Completed."),
        )
        return self._notify("warning", reason)

    # Send

    def send_payments(self, batches):
        """Send batches: now if there are few, else in a queue job for each cycle.

        :return: a client action that shows a notification, or None
        """
        if len(batches) < self.MAX_BATCHES_FOR_SYNC_SEND:
            return self._send_payments(batches)
        for cycle, cycle_batches in zip(*self._group_batches_by_cycle(batches), strict=True):
            self._send_payments_async(cycle, cycle_batches)
        return self._notify("warning", self.env._("Send payments of %s batches started.", len(batches)))

    def _send_payments(self, batches):
        """Send nothing: the default manager knows nobody who pays out."""
        if not batches:
            return self._notify("warning", self.env._("No payment batches to process."))
        return None

    def _send_payments_async(self, cycle, batches):
        self._lock(cycle, self.env._("Send payments of %s batches.", len(batches)))
        self._enqueue(
            self.delayable()._send_payments(batches),
            cycle,
            self.env._("Send Payments Completed."),
        )

    def _group_batches_by_cycle(self, batches):
        """Give the cycles of some batches, and in the same order the batches of each."""
        cycles = set(batches.mapped("cycle_id"))
        return cycles, [batches.filtered(lambda batch, c=cycle: batch.cycle_id == c) for cycle in cycles]

    # Both

    def _lock(self, cycle, reason):
        cycle.message_post(body=reason)
        cycle.write({"locked": True, "locked_reason": reason})

    def _enqueue(self, job, cycle, message):
        # One job for all, which nothing divides; a second click makes a second one.
        group(job).on_done(self.delayable().mark_job_as_done(cycle, message)).delay()

    def _notify(self, kind, message):
        return {
            "type": "ir.actions.client",
            "tag": "display_notification",
            "params": {
                "title": self.env._("Payment"),
                "message": message,
                "type": kind,
                "sticky": False,
                "next": {"type": "ir.actions.act_window_close"},
            },
        }
