"""The queries that run often, for `dev/bench` to show what PostgreSQL makes of them."""

QUERIES = {
    "prepare: the next entitlements of a cycle that have no payment": """
        SELECT e.id FROM g2p_entitlement e
         WHERE e.cycle_id = (SELECT cycle_id FROM g2p_payment_batch WHERE id = {batch})
           AND e.state = 'approved' AND e.id > 0
           AND NOT EXISTS (SELECT 1 FROM g2p_payment p WHERE p.entitlement_id = e.id
                              AND p.status IS DISTINCT FROM 'failed')
         ORDER BY e.id LIMIT 5000""",
    "send: the next ready payments of a batch": """
        SELECT p.id FROM g2p_payment p JOIN g2p_entitlement e ON e.id = p.entitlement_id
         WHERE p.batch_id = {batch} AND p.mpesa_state = 'ready' AND p.mpesa_manager_id = {manager}
           AND p.id > 0
         ORDER BY p.id LIMIT 100""",
    "send: payees that a payment is on its way to": """
        SELECT account_number FROM g2p_payment
         WHERE mpesa_manager_id = {manager} AND mpesa_state = 'sending'
           AND account_number = '254700000001'""",
    "status: what is due": """
        SELECT id FROM g2p_payment WHERE mpesa_state IN ('accepted', 'doubt') AND mpesa_manager_id = {manager}
           AND mpesa_next_check <= now() AT TIME ZONE 'UTC' ORDER BY mpesa_next_check LIMIT 10""",
    "lease: what has run out": """
        SELECT id FROM g2p_payment WHERE mpesa_state = 'sending'
           AND mpesa_lease_until < now() AT TIME ZONE 'UTC' ORDER BY id LIMIT 1000""",
    "figures: counted anew, a batch": """
        SELECT mpesa_state, count(*), sum(amount_issued) FROM g2p_payment
         WHERE batch_id = {batch} AND mpesa_state IS NOT NULL GROUP BY 1""",
    "cycle: how many payments": """
        SELECT count(*) FROM g2p_payment
         WHERE cycle_id = (SELECT cycle_id FROM g2p_payment_batch WHERE id = {batch})""",
    "journal: of a payment": """
        SELECT id FROM g2p_payment_mpesa_attempt
         WHERE payment_id = (SELECT max(id) FROM g2p_payment WHERE batch_id = {batch}) ORDER BY id DESC""",
}
