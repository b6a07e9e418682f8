"""What Odoo calls when the addon goes."""

MANAGER = "g2p.program.payment.manager.mpesa"
STATEMENT = "g2p.payment.mpesa.statement"


def uninstall_hook(env):
    """Refuse for the last time, and take along what Odoo would leave behind.

    A payment may have been sent since the button was clicked, so no more can be claimed from here on. An
    error makes Odoo roll back and leave the module installed.

    :raise UserError: a payment is sending, accepted or in doubt.
    """
    env.cr.execute("LOCK TABLE g2p_payment IN SHARE ROW EXCLUSIVE MODE")
    env["ir.module.module"]._mpesa_refuse_to_go()
    # A reference to a model that is gone breaks the program that has it; without one, it says so.
    env["g2p.program.payment.manager"].search([("manager_ref_id", "=like", f"{MANAGER},%")]).unlink()
    # Batches have no activities of their own any more.
    env["mail.activity"].search([("res_model", "=", "g2p.payment.batch")]).unlink()
    # A job of a model that is gone breaks the list of all jobs.
    env["queue.job"].search([("model_name", "in", (MANAGER, STATEMENT))]).unlink()
    env.cr.execute(
        "DROP FUNCTION IF EXISTS g2p_payment_mpesa_attempt_refuse(), g2p_payment_mpesa_reference_refuse()"
        " CASCADE"
    )
    env.cr.execute(
        "DROP INDEX IF EXISTS g2p_payment_mpesa_entitlement_idx, g2p_payment_mpesa_cycle_idx,"
        " g2p_payment_batch_mpesa_cycle_idx, g2p_entitlement_mpesa_cycle_idx"
    )
