import itertools
from uuid import uuid4

from odoo import _, fields, models
from odoo.tools import split_every

from . import statement_facts
from .bulk_create import BulkCreate
from .inside import Preparing, delayed, in_job
from .mpesa_payee import registry_text
from .notify import notification
from .payment import check_access

TAG = "g2p.payment.batch.tag"
DEFAULT_BATCH_SIZE = 500
# Payments of one statement, of one job, and of one call of the ORM where it is needed.
CHUNK = 5000
JOB = 20000
ORM_CHUNK = 1000
# Where a preparation begins.
START = {"tag": 0, "after": 0, "batch": 0, "room": 0}


class MpesaPrepare(models.AbstractModel):
    """From approved entitlements to payments in batches."""

    _name = "g2p.mpesa.prepare.mixin"
    _description = "M-Pesa Payment Manager: Prepare"

    # Up to so many are prepared in the request; OpenG2P's own name for it.
    MAX_PAYMENTS_FOR_SYNC_PREPARE = 2000

    def prepare_payments(self, cycle, entitlements=None):
        """Prepare payments for what is approved and has none: at once, or by jobs where there are many.

        :param cycle: a ``g2p.cycle``.
        :param entitlements: only these of it; None for all.
        :return: a client action that shows a notification.
        :raise AccessError: the user may not make payments, or not for this program.
        """
        self.ensure_one()
        check_access(self, "read")
        # Now, and not by a job, which would fail where nobody sees it.
        check_access(self.env["g2p.payment"], "create")
        cycle.sudo().program_id.with_env(self.env)._mpesa_check_access()
        if self._alive_jobs([("identity_key", "=like", f"mpesa-prepare-{cycle.id}-%")]):
            return notification("info", _("The payments of this cycle are being prepared already."))
        if cycle.state == "cancelled" or cycle.sudo().program_id.state == "ended":
            return notification("danger", _("The cycle is cancelled, or the program has ended."))
        chosen = entitlements.ids if entitlements else None
        if not self.env["g2p.entitlement"].search_count(self._approved(cycle, chosen), limit=1):
            return notification("danger", _("None of these entitlements is approved."))
        count = self._count_unpaid(cycle, chosen)
        others = self._mpesa_words_of_others(cycle.ids)
        if not count:
            words = _("All approved entitlements have a payment already.")
            return notification("danger", f"{words} {others}".strip())
        if count >= self.MAX_PAYMENTS_FOR_SYNC_PREPARE:
            chosen = entitlements or self.env["g2p.entitlement"]
            self._prepare_payments_async(cycle, chosen, count)
            return notification("success", _("%s payments are being prepared, in the background.", count))
        payments, batches = self._prepare_chunks(cycle, chosen)
        action = self._tell_prepared(payments, batches)
        if others:
            action["params"].update(message=f"{action['params']['message']} {others}", sticky=True)
        return action

    def _mpesa_words_of_others(self, cycle_ids, batch_ids=None):
        """Sentences about payments that are to be paid, and not by this manager; "" where there are none.

        A manager that the program had before, of ours or not, keeps what it has prepared.

        :param list batch_ids: only of these batches; None for all of the cycles.
        """
        self.env.cr.execute(
            "SELECT other.name, count(*) FROM g2p_payment p"
            "  LEFT JOIN g2p_program_payment_manager_mpesa other ON other.id = p.mpesa_manager_id"
            " WHERE p.cycle_id = ANY(%s) AND (%s::int4[] IS NULL OR p.batch_id = ANY(%s))"
            "   AND p.mpesa_manager_id IS DISTINCT FROM %s AND p.state = 'issued' AND p.status IS NULL"
            " GROUP BY other.name ORDER BY other.name",
            [cycle_ids, batch_ids, batch_ids, self.id],
        )
        return " ".join(self._words_of_other(name, count) for name, count in self.env.cr.fetchall())

    def _words_of_other(self, name, count):
        if name:
            return _(
                "Payments of the manager %(name)s, which it alone sends: %(count)s. Send each by its own"
                " button, or have it written off and prepare again.",
                count=count,
                name=name,
            )
        return _(
            "Payments that another kind of payment manager has prepared, and that M-Pesa does not pay: %s."
            " Have them paid by that one, or delete them and prepare again.",
            count,
        )

    def _tell_prepared(self, payments, batches):
        message = self._mpesa_prepared(len(payments))
        if self.create_batch:
            message += " " + _("Batches: %s.", len(batches))
            return notification("success", message)
        message += " " + _("They are in no batch, and are not sent until they are assigned to one.")
        action = notification("success", message)
        action["params"]["sticky"] = True
        return action

    def _mpesa_prepared(self, count):
        return _("One payment is prepared.") if count == 1 else _("%s payments are prepared.", count)

    def _prepare_payments(self, cycle, entitlements):
        """One payment for each approved entitlement that has no open one, in batches by tag and size.

        :param cycle: a ``g2p.cycle``.
        :param entitlements: ``g2p.entitlement`` records of it.
        :return: payments and batches, each None where there are none.
        """
        self.ensure_one()
        payments, batches = self._prepare_chunks(cycle, entitlements.ids)
        return payments or None, batches or None

    def _prepare_chunks(self, cycle, chosen=None):
        payments, batches = self.env["g2p.payment"], self.env["g2p.payment.batch"]
        place = START
        while place:
            made, of_them, place = self._prepare_chunk(cycle, place, chosen)
            payments, batches = payments.union(made), batches.union(of_them)
        return payments, batches

    def _prepare_chunk(self, cycle, place, chosen=None):
        """Prepare the next payments of a cycle, in this transaction.

        :param dict place: where to go on from: ``tag`` (which of the tags), ``after`` (an entitlement's id),
            ``batch`` and ``room`` (a batch that is not full, and how many more it takes). ``START`` at first.
        :param chosen: ids of entitlements; None for all of the cycle.
        :return: the payments, their batches, and the next place, None at the end.
        """
        self._come_first_or_second()
        self.env.flush_all()
        place = dict(place)
        tags = [*(self.batch_tag_ids.sorted("order") if self.create_batch else ()), self.env[TAG]]
        tag = tags[place["tag"]]
        rows = self._unpaid(cycle, chosen, tag, place["after"])
        batches = self._fill_batches(cycle, tag, rows, place)
        payments = self._create_payments(rows)
        batches._mpesa_refresh_figures()
        return payments, batches, self._next_place(place, tags, rows)

    def _next_place(self, place, tags, rows):
        if len(rows) == CHUNK:
            return {**place, "after": rows[-1]["entitlement_id"]}
        # Nobody is left out because no tag fits, or there are no tags: the last one is none.
        return {**START, "tag": place["tag"] + 1} if place["tag"] + 1 < len(tags) else None

    def _come_first_or_second(self):
        """Of two who prepare at once, Odoo repeats the second from the start: it then sees the first's."""
        self.env.cr.execute(
            "UPDATE g2p_program_payment_manager_mpesa SET prepare_count = coalesce(prepare_count, 0) + 1"
            " WHERE id = %s",
            [self.id],
        )

    def _approved(self, cycle, chosen):
        """A domain: the approved entitlements of a cycle, or those of them that are chosen."""
        domain = [("cycle_id", "=", cycle.id), ("state", "=", "approved")]
        return domain if chosen is None else [*domain, ("id", "in", chosen)]

    def _unpaid_query(self, domain, **options):
        """The query of entitlements that have no payment, of whatever manager, but failed ones.

        And none whose failed payment the gateway has taken after all, by its answer or by a statement; nor
        one that was written off, unless somebody of finance allows it.
        """
        query = self.env["g2p.entitlement"]._search(domain, **options)
        query.add_where(
            "NOT EXISTS (SELECT 1 FROM g2p_payment p WHERE p.entitlement_id = g2p_entitlement.id"
            " AND (p.status IS DISTINCT FROM 'failed'"
            "   OR p.mpesa_reason = 'written_off' AND p.mpesa_allowed_again IS NOT true"
            "   OR p.mpesa_reason = 'settled_not_paid' AND EXISTS ("
            "     SELECT 1 FROM g2p_payment_mpesa_attempt a"
            "      WHERE a.payment_id = p.id AND a.outcome IN ('taken', 'completed')"
            # Only what was recorded after the decision: whoever decided knew what was there before.
            "        AND a.id > coalesce((SELECT max(d.id) FROM g2p_payment_mpesa_attempt d"
            "            WHERE d.payment_id = p.id AND d.outcome = 'not_paid'), 0))"
            f"   OR {statement_facts.shown_as_paid('p')} OR {statement_facts.not_understood('p')}))"
        )
        return query

    def _count_unpaid(self, cycle, chosen):
        self.env.flush_all()
        self.env.cr.execute(self._unpaid_query(self._approved(cycle, chosen)).select("count(*)"))
        return self.env.cr.fetchone()[0]

    def _unpaid(self, cycle, chosen, tag, after_id):
        """The next entitlements of a tag that are to be paid, as dicts, in the order of their ids.

        Only those of the cycle are read, whatever the tag's own domain says.
        """
        domain = [
            *self._approved(cycle, chosen),
            ("id", ">", after_id),
            *self._safe_eval(tag.domain or "[]"),
        ]
        names = ("id AS entitlement_id", "partner_id", "initial_amount", "transfer_fee", "journal_id")
        query = self._unpaid_query(domain, order="id", limit=CHUNK)
        self.env.cr.execute(query.select(*(f"g2p_entitlement.{name}" for name in names)))
        return self.env.cr.dictfetchall()

    def _fill_batches(self, cycle, tag, rows, place):
        """Give each of ``rows`` its batch, the last one of the chunk before first if it has room.

        :return: the batches; ``place`` says what room the last one has.
        """
        batches = self.env["g2p.payment.batch"]
        if not self.create_batch:
            return batches
        size = max(tag.max_batch_size, 0) or DEFAULT_BATCH_SIZE
        batch = batches.browse(place["batch"]).exists()
        room = place["room"] if batch and not batch.batch_has_started else 0
        numbers = itertools.count(self._next_batch_number(cycle))
        for row in rows:
            if not room:
                batch, room = self._create_batch(cycle, tag, next(numbers)), size
            row["batch_id"] = batch.id
            batches |= batch
            room -= 1
        place.update(batch=batch.id or 0, room=room)
        return batches

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

    def _create_batch(self, cycle, tag, number):
        batch = self.env["g2p.payment.batch"].create(
            {
                "name": self._batch_name(cycle, tag, number),
                # Other systems know it by this.
                "external_batch_ref": str(uuid4()),
                "cycle_id": cycle.id,
                "tag_id": tag.id,
                "stats_datetime": fields.Datetime.now(),
            }
        )
        batch._mpesa_happened("prepared")
        return batch

    def _create_payments(self, rows):
        """Payments for entitlements, as :meth:`_unpaid` gives them, with the ``batch_id`` of each."""
        if not rows:
            return self.env["g2p.payment"]
        context = {name: value for name, value in self.env.context.items() if not name.startswith("default_")}
        bulk = BulkCreate(self.with_env(self.env(context=context)))
        journal = self.program_id.journal_id.id
        if not bulk.is_same or any(row["journal_id"] != journal for row in rows):
            return self._create_payments_by_orm(rows)
        payees = self._mpesa_payees_or_why(self.env["res.partner"].browse(row["partner_id"] for row in rows))
        for row in rows:
            payee = payees.get(row["partner_id"])
            row["account_number"] = payee or None
            row["mpesa_payee_text"] = registry_text(payee)
            row["mpesa_reason"] = self._mpesa_problem(
                row["initial_amount"], payee, currency_id=self.program_currency_id.id
            )
        return bulk.insert(rows).with_env(self.env)

    def _create_payments_by_orm(self, rows):
        made = self.env["g2p.payment"].with_context(mpesa_preparing=Preparing(self.id))
        ids = [row["entitlement_id"] for row in rows]
        batch_of = {row["entitlement_id"]: row.get("batch_id") for row in rows}
        for some in split_every(ORM_CHUNK, ids):
            entitlements = self.env["g2p.entitlement"].browse(some)
            made |= made.create([self._payment_vals(e, batch_of[e.id]) for e in entitlements])
        for batch in made.batch_id:
            batch.payment_ids = [
                fields.Command.link(payment.id) for payment in made if payment.batch_id == batch
            ]
        return made.with_env(self.env)

    def _payment_vals(self, entitlement, batch_id):
        return {
            "name": str(uuid4()),
            "entitlement_id": entitlement.id,
            "cycle_id": entitlement.cycle_id.id,
            "batch_id": batch_id or False,
            "amount_issued": entitlement.initial_amount,
            "payment_fee": entitlement.transfer_fee,
            "state": "issued",
        }

    # A person without an e-mail address can prepare and send: what is noted needs no address.

    def _prepare_payments_async(self, cycle, entitlements, entitlements_count):
        cycle._message_log(body=_("Preparing payments for %s entitlements.", entitlements_count))
        cycle._mpesa_lock(_("Payments are being prepared."))
        self._queue_prepare(cycle, entitlements, START, 0)

    def _queue_prepare(self, cycle, entitlements, place, made):
        key = f"mpesa-prepare-{cycle.id}-{place['tag']}-{place['after']}"
        job = delayed(self, identity_key=key, description=_("Prepare payments of %s", cycle.name))
        job._prepare_job(cycle, entitlements, place, made)

    def _prepare_job(self, cycle, entitlements, place=None, made=0):
        """Queue job: prepare the next payments of a cycle, and leave the rest to another job.

        What it makes, and the other job, are there together or not at all.

        :param entitlements: only these of the cycle; none for all.
        :param dict place: where the job before has ended.
        :param int made: how many are prepared by then.
        """
        self = in_job(self)
        cycle = cycle.with_env(self.env)
        place, ends = place or START, made + JOB
        while place and made < ends:
            payments, _batches, place = self._prepare_chunk(cycle, place, entitlements.ids or None)
            made += len(payments)
            # The cache grows with each.
            self.env.flush_all()
            self.env.invalidate_all()
        if place:
            self._queue_prepare(cycle, entitlements, place, made)
        else:
            self.mark_job_as_done(cycle, self._mpesa_prepared(made))

    def mark_job_as_done(self, cycle, msg):
        # With the job's context, which says whose job is not to be waited for.
        cycle.with_env(self.env).sudo()._mpesa_unlock()
        cycle._message_log(body=msg)
