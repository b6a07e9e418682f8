-- A copy of a database, for tests or training, can log in nowhere and pays nobody.
UPDATE g2p_program_payment_manager_mpesa
   SET mode = 'test',
       secret = NULL,
       username = '',
       auth_endpoint_url = 'https://neutralized.invalid/login',
       payment_endpoint_url = 'https://neutralized.invalid/payment',
       status_endpoint_url = CASE WHEN status_endpoint_url <> '' THEN 'https://neutralized.invalid/status' END,
       balance_endpoint_url = CASE WHEN balance_endpoint_url <> '' THEN 'https://neutralized.invalid/balance' END,
       honours_idempotency_key = false;

-- What is accepted or in doubt stays as it is: nobody asks for it, and nothing is queued again.
UPDATE ir_cron
   SET active = false
 WHERE id IN (SELECT res_id FROM ir_model_data WHERE module = 'g2p_payment_simple_mpesa' AND model = 'ir.cron');
