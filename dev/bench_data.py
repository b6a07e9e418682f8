"""People and entitlements for the bench: one of each is made by Odoo, and copied by PostgreSQL."""

from datetime import date

WIDTH = 8
MSISDN = f"'2547' || lpad(s::text, {WIDTH}, '0')"


def phone(number):
    """The MSISDN of the ``number``-th person."""
    return f"2547{number:0{WIDTH}d}"


def copies(cr, table, template, source, **columns):
    """Copy a row for each row of ``source``.

    :param str table: whose row with the id ``template`` is copied, all columns but the id.
    :param str source: SQL of a table expression.
    :param columns: SQL of what differs; ``t`` is the row that is copied.
    """
    cr.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
        " AND NOT attisdropped AND attgenerated = '' AND attname <> 'id'",
        [table],
    )
    names = [row[0] for row in cr.fetchall()]
    values = [columns.get(name, f't."{name}"') for name in names]
    quoted = ", ".join(f'"{name}"' for name in names)
    cr.execute(
        f"INSERT INTO {table} ({quoted}) SELECT {', '.join(values)} FROM {table} t, {source} WHERE t.id = %s",
        [template],
    )


def make_people(env, number):
    """As many registrants, each with a telephone number of their own in the registry."""
    first = env["res.partner"].create({"name": "Person 0", "is_registrant": True, "phone": f"+{phone(0)}"})
    number_of_first = env["g2p.phone.number"].create(
        {"partner_id": first.id, "phone_no": f"+{phone(0)}", "country_id": env.ref("base.ke").id}
    )
    env.flush_all()
    cr = env.cr
    people = f"generate_series(1, {int(number) - 1}) AS s"
    name, msisdn = "'Person ' || s", f"'+' || {MSISDN}"
    copies(cr, "res_partner", first.id, people, name=name, complete_name=name, phone=msisdn)
    cr.execute("UPDATE res_partner SET commercial_partner_id = id WHERE id > %s", [first.id])
    number = "regexp_replace(name, '\\D', '', 'g')::int"
    source = f"(SELECT id, {number} AS s FROM res_partner WHERE id > {first.id}) p"
    copies(
        cr,
        "g2p_phone_number",
        number_of_first.id,
        source,
        partner_id="p.id",
        phone_no=msisdn,
        phone_sanitized=msisdn,
    )
    for table in ("res_partner", "g2p_phone_number"):
        cr.execute(f"ANALYZE {table}")
    return first.id


def make_cycle(env, program, first_partner, number, amount=100):
    """An approved cycle with an approved entitlement for each of the first so many people; gives it."""
    # OpenG2P has no two of the same name in a program.
    name = f"Cycle {env['g2p.cycle'].search_count([]) + 1}: {number}"
    cycle = env["g2p.cycle"].create(
        {
            "name": name,
            "program_id": program.id,
            "start_date": date(2026, 1, 1),
            "end_date": date(2026, 1, 31),
            "state": "approved",
        }
    )
    first = env["g2p.entitlement"].create(
        {
            "cycle_id": cycle.id,
            "partner_id": first_partner,
            "initial_amount": amount,
            "state": "approved",
            "is_cash_entitlement": True,
        }
    )
    env.flush_all()
    source = (
        f"(SELECT id FROM res_partner WHERE id > {first_partner} AND is_registrant"
        f" ORDER BY id LIMIT {int(number) - 1}) p"
    )
    copies(
        env.cr,
        "g2p_entitlement",
        first.id,
        source,
        partner_id="p.id",
        code="left(gen_random_uuid()::text, 20)",
        ern="(10 ^ 9 + floor(random() * 9 * 10 ^ 9))::bigint::text",
    )
    env.cr.execute("ANALYZE g2p_entitlement")
    return cycle
