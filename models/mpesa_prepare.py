from uuid import uuid4

from odoo import _, fields, models
from odoo.tools import split_every

from .payment import NOT_FAILED

DEFAULT_BATCH_SIZE = 500
CHUNK = 1000


class MpesaPrepare(models.AbstractModel):
    """From approved entitlements to payments in batches."""

    _name = "g2p.mpesa.prepare.mixin"
    _description = "M-Pesa Payment Manager: Prepare"

    def prepare_payments(self, cycle, entitlements=None):
        action = super().prepare_payments(cycle, entitlements)
        if not self.create_batch and action["params"]["type"] == "success":
            action["params"]["message"] += " " + _(
                "They are in no batch, and are not sent until they are assigned to one."
            )
            action["params"]["sticky"] = True
        return action

    def _prepare_payments(self, cycle, entitlements):
        """One payment for each approved entitlement that has no open one, in batches by tag and size.

        :param cycle: a ``g2p.cycle``.
        :param entitlements: ``g2p.entitlement`` records of it.
        :return: payments and batches, each None where there are none.
        """
        self.ensure_one()
        self._come_first_or_second()
        payments, batches = self.env["g2p.payment"], self.env["g2p.payment.batch"]
        for tag, unpaid in self._by_tag(self._without_open_payment(entitlements)):
            size = max(tag.max_batch_size, 0) or DEFAULT_BATCH_SIZE
            for ids in split_every(size if self.create_batch else CHUNK, unpaid.ids):
                batch = self._create_batch(cycle, tag) if self.create_batch else batches.browse()
                created = self._create_payments(unpaid.browse(ids), batch)
                batch._mpesa_refresh_figures()
                payments += created
                batches += batch
        return payments or None, batches or None

    def _come_first_or_second(self):
        """Of two who prepare at once, Odoo repeats the second from the start: it then sees the first's."""
        self.env.cr.execute(
            "UPDATE g2p_program_payment_manager_mpesa SET prepare_count = coalesce(prepare_count, 0) + 1"
            " WHERE id = %s",
            [self.id],
        )

    def _without_open_payment(self, entitlements):
        """Approved entitlements with no payment, of whatever manager, but failed ones.

        And none whose failed payment the gateway has taken after all.
        """
        approved = entitlements.filtered(lambda entitlement: entitlement.state == "approved")
        domain = [("entitlement_id", "in", approved.ids), *NOT_FAILED]
        groups = self.env["g2p.payment"].sudo()._read_group(domain, ["entitlement_id"])
        paid = {entitlement.id for (entitlement,) in groups}
        taken = [
            ("payment_id.entitlement_id", "in", approved.ids),
            ("outcome", "in", ("taken", "completed")),
            ("payment_id.mpesa_reason", "=", "settled_not_paid"),
        ]
        paid.update(self.env["g2p.payment.mpesa.attempt"].sudo().search(taken).payment_id.entitlement_id.ids)
        return approved.filtered(lambda entitlement: entitlement.id not in paid)

    def _by_tag(self, entitlements):
        """Pairs of a batch tag (the last one empty) and the entitlements that are its own."""
        no_tag = self.env["g2p.payment.batch.tag"]
        for tag in self.batch_tag_ids.sorted("order") if self.create_batch else no_tag:
            domain = [("id", "in", entitlements.ids), *self._safe_eval(tag.domain or "[]")]
            matching = entitlements.search(domain) if entitlements else entitlements
            entitlements -= matching
            yield tag, matching
        # Nobody is left out because no tag fits, or there are no tags.
        yield no_tag, entitlements

    def _batch_name(self, cycle, tag, number):
        """What people call a batch: ``Cycle 1 / Everybody / 3``.

        :param cycle: a ``g2p.cycle``.
        :param tag: a ``g2p.payment.batch.tag``, or none.
        :param int number: which batch of the cycle this is, from 1.
        """
        return " / ".join(filter(None, (cycle.name, tag.name, str(number))))

    def _next_batch_number(self, cycle):
        """The number of the cycle's next batch; that of a batch that was deleted may come again."""
        self.env["g2p.payment.batch"].flush_model(["name", "cycle_id"])
        self.env.cr.execute(
            "SELECT coalesce(max(substring(name FROM ' / ([0-9]{1,9})$')::int), 0) + 1"
            " FROM g2p_payment_batch WHERE cycle_id = %s",
            [cycle.id],
        )
        return self.env.cr.fetchone()[0]

    def _create_batch(self, cycle, tag):
        return self.env["g2p.payment.batch"].create(
            {
                "name": self._batch_name(cycle, tag, self._next_batch_number(cycle)),
                # Other systems know it by this.
                "external_batch_ref": str(uuid4()),
                "cycle_id": cycle.id,
                "tag_id": tag.id,
                "stats_datetime": fields.Datetime.now(),
            }
        )

    def _create_payments(self, entitlements, batch):
        payments = (
            self.env["g2p.payment"]
            .with_context(mpesa_preparing=self.id)
            .create([self._payment_vals(entitlement, batch) for entitlement in entitlements])
        )
        if batch:
            batch.payment_ids = [fields.Command.set(payments.ids)]
        return payments.with_env(self.env)

    def _payment_vals(self, entitlement, batch):
        return {
            "name": str(uuid4()),
            "entitlement_id": entitlement.id,
            "cycle_id": entitlement.cycle_id.id,
            "batch_id": batch.id,
            "amount_issued": entitlement.initial_amount,
            "payment_fee": entitlement.transfer_fee,
            "state": "issued",
        }

    # A person without an e-mail address can prepare and send: what is noted needs no address.

    def _prepare_payments_async(self, cycle, entitlements, entitlements_count):
        cycle._message_log(body=_("Preparing payments for %s entitlements.", entitlements_count))
        cycle._mpesa_lock(_("Payments are being prepared."))
        key = f"mpesa-prepare-{cycle.id}"
        self.with_delay(identity_key=key, description=_("Prepare payments of %s", cycle.name))._prepare_job(
            cycle, entitlements
        )

    def _prepare_job(self, cycle, entitlements):
        """Queue job: prepare, say so on the cycle, and free it."""
        payments, _batches = self._prepare_payments(cycle, entitlements)
        self.mark_job_as_done(cycle, _("%s payments are prepared.", len(payments or ())))

    def mark_job_as_done(self, cycle, msg):
        cycle.sudo().write({"locked": False, "locked_reason": False, "mpesa_locked": False})
        cycle._message_log(body=msg)
